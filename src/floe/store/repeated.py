"""A database on which writes run twice, as they do where the database is across a network: for trials.

There a transaction that got in the way of another's is rolled back and run again, and a COMMIT whose answer was lost
is tried again though it may have been done. A write for which that makes a difference is wrong, and is found here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any, TypeVar

from floe.core.ids import IdSource
from floe.store import write_sessions
from floe.store.engine import Connection, Isolation, Transactions
from floe.store.prepared import Asked
from floe.store.write_sessions import Mark, Sessions

T = TypeVar("T")


class RepeatedWrites:
    """See `Transactions`. A `share` of the writes runs twice, chosen by `dice`.

    Half of these are rolled back the first time; of the others the first time is committed, and the answer is lost.
    What others write meanwhile comes between the two, as it does where this happens.
    """

    def __init__(
        self, db: Transactions, *, share: float, dice: Random, new_id: IdSource, now: Callable[[], datetime]
    ) -> None:
        self._db, self._share, self._dice = db, share, dice
        self._sessions = Sessions(new_id, now)
        self.repeated = 0
        """How many writes ran twice."""

    @property
    def commits(self) -> int:
        """See `Transactions.commits`."""
        return self._db.commits

    @commits.setter
    def commits(self, number: int) -> None:
        self._db.commits = number

    def open(self) -> None:
        """See `Transactions.open`."""
        self._db.open()

    async def write(self, fn: Callable[[Connection], T], isolation: Isolation = Isolation.SERIALIZABLE) -> T:
        """See `Transactions.write`."""
        if self._dice.random() >= self._share:
            return await self._db.write(fn, isolation)
        self.repeated += 1
        with self._sessions.mark() as mark:
            tries = _Tries(fn, mark)
            lost = self._dice.random() < 0.5
            with suppress(Exception):  # it is not heard of, and what counts is what the second try comes to
                await self._db.write(tries.run if lost else tries.roll_back, isolation)
            result: T = await self._db.write(tries.run, isolation)
            return result

    async def read(self, fn: Callable[[Connection], T], *foreseen: Asked) -> T:
        """See `Transactions.read`."""
        return await self._db.read(fn, *foreseen)

    async def scan(self, fn: Callable[[Connection], T]) -> T:
        """See `Transactions.scan`."""
        return await self._db.scan(fn)

    def read_now(self, fn: Callable[[Connection], T]) -> T:
        """See `Transactions.read_now`."""
        return self._db.read_now(fn)

    def close(self) -> None:
        """See `Transactions.close`."""
        self._db.close()


@dataclass(slots=True)
class _Tries:
    """One write, tried until somebody hears that it is done."""

    fn: Callable[[Connection], Any]
    mark: Mark
    result: Any = None
    """What the try that was committed gave; only the mark in the database says whether there was one."""

    def run(self, conn: Connection) -> Any:
        """Do it, unless the database says that it is done."""
        if write_sessions.put(conn, self.mark):
            self.result = self.fn(conn)
        return self.result

    def roll_back(self, conn: Connection) -> Any:
        """Do it, and have it undone."""
        self.run(conn)
        raise _GotInTheWay


class _GotInTheWay(Exception):
    """Another transaction was first."""
