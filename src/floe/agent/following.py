"""Guests follow the network: each that has other NICs than ports is brought to them, until it is so."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from floe.agent.nics import GuestNics
from floe.core.errors import HostFailure
from floe.core.nics import Nic

log = logging.getLogger(__name__)

_AGAIN, _SELDOM = 1.0, 60.0
"""Seconds after which it is tried again to bring a guest's NICs to what they should be, at first and later."""


class Following:
    """Knows which guests are followed; `locked` is held for a server while something is done with it."""

    def __init__(
        self,
        nics: GuestNics,
        locked: Callable[[str], AbstractAsyncContextManager[Any]],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._nics, self._locked, self._sleep = nics, locked, sleep
        self._followed: set[str] = set()

    def begin(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Yield what is to be done for each guest that is astray, and not followed yet."""
        for server_id in self._nics.astray():
            if server_id not in self._followed:
                self._followed.add(server_id)
                yield self._follow(server_id)

    async def _follow(self, server_id: str) -> None:
        pause, held = _AGAIN, list[Nic]()
        try:
            while not await self._is_there(server_id, held):
                await self._sleep(pause)
                pause = min(2 * pause, _SELDOM)
        finally:
            self._followed.discard(server_id)

    async def _is_there(self, server_id: str, held: list[Nic]) -> bool:
        async with self._locked(server_id):
            try:
                held[:] = await self._nics.follow(server_id, held)
            except HostFailure as error:
                log.warning("guest %s has other NICs than ports: %s", server_id, error.detail or error.message)
                return False
            return not held
