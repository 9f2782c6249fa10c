"""What waits for a listener: events in their order, bounded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

log = logging.getLogger(__name__)

MOST_WAITING = 100_000
"""Events that wait for one listener: many more than there are when ten thousand hosts start at once."""


class EventQueue:
    """What waits for one handler, which is handed one event after the other."""

    def __init__(self, handler: Callable[[Any], Awaitable[None]]) -> None:
        self.handler = handler
        self._waiting: asyncio.Queue[Any] = asyncio.Queue(MOST_WAITING)
        self._lost = 0
        self._task = asyncio.get_running_loop().create_task(self._drain(), name="bus-listener")

    def put(self, event: Any) -> None:
        """Let an event wait; what there is no room for is lost, as on any bus whose listener is too slow."""
        try:
            self._waiting.put_nowait(event)
        except asyncio.QueueFull:
            self._lost += 1
            if self._lost == 1:
                log.error("%d events wait for a listener: further ones are lost until it has caught up", MOST_WAITING)

    async def idle(self) -> None:
        """Wait until all that was put was handled."""
        await self._waiting.join()

    async def close(self) -> None:
        """Hand over nothing more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _drain(self) -> None:
        while True:
            event = await self._waiting.get()
            if self._lost and self._waiting.empty():
                log.warning("a listener has caught up; %d events were lost", self._lost)
                self._lost = 0
            try:
                await self.handler(event)
            except Exception:
                log.exception("listener failed on %s", type(event).__name__)
            finally:
                self._waiting.task_done()
