"""How a process is killed in the middle of what it does: it passes points, and at one of them it does nothing more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any


class Lifeline:
    """Counts what a process does to the world, and ends it at the n-th point: from then on it does nothing."""

    def __init__(self, dies_at: int) -> None:
        self.dies_at, self.points, self.dead = dies_at, 0, asyncio.Event()

    async def point(self, _name: str = "") -> None:
        """Pass a point, unless it is the last."""
        self.points += 1
        if self.points == self.dies_at:
            self.dead.set()
        if self.dead.is_set():
            await asyncio.Event().wait()


class Watched:
    """A part, such as a database, that passes a point before and after each effect; what has none is the part's own."""

    def __init__(self, real: Any, passed: Callable[[str], Awaitable[None]], *effects: str) -> None:
        self._real, self._passed, self._effects = real, passed, effects

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name not in self._effects:
            return found

        async def effect(*args: Any, **kwargs: Any) -> Any:
            await self._passed(f"before {name}")
            result = await found(*args, **kwargs)
            await self._passed(f"after {name}")
            return result

        return effect
