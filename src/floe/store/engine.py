"""The database: transactions as functions `fn(conn)`, one writer with group commit.

On SQLite all writes go through one thread that owns one connection. It takes whatever waits, runs each function
in a savepoint of its own, and commits once for all of them: one fsync (synchronous=FULL) is shared by
everybody who came while the last one ran. A function that raises is rolled back alone. Reads have connections of
their own (`store.readers`): with WAL they never wait for the writer.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import StaticPool

from floe.core.counters import Counters
from floe.core.errors import Unavailable
from floe.store.readers import Readers, begin
from floe.store.trouble import Trouble

T = TypeVar("T")

__all__ = ["Connection", "Database", "Transactions"]
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


class Transactions(Protocol):
    """What the cloud needs of its database.

    Shipped: `Database` (one SQLite file), `simulation.database.SimulatedDatabase` (in memory, with faults).
    """

    commits: int
    """How many commits there were."""

    def open(self) -> None:
        """Begin to serve."""
        ...

    async def write(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` in a transaction and return its result once that is durable; what it raises undoes it.

        Raises Unavailable when the database did not take it.
        """
        ...

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` on one consistent view of the database and return its result; it must not write.

        It may run twice and in another thread, so it touches nothing but its connection and its arguments.
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
    fn: Callable[[Connection], Any]
    future: Future[Any]


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
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
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

    async def write(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` in a transaction and return its result once that is on the disk.

        What `fn` raises undoes its own writes alone and is raised here. `fn` runs in another thread; it may be
        run only once, and must not touch anything but its connection and its arguments.
        """
        future: Future[T] = Future()
        if self._thread is None:
            raise Unavailable("The database is closed.")
        self._queue.put(_Write(fn, future))
        return await asyncio.wrap_future(future)

    async def read(self, fn: Callable[[Connection], T]) -> T:
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
            raise Unavailable("The database is closed.")
        return self._readers

    def _run(self) -> None:
        with self._engine.connect() as conn:
            while (first := self._queue.get()) is not None:
                batch, last = self._take(first)
                self._commit(conn, batch)
                if last:
                    return

    def _take(self, first: _Write) -> tuple[list[_Write], bool]:
        batch = [first]
        while len(batch) < _MAX_BATCH:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is None:
                return batch, True
            batch.append(item)
        return batch, False

    def _commit(self, conn: Connection, batch: list[_Write]) -> None:
        done: list[tuple[Future[Any], Any, BaseException | None]] = []
        alone = len(batch) == 1
        try:
            begin(conn, "BEGIN IMMEDIATE")
            for item in batch:
                if item.future.set_running_or_notify_cancel():
                    done.append((item.future, *_attempt(conn, item.fn, alone)))
            if alone and done and done[0][2] is not None:
                conn.rollback()
            else:
                conn.commit()
                self.commits += 1
        except BaseException as error:
            locked = isinstance(error, sqlite3.OperationalError)  # raised by BEGIN: another process has the file
            log.error("%d writes were not committed: %s", len(batch), error, exc_info=not locked)
            conn.rollback()
            told = self._trouble.refusal(error, "write") or Unavailable(
                "The database could not write. Nothing was changed."
            )
            done = [(item.future, None, told) for item in batch if _wanted(item.future)]
        for future, result, failure in done:
            if failure is not None:
                # Locked by another process, a full disk: nothing that the one who asked has done.
                future.set_exception(self._trouble.refusal(failure, "write") or failure)
            else:
                future.set_result(result)


def _wanted(future: Future[Any]) -> bool:
    """Say whether somebody waits for it still; from then on it cannot be cancelled."""
    return future.running() or (not future.cancelled() and future.set_running_or_notify_cancel())


def _attempt(conn: Connection, fn: Callable[[Connection], Any], alone: bool) -> tuple[Any, BaseException | None]:
    """Run one function; in company of others, inside a savepoint."""
    if alone:
        try:
            return fn(conn), None
        except Exception as error:
            return None, error
    conn.exec_driver_sql("SAVEPOINT one")
    try:
        result = fn(conn)
    except Exception as error:
        conn.exec_driver_sql("ROLLBACK TO one")
        conn.exec_driver_sql("RELEASE one")
        return None, error
    conn.exec_driver_sql("RELEASE one")
    return result, None


def _engine(path: Path, patience: float) -> Engine:
    engine = sa.create_engine(
        f"sqlite:///{path}",
        poolclass=StaticPool,
        hide_parameters=True,  # in errors, and so in logs: they hold what tenants sent
        connect_args={"check_same_thread": False, "timeout": patience},
    )

    @sa.event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        for pragma in _PRAGMAS:
            connection.execute(pragma)

    return engine
