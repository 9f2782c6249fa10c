"""Long work on the event loop in pieces: nobody waits for more than one of them, however many do such work."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

from floe.core.callers import CALLER, Caller

T = TypeVar("T")

PIECE = 20
"""Things of a list that are looked at, or made ready for the wire, in one go: of large ones, a millisecond's work."""


class Turns:
    """One piece of work for each round of the event loop; callers have them in turn. For one event loop alone."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Caller, deque[asyncio.Future[None]]] = OrderedDict()
        self._taken = False

    async def each(self, things: Iterable[T]) -> AsyncIterator[T]:
        """Give the things one by one, with room for others between pieces of them; a generator works as it is asked."""
        for index, thing in enumerate(things, 1):
            yield thing
            if index % PIECE == 0:
                await self.turn()

    async def turn(self) -> None:
        """Return when the caller may do a piece of work, in a round of the event loop in which nobody else does one."""
        if self._taken:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(CALLER.get(), deque()).append(turn)
            await turn
            return
        self._taken = True
        asyncio.get_running_loop().call_soon(self._next)
        await asyncio.sleep(0)

    def _next(self) -> None:
        """Give the turn to the caller who has not had it for the longest; whatever becomes of it, others follow."""
        while self._waiting:
            caller, queue = next(iter(self._waiting.items()))
            turn = queue.popleft()
            if queue:
                self._waiting.move_to_end(caller)
            else:
                del self._waiting[caller]
            if not turn.done():
                turn.set_result(None)
                asyncio.get_running_loop().call_soon(self._next)
                return
        self._taken = False
