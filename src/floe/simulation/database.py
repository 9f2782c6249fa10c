"""The database of a simulation: before and after each commit there is time to die in, and some commits are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from floe.core.errors import StoreUnavailable
from floe.store.engine import Connection, Isolation
from floe.store.memory import MemoryStore
from floe.store.prepared import Asked

T = TypeVar("T")
_TRIES_FOR = 1.0
"""Seconds after which whoever cannot reach it says so."""


@dataclass(slots=True)
class Way:
    """How one program reaches the database: perhaps slowly, perhaps not at all."""

    cut: bool = False
    slow: float = 0.0
    """Seconds that it takes, beyond what is usual."""
    unsure: int = 0
    """How many of the next answers to a COMMIT get lost for good: it was done, and nobody can say so in time."""

    async def go(self) -> None:
        """Reach it. Raises StoreUnavailable."""
        if self.slow:
            await asyncio.sleep(self.slow)
        if self.cut:
            await asyncio.sleep(_TRIES_FOR)
            if self.cut:
                raise StoreUnavailable("The database cannot be reached.")

    async def come_back(self) -> None:
        """Hear that a COMMIT was done. Raises StoreUnavailable for one of which that is not known."""
        if self.unsure or self.cut:
            self.unsure = max(0, self.unsure - 1)
            raise StoreUnavailable("The connection broke at COMMIT: whether that was done is not known.")


class SimulatedDatabase:
    """See `Transactions`. `pause` is awaited with the name of the point reached, and may never return.

    `refusal` says why a commit fails now, and `committed` is called after each one, before anybody hears of it. `way`
    is how it is reached.
    """

    def __init__(
        self,
        store: MemoryStore,
        *,
        pause: Callable[[str], Awaitable[None]],
        refusal: Callable[[], str | None],
        committed: Callable[[], None],
        way: Way | None = None,
    ) -> None:
        self._store, self._pause, self._refusal, self._committed = store, pause, refusal, committed
        self._way = way or Way()

    @property
    def commits(self) -> int:
        """See `Transactions.commits`."""
        return self._store.commits

    @commits.setter
    def commits(self, number: int) -> None:
        self._store.commits = number

    def open(self) -> None:
        """It is open."""

    def close(self) -> None:
        """It stays open."""

    async def write(self, fn: Callable[[Connection], T], isolation: Isolation = Isolation.SERIALIZABLE) -> T:
        """See `Transactions.write`."""
        await self._pause("db.before")
        await self._way.go()
        why = self._refusal()
        if why is not None:
            raise StoreUnavailable(f"The database could not write: {why}")
        result = self._store.write(fn)
        self._committed()
        await self._pause("db.after")
        await self._way.come_back()
        return result

    async def read(self, fn: Callable[[Connection], T], *foreseen: Asked) -> T:
        """See `Transactions.read`."""
        await self._way.go()
        return self._store.read(fn)

    async def scan(self, fn: Callable[[Connection], T]) -> T:
        """See `Transactions.scan`."""
        return await self.read(fn)

    def read_now(self, fn: Callable[[Connection], T]) -> T:
        """See `Transactions.read_now`."""
        return self._store.read(fn)
