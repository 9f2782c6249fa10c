"""So many actions at once: who has to wait has its turn by project, so that nobody's thousand hold up another's one."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque


class Slots:
    """Places for actions of one kind. Among projects that wait, each gets the next free place in rotation."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def full(self) -> bool:
        """Whether one more would have to wait."""
        return not self._free

    async def acquire(self, project_id: str) -> None:
        """Take a place, when it is the project's turn."""
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(project_id, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # it was given to one who has gone
            raise

    def release(self) -> None:
        """Give a place to whoever's turn it is; nobody's is free."""
        while self._waiting:
            project_id, turns = next(iter(self._waiting.items()))
            turn = turns.popleft()
            if turns:
                self._waiting.move_to_end(project_id)
            else:
                del self._waiting[project_id]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
