"""An HTTP request as ASGI hands it over: its head, read as it is asked for, and its body as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]


class ClientGone(Exception):
    """The client went away before its request was there whole; nobody waits for an answer."""


class Request:
    """One request. Of headers that are sent more than once, the first counts."""

    __slots__ = ("_headers", "_read", "_receive", "method", "path", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope, self._receive = scope, receive
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self._headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))
        self._read = False

    def header(self, name: str) -> str | None:
        """Return a header by its name in lower case."""
        value = self._headers.get(name.encode("latin-1"))
        return None if value is None else value.decode("latin-1")

    async def stream(self) -> AsyncIterator[bytes]:
        """Give the body in pieces as they arrive; it is there once. Raises ClientGone."""
        if self._read:
            raise RuntimeError("The body has been read already.")
        self._read = True
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            if body := message.get("body"):
                yield body
            more = message.get("more_body", False)

    async def is_disconnected(self) -> bool:
        """Say whether the client has gone, which only one whose body was read, or that has none, can be asked."""
        listening = asyncio.ensure_future(self._receive())
        await asyncio.sleep(0)
        if listening.done():
            return bool(listening.result()["type"] == "http.disconnect")
        listening.cancel()
        return False
