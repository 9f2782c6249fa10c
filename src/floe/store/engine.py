"""The database: transactions as functions `fn(conn)`, one writer with group commit.

On SQLite all writes go through one thread that owns one connection. It takes whatever waits, runs each function
in a savepoint of its own, and commits once for all of them: one fsync (synchronous=FULL) is shared by
everybody who came while the last one ran. A function that raises is rolled back alone. What is asked for within one
turn of the event loop goes to the thread together, and what a commit settled comes back together: to wake a thread
costs more than many a statement. Reads have connections of their own (`store.readers`): with WAL they never wait for
the writer.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import StaticPool
from sqlalchemy.util import LRUCache

from floe.core.counters import Counters
from floe.core.errors import StoreUnavailable
from floe.store import address_columns
from floe.store.prepared import Asked
from floe.store.readers import Readers, begin
from floe.store.trouble import Trouble

T = TypeVar("T")

__all__ = ["Connection", "Database", "Isolation", "Transactions"]
log = logging.getLogger(__name__)

_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA secure_delete=ON",
    "PRAGMA cache_size=-16384",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA journal_size_limit=16777216",  # what a long read made of the write-ahead log is given back after it
)
_MAX_BATCH = 64
_MOST_COMPILED = 1000
"""Statements that stay compiled; those of hot paths are `Prepared`, and not among them."""


class Isolation(Enum):
    """What a write sees of others that are under way; on SQLite there are none."""

    SERIALIZABLE = "SERIALIZABLE"
    """It is as if it ran alone; what cannot be so is run again. For all that reads, checks and writes."""
    READ_COMMITTED = "READ COMMITTED"
    """Each statement sees what was committed before it. For one UPDATE that says itself what it expects of its rows."""


class Transactions(Protocol):
    """What the cloud needs of its database.

    Shipped: `Database` (one SQLite file), `store.postgres.Postgres`, `simulation.database.SimulatedDatabase` (in
    memory, with faults).
    """

    commits: int
    """How many commits there were."""

    def open(self) -> None:
        """Begin to serve."""
        ...

    async def write(self, fn: Callable[[Connection], T], isolation: Isolation = Isolation.SERIALIZABLE) -> T:
        """Run `fn` in a transaction and return its result once that is durable; what it raises undoes it.

        It may run several times, so it touches nothing but its connection and its arguments. Raises Unavailable when
        the database did not take it.
        """
        ...

    async def read(self, fn: Callable[[Connection], T], *foreseen: Asked) -> T:
        """Run `fn` on one consistent view of the database and return its result; it must not write.

        It may run twice and in another thread, so it touches nothing but its connection and its arguments. What it is
        `foreseen` to ask, if that is all, spares a database across a network most of what a read costs.
        """
        ...

    async def scan(self, fn: Callable[[Connection], T]) -> T:
        """Do what `read` does, for an `fn` that will take long: nobody but other scans waits for it.

        Raises Busy when too many wait, Unavailable when it takes too long.
        """
        ...

    def read_now(self, fn: Callable[[Connection], T]) -> T:
        """Do what `read` does, where there is no event loop."""
        ...

    def close(self) -> None:
        """Finish the writes that wait, then let go."""
        ...


@dataclass(slots=True)
class _Write:
    """`result`, or the `failure` that it ended in, goes to the `future` on its event loop."""

    fn: Callable[[Connection], Any]
    future: asyncio.Future[Any]
    result: Any = None
    failure: BaseException | None = None

    def settle(self) -> None:
        """Tell whoever waits, if anybody does still."""
        if self.future.done():
            return
        if self.failure is not None:
            self.future.set_exception(self.failure)
        else:
            self.future.set_result(self.result)


class Database:
    """One SQLite file. Open it, `write` and `read` with functions of a connection, close it.

    While another process has it locked, a write waits for `patience` seconds; a read is given up after `read_seconds`.
    """

    def __init__(
        self, path: Path, *, patience: float = 10.0, read_seconds: float = 30.0, counters: Counters | None = None
    ) -> None:
        self.path = path
        self._patience, self._read_seconds = patience, read_seconds
        self._counters = counters or Counters()
        self._engine = _engine(path, patience)
        self._readers: Readers | None = None
        self._queue: queue.SimpleQueue[list[_Write] | None] = queue.SimpleQueue()
        self._gathered: list[_Write] = []
        """What was asked for in this turn of the event loop."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._trouble = Trouble()
        self.commits = 0
        """How many commits there were: what the durability of all writes so far has cost in fsyncs."""

    def open(self) -> None:
        """Start the writer. The schema is `migrate.ensure`'s business and comes before."""
        self._readers = Readers(
            lambda: _engine(self.path, self._patience), self._trouble, self._counters, self._read_seconds
        )
        self._thread = threading.Thread(target=self._run, name="floe-db-writer", daemon=True)
        self._thread.start()

    async def write(self, fn: Callable[[Connection], T], isolation: Isolation = Isolation.SERIALIZABLE) -> T:
        """See `Transactions.write`: in another thread, and with others as if alone, whatever the isolation."""
        if self._thread is None:
            raise StoreUnavailable("The database is closed.")
        loop = asyncio.get_running_loop()
        if not self._gathered or loop is not self._loop:
            self._loop = loop
            loop.call_soon(self._hand_over)
        future: asyncio.Future[T] = loop.create_future()
        self._gathered.append(_Write(fn, future))
        return await future

    async def read(self, fn: Callable[[Connection], T], *foreseen: Asked) -> T:
        """See `Transactions.read`: at once if it is short, else in a thread."""
        return await self._reading().read(fn)

    def read_now(self, fn: Callable[[Connection], T]) -> T:
        """Do what `read` does, where there is no event loop."""
        return self._reading().read_now(fn)

    async def scan(self, fn: Callable[[Connection], T]) -> T:
        """See `Transactions.scan`: in a thread beside the event loop."""
        return await self._reading().scan(fn)

    def close(self) -> None:
        """Finish the writes that wait, then let go of the file."""
        self._hand_over()
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        if self._readers is not None:
            self._readers.close()
            self._readers = None
        self._engine.dispose()

    def _reading(self) -> Readers:
        if self._readers is None:
            raise StoreUnavailable("The database is closed.")
        return self._readers

    def _hand_over(self) -> None:
        gathered, self._gathered = self._gathered, []
        if gathered:
            self._queue.put(gathered)

    def _run(self) -> None:
        waiting: deque[_Write] = deque()
        open_still = True
        with self._engine.connect() as conn:
            while open_still or waiting:
                open_still = self._take(waiting, wait=not waiting) and open_still
                if waiting:
                    self._commit(conn, [waiting.popleft() for _ in range(min(len(waiting), _MAX_BATCH))])

    def _take(self, waiting: deque[_Write], *, wait: bool) -> bool:
        """Let all that was handed over wait here, for something if need be; False if nothing more will come."""
        while wait or len(waiting) < _MAX_BATCH:
            try:
                found = self._queue.get(block=wait)
            except queue.Empty:
                break
            if found is None:
                return False
            waiting.extend(found)
            wait = False
        return True

    def _commit(self, conn: Connection, batch: list[_Write]) -> None:
        done: list[_Write] = []
        alone = len(batch) == 1
        try:
            begin(conn, "BEGIN IMMEDIATE")
            for item in batch:
                if not item.future.cancelled():
                    _attempt(conn, item, alone)
                    done.append(item)
            if alone and done and done[0].failure is not None:
                conn.rollback()
            else:
                conn.commit()
                self.commits += 1
        except BaseException as error:
            locked = isinstance(error, sqlite3.OperationalError)  # raised by BEGIN: another process has the file
            log.error("%d writes were not committed: %s", len(batch), error, exc_info=not locked)
            conn.rollback()
            done = batch
            for item in done:
                item.failure = self._trouble.refusal(error, "write") or StoreUnavailable(
                    "The database could not write. Nothing was changed."
                )
        for item in done:
            if item.failure is not None:
                # Locked by another process, a full disk: nothing that the one who asked has done.
                item.failure = self._trouble.refusal(item.failure, "write") or item.failure
        _tell(done)


