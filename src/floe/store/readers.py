"""Reading a SQLite file: short reads at once in the event loop's thread, longer ones in a few threads beside it.

Which is which nobody has to say: every read has a budget of steps of SQLite's machine, counted by SQLite itself. One
that spends more on the event loop is stopped and begun anew in a thread. A read is therefore a pure function of the
database: it may run twice, and in another thread.
"""

from __future__ import annotations

import queue
import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from floe.core.callers import CALLER, is_of_the_cloud
from floe.core.counters import Count, Counters
from floe.core.errors import StoreUnavailable
from floe.pools import Pool
from floe.store.trouble import Trouble

T = TypeVar("T")

STEPS = 15_000
"""Steps that a read may take on the event loop, all its statements together: some 5 ms with what Python adds.

A page of a hundred servers in detail takes 12,000.
"""
_TICK = 1_000
"""Steps of one statement between two looks at the budget; statements that take fewer cost nothing for it."""
_THREADS = 2
"""More would not be quicker: the interpreter runs one at a time, SQLite alone runs beside it."""

MOVED = Count("floe_reads_moved", "Reads that proved too long for the event loop and were begun anew in a thread")
SCANNED = Count("floe_reads_in_threads", "Reads that were done in a thread, those that moved there too")


_Budget = Callable[[int], bool]
"""Whether a read that has taken so many ticks may go on; asked in the read's own thread."""


class Spent(Exception):
    """A read was stopped because its budget said so; it has read nothing."""


class Reader:
    """A connection that looks, under a budget."""

    def __init__(self, engine: Engine, trouble: Trouble) -> None:
        self._conn, self._trouble = engine.connect(), trouble
        self._ticks = 0
        self._budget: _Budget = _endless
        driver: Any = self._conn.connection.driver_connection
        self._driver = driver
        driver.set_progress_handler(self._tick, _TICK)

    def look(self, fn: Callable[[Connection], T], budget: _Budget) -> T:
        """Run a function on one view of the database, that of its first statement. Raises Spent, Unavailable."""
        self._ticks, self._budget = 0, budget
        try:
            self._driver.execute("BEGIN")
            return fn(self._conn)
        except (sqlite3.Error, sa.exc.DBAPIError) as error:
            if _stopped(error):
                raise Spent from None
            told = self._trouble.refusal(error, "read")
            if told is None:
                raise
            raise told from None
        finally:
            self._budget = _endless
            if self._conn.in_transaction():
                self._conn.rollback()  # SQLAlchemy's, which begins with the first statement that goes through it
            else:
                self._driver.rollback()

    def close(self) -> None:
        """Let go of the connection."""
        self._conn.close()

    def _tick(self) -> int:
        self._ticks += 1
        return 0 if self._budget(self._ticks) else 1


class Readers:
    """All that reads one file: a connection for the event loop's thread, and one for each thread beside it.

    `engines` makes an engine, `seconds` is what a read may take in all, its wait for a thread included. Callers take
    turns in the threads, and only so many may wait (`Pool`).
    """

    def __init__(self, engines: Callable[[], Engine], trouble: Trouble, counters: Counters, seconds: float) -> None:
        self._counters, self._seconds = counters, seconds
        self._engines = [engines() for _ in range(1 + _THREADS)]
        here, *beside = self._engines
        self._here = Reader(here, trouble)
        self._free: queue.SimpleQueue[Reader] = queue.SimpleQueue()
        for engine in beside:
            self._free.put(Reader(engine, trouble))
        self._pool = Pool("reads", _THREADS, counters=counters)
        self._open = True

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` at once if that is short, else in a thread. Raises Busy and Unavailable as `scan` does."""
        try:
            return self._here.look(fn, _short)
        except Spent:
            self._counters.add(MOVED)
        return await self.scan(fn)

    def read_now(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` in this thread, however long it takes."""
        return self._here.look(fn, _endless)

    async def scan(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` in a thread. Raises Busy when too much waits for one, Unavailable for what takes too long."""
        self._counters.add(SCANNED)
        patience = _Patience(time.monotonic() + self._seconds)
        try:
            caller = CALLER.get()
            return await self._pool.run(self._scan, fn, patience, caller=caller, let_in=is_of_the_cloud(caller))
        except Spent:
            raise StoreUnavailable(
                f"This takes longer than {self._seconds:g} s to read, and was given up; ask for less at once."
            ) from None
        finally:
            patience.end = 0.0  # whoever asked has gone

    def close(self) -> None:
        """Refuse what waits, stop what is being read, and let go of the file."""
        self._open = False
        self._pool.close()
        for reader in (self._here, *(self._free.get() for _ in range(_THREADS))):
            reader.close()
        for engine in self._engines:
            engine.dispose()

    def _scan(self, fn: Callable[[Connection], T], patience: _Patience) -> T:
        reader = self._free.get()  # there are as many as threads
        try:
            if not patience(0):
                raise Spent
            return reader.look(fn, lambda ticks: self._open and patience(ticks))
        finally:
            self._free.put(reader)


class _Patience:
    """The budget of a read in a thread: until a moment, which whoever asked may move up."""

    def __init__(self, end: float) -> None:
        self.end = end

    def __call__(self, _ticks: int) -> bool:
        return time.monotonic() < self.end


def begin(conn: Connection, statement: str) -> None:
    """Open a transaction by our own statement: a listener for it would cost every other statement a tenth more."""
    conn.begin()
    driver = conn.connection.driver_connection
    assert driver is not None
    driver.execute(statement)


def _short(ticks: int) -> bool:
    return ticks * _TICK < STEPS


def _endless(_ticks: int) -> bool:
    return True


def _stopped(error: sqlite3.Error | sa.exc.DBAPIError) -> bool:
    plain = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return getattr(plain, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT
