"""The HTTP server of the api role: uvicorn, with connections and a gate of our own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import uvicorn

from floe.api.front.connection import Connection
from floe.api.front.gate import Gate
from floe.api.front.limits import Limits
from floe.api.front.refusals import Refusals
from floe.core.counters import Counters

_GRACE = 5
"""Seconds that requests under way have when the server stops."""


def _nothing() -> None:
    """Do nothing."""


class Server(uvicorn.Server):
    """A server for an application; what is refused is counted.

    Told to stop, it serves on for the seconds of `drain`; told twice, it stops at once. Whoever shares requests out
    among several servers learns from what `leave` does that this one takes no more. Without that time a request on its
    way to it would be lost, and nobody but its sender may say that it is sent again.
    """

    def __init__(
        self,
        app: Any,
        counters: Counters,
        limits: Limits,
        *,
        drain: float = 0.0,
        leave: Callable[[], None] = _nothing,
    ) -> None:
        refusals = Refusals(limits, counters)
        self._gate = Gate(limits, refusals)
        protocol: Any = partial(Connection, limits=limits, gate=self._gate, refusals=refusals)
        config = uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=limits.idle_seconds,  # type: ignore[arg-type]  # a float does as well
            timeout_graceful_shutdown=_GRACE,
        )
        super().__init__(config)
        self._loop = asyncio.get_running_loop()
        self._drain, self._leave, self._told = drain, leave, False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Hear a signal, between any two instructions."""
        if self._told or not self._drain:
            super().handle_exit(sig, frame)
        else:
            self._told = True
            self._loop.call_soon_threadsafe(self._begin_to_leave)

    def _begin_to_leave(self) -> None:
        self._leave()
        self._gate.close()
        self._loop.call_later(self._drain, self._stop)

    def _stop(self) -> None:
        self.should_exit = True