def _tell(done: list[_Write]) -> None:
    """Settle writes on the event loops that wait for them."""
    while done:
        loop = done[0].future.get_loop()
        with suppress(RuntimeError):  # closed: nobody waits there
            loop.call_soon_threadsafe(_settle, [item for item in done if item.future.get_loop() is loop])
        done = [item for item in done if item.future.get_loop() is not loop]


def _settle(done: list[_Write]) -> None:
    for item in done:
        item.settle()


def _attempt(conn: Connection, item: _Write, alone: bool) -> None:
    """Run one function; in company of others, inside a savepoint."""
    driver = conn.connection.driver_connection
    assert driver is not None
    if not alone:
        driver.execute("SAVEPOINT one")
    try:
        item.result = item.fn(conn)
    except Exception as error:
        item.failure = error
        if not alone:
            driver.execute("ROLLBACK TO one")
    if not alone:
        driver.execute("RELEASE one")


def _engine(path: Path, patience: float) -> Engine:
    def connect() -> Any:
        connection = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
        address_columns.teach(connection)
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        return connection

    dialect, compiled = _sqlite()
    return Engine(
        StaticPool(connect, dialect=dialect),
        dialect,
        sa.URL.create("sqlite", database=str(path)),
        hide_parameters=True,  # in errors, and so in logs: they hold what tenants sent
        execution_options={"compiled_cache": compiled},
    )


@functools.cache
def _sqlite() -> tuple[sa.Dialect, MutableMapping[Any, Any]]:
    """Return what SQLAlchemy knows of SQLite, and the statements that it has compiled for that.

    Writer and readers share it, and so do all files of a process: to compile one takes longer than most take to run.
    """
    engine = sa.create_engine("sqlite://", hide_parameters=True)
    engine.connect().close()  # only then it knows which SQLite that is
    engine.dispose()
    return engine.dialect, LRUCache(_MOST_COMPILED)
