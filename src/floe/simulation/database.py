"""The database of a simulation: before and after each commit there is time to die in, and some commits are refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from floe.core.errors import Unavailable
from floe.store.engine import Connection, Isolation
from floe.store.memory import MemoryStore

T = TypeVar("T")


class SimulatedDatabase:
    """See `Transactions`. `pause` is awaited with the name of the point reached, and may never return.

    `refusal` says why a commit fails now, and `committed` is called after each one, before anybody hears of it.
    """

    def __init__(
        self,
        store: MemoryStore,
        *,
        pause: Callable[[str], Awaitable[None]],
        refusal: Callable[[], str | None],
        committed: Callable[[], None],
    ) -> None:
        self._store, self._pause, self._refusal, self._committed = store, pause, refusal, committed

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
        why = self._refusal()
        if why is not None:
            raise Unavailable(f"The database could not write: {why}")
        result = self._store.write(fn)
        self._committed()
        await self._pause("db.after")
        return result

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """See `Transactions.read`."""
        return self._store.read(fn)

    async def scan(self, fn: Callable[[Connection], T]) -> T:
        """See `Transactions.scan`."""
        return self._store.read(fn)

    def read_now(self, fn: Callable[[Connection], T]) -> T:
        """See `Transactions.read_now`."""
        return self._store.read(fn)
