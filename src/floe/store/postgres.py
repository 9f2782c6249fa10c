"""A PostgreSQL as the database: transactions that run beside each other, in a few threads, each as if it were alone.

Nothing is gathered into one commit here, as on SQLite: the server itself shares its waits for the disk among those who
commit at once, and a transaction that got in the way of another's is to run again without dragging others along.

A write may run several times: when another transaction was in its way, and when its connection was lost. Whether a
COMMIT whose answer was lost was done says the row of the session that wrote (`store.write_sessions`), which changes
with the same transaction: what was done is not done again.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

from sqlalchemy.engine import Connection

from floe.core.callers import CALLER, is_of_the_cloud
from floe.core.counters import Count, Counters
from floe.core.errors import Unavailable
from floe.core.ids import IdSource, random_id
from floe.pools import Pool
from floe.store.engine import Isolation
from floe.store.postgres_sessions import Failure, Server, Session, Trouble, failure
from floe.store.readers import MOVED, SCANNED
from floe.store.write_turns import Turns

T = TypeVar("T")

WRITERS = 1
"""Threads that write, each with a connection. More of one process do less: the interpreter runs one at a time, and what
they began meanwhile is in each other's way (measured: ADR 40)."""
READERS = 3
SCANNERS = 2
_CLASHES = 3
"""How often a write runs that hurts a constraint, before that is its own fault."""
_PATIENCE = 10.0
"""Seconds for which others may be in a write's way, the server may be away, or an answer may be outstanding."""
_SHORT_READ = 0.3
"""Seconds for which a statement may read before its read goes on among the long ones."""
_HUNG = 5.0
"""Seconds beyond all of the server's own limits after which it is known to hang, and the connection is cut."""

RERUN = Count("floe_writes_rerun", "Transactions that were run again, by why", ("why",))
_BEGIN = (  # all in one, since each would be a way to the server and back
    "BEGIN ISOLATION LEVEL {isolation}; "
    "INSERT INTO write_sessions AS w (id, number, seen_at) VALUES ('{session}', {number}, {now}) "
    "ON CONFLICT (id) DO UPDATE SET number = excluded.number, seen_at = excluded.seen_at "
    "WHERE w.number < excluded.number"
)
_UNSURE = (
    "The database went away while it was writing, and it is not known whether this was done: look before you try it "
    "again."
)
_CONFLICTS = {Failure.AGAIN, Failure.CLASH}
_LOOK = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class Postgres:
    """See `Transactions`. The database at `url`, as `migrate` left it.

    A statement of a write may take `write_seconds`, and wait for a lock for half of that; a read has `read_seconds`.
    """

    def __init__(
        self,
        url: str,
        *,
        counters: Counters | None = None,
        patience: float = _PATIENCE,
        write_seconds: float = 10.0,
        read_seconds: float = 30.0,
        writers: int = WRITERS,
        new_id: IdSource = random_id,
    ) -> None:
        self._counters = counters or Counters()
        self._patience, self._write_seconds, self._read_seconds = patience, write_seconds, read_seconds
        always = {"timezone": "UTC", "idle_in_transaction_session_timeout": _milliseconds(patience)}
        # Short tables read whole are locked whole at SERIALIZABLE, and then all writes are in each other's way.
        writes = {"enable_seqscan": "off", "lock_timeout": _milliseconds(write_seconds / 2)}
        self._servers = {
            "write": Server(url, patience=patience, settings={**always, **writes, **_limit(write_seconds)}),
            "read": Server(url, patience=patience, settings={**always, **_limit(_SHORT_READ)}),
            "scan": Server(url, patience=patience, settings={**always, **_limit(read_seconds)}),
        }
        self._trouble = Trouble()
        alone = threading.Lock()
        self._writers = [
            _Writer(self._servers["write"], self._trouble, patience, new_id, alone) for _ in range(writers)
        ]
        self._turns: Turns[_Write] = Turns()
        self._threads: list[threading.Thread] = []
        self._readers: dict[str, _Readers] = {}
        self._here: Session | None = None
        self.commits = 0
        """How many commits there were."""

    def open(self) -> None:
        """Begin to serve; connections are made as they are needed."""
        self._here = Session(self._servers["scan"])
        for name, threads in (("read", READERS), ("scan", SCANNERS)):
            self._readers[name] = _Readers(name, threads, self._servers[name], self._trouble, self._counters)
        self._turns = Turns()
        self._threads = [
            threading.Thread(target=self._run, args=(writer,), name="floe-db-writer", daemon=True)
            for writer in self._writers
        ]
        for thread in self._threads:
            thread.start()

    async def write(self, fn: Callable[[Connection], T], isolation: Isolation = Isolation.SERIALIZABLE) -> T:
        """See `Transactions.write`. Raises Busy when too many wait."""
        if not self._threads:
            raise Unavailable("The database is closed.")
        loop = asyncio.get_running_loop()
        item = _Write(fn, isolation, loop.create_future())
        self._turns.add(item, CALLER.get()[0])
        hung = loop.call_later(self._patience + self._write_seconds + _HUNG, item.cut)
        try:
            result: T = await item.future
        finally:
            hung.cancel()
            item.unwanted = True
            for why, times in item.reruns.items():
                self._counters.add(RERUN, why, amount=times)
        self.commits += 1
        return result

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """See `Transactions.read`; what proves long goes on as `scan`."""
        try:
            return await self._reading("read").run(fn, _SHORT_READ)
        except _TooLong:
            self._counters.add(MOVED)
        return await self.scan(fn)

    async def scan(self, fn: Callable[[Connection], T]) -> T:
        """See `Transactions.scan`."""
        self._counters.add(SCANNED)
        try:
            return await self._reading("scan").run(fn, self._read_seconds)
        except _TooLong:
            raise Unavailable(
                f"This takes longer than {self._read_seconds:g} s to read, and was given up; ask for less at once."
            ) from None

    def read_now(self, fn: Callable[[Connection], T]) -> T:
        """See `Transactions.read_now`."""
        if self._here is None:
            raise Unavailable("The database is closed.")
        return _look(self._here, fn, self._trouble, _Looking(time.monotonic() + self._read_seconds))

    def close(self) -> None:
        """Finish the writes that wait, then let go."""
        self._turns.close()
        for thread in self._threads:
            thread.join()
        self._threads = []
        for readers in self._readers.values():
            readers.close()
        self._readers = {}
        if self._here is not None:
            self._here.drop()
            self._here = None
        for writer in self._writers:
            writer.session.drop()
        for server in self._servers.values():
            server.close()

    def _reading(self, kind: str) -> _Readers:
        if kind not in self._readers:
            raise Unavailable("The database is closed.")
        return self._readers[kind]

    def _run(self, writer: _Writer) -> None:
        for item, done in self._turns:
            if not item.unwanted:
                item.writer = writer
                writer.do(item)
                item.writer = None
            done()
            item.settle()


@dataclass(eq=False, slots=True)
class _Write:
    """One write, whose result or failure goes to the `future` on its event loop."""

    fn: Callable[[Connection], Any]
    isolation: Isolation
    future: asyncio.Future[Any]
    result: Any = None
    failure: BaseException | None = None
    unwanted: bool = False
    """Whoever asked has gone."""
    unsure: bool = False
    """Its COMMIT was sent, and not answered."""
    reruns: dict[str, int] = field(default_factory=dict)
    writer: _Writer | None = None
    """Who is at it."""

    def again(self, why: str) -> None:
        """Count one more try."""
        self.reruns[why] = self.reruns.get(why, 0) + 1

    def cut(self) -> None:
        """Cut the connection on which it is done, whose server hangs."""
        if (writer := self.writer) is not None:
            writer.session.cut()

    def settle(self) -> None:
        """Tell whoever waits, if anybody does still."""
        try:
            self.future.get_loop().call_soon_threadsafe(self._settle)
        except RuntimeError:  # its event loop is closed: nobody waits there
            return

    def _settle(self) -> None:
        if self.future.done():
            return
        if self.failure is not None:
            self.future.set_exception(self.failure)
        else:
            self.future.set_result(self.result)


class _Writer:
    """A connection that writes, for one thread. `alone` is held by whichever of all writers runs a write again."""

    def __init__(
        self, server: Server, trouble: Trouble, patience: float, new_id: IdSource, alone: threading.Lock
    ) -> None:
        self.session = Session(server)
        self._trouble, self._patience, self._new_id, self._alone = trouble, patience, new_id, alone
        self._name, self._number = new_id(), 0
        self._dice = Random(self._name)  # noqa: S311

    def do(self, item: _Write) -> None:
        """Do a write, however often it takes, and leave with it what came of it."""
        self._number += 1
        try:
            with ExitStack() as held:
                self._do(item, held)
        except BaseException as error:
            item.failure = self._trouble.refusal(error, "write") or error

    def _do(self, item: _Write, held: ExitStack) -> None:
        end = time.monotonic() + self._patience
        for tries in itertools.count(1):
            try:
                self._try(item)
                return
            except Exception as error:
                kind = failure(error)
                self._leave(kind)
                if item.unsure:  # nothing else that may be said of it is true until this is known
                    if kind is None and not isinstance(error, Unavailable):
                        raise
                    if time.monotonic() > end + self._patience:
                        self._name, self._number = self._new_id(), 0
                        raise Unavailable(_UNSURE) from None
                elif time.monotonic() > end or not _again(kind, tries):
                    raise
                item.again("conflict" if kind in _CONFLICTS else "lost")
                if kind in _CONFLICTS and tries == 1:
                    held.enter_context(self._alone)
            time.sleep(self._dice.random() * 0.001 * min(2**tries, 64))

    def _try(self, item: _Write) -> None:
        mark = {"session": self._name, "number": self._number, "now": time.time_ns() // 1000}
        fresh = self.session.execute(_BEGIN.format(isolation=item.isolation.value, **mark))
        item.unsure = False
        if not fresh:  # the try before this one was committed
            self.session.end()
            return
        item.result = item.fn(self.session.connection())
        try:
            self.session.execute("COMMIT")
        except Exception as error:
            item.unsure = failure(error) is Failure.AWAY
            raise

    def _leave(self, kind: Failure | None) -> None:
        if kind is Failure.AWAY:
            self.session.drop()
        else:
            self.session.end()


def _again(kind: Failure | None, tries: int) -> bool:
    return kind in {Failure.AGAIN, Failure.AWAY} or (kind is Failure.CLASH and tries < _CLASHES)


class _TooLong(Exception):
    """A read was given up; it has read nothing."""


class _Readers:
    """Connections that read, and threads with a bounded, fair queue before them."""

    def __init__(self, name: str, threads: int, server: Server, trouble: Trouble, counters: Counters) -> None:
        self._trouble = trouble
        self._sessions = [Session(server) for _ in range(threads)]
        self._free: queue.LifoQueue[Session] = queue.LifoQueue()
        for session in self._sessions:
            self._free.put(session)
        self._pool = Pool(f"{name}s", threads, counters=counters)

    async def run(self, fn: Callable[[Connection], T], seconds: float) -> T:
        """Run `fn` in a thread on one view of the database. Raises _TooLong, Busy and Unavailable."""
        looking = _Looking(time.monotonic() + seconds + _HUNG)
        hung = asyncio.get_running_loop().call_later(seconds + _HUNG, looking.cut)
        try:
            caller = CALLER.get()
            return await self._pool.run(self._run, fn, looking, caller=caller, let_in=is_of_the_cloud(caller))
        finally:
            hung.cancel()
            looking.end = 0.0  # whoever asked has gone

    def close(self) -> None:
        """Refuse what waits, cut what is being read, and let go of the connections."""
        self._pool.close()
        for session in self._sessions:
            session.cut()
        for _ in self._sessions:
            self._free.get().drop()

    def _run(self, fn: Callable[[Connection], T], looking: _Looking) -> T:
        session = self._free.get()  # there are as many as threads
        try:
            looking.session = session
            return _look(session, fn, self._trouble, looking)
        finally:
            looking.session = None
            self._free.put(session)


@dataclass(eq=False, slots=True)
class _Looking:
    """One read: until when it may be tried, and where it is being done."""

    end: float
    session: Session | None = None

    def cut(self) -> None:
        """Cut the connection on which it is done, whose server hangs."""
        if (session := self.session) is not None:
            session.cut()


def _look(session: Session, fn: Callable[[Connection], T], trouble: Trouble, looking: _Looking) -> T:
    """Read, anew where the connection was lost: that a server was restarted shows only when it is asked."""
    while True:
        if time.monotonic() > looking.end:
            raise _TooLong
        try:
            session.execute(_LOOK)
            return fn(session.connection())
        except Exception as error:
            kind = failure(error)
            if kind is Failure.AWAY:
                session.drop()
            if kind in {Failure.AWAY, Failure.AGAIN}:
                continue
            if kind is Failure.SLOW:
                raise _TooLong from None
            told = trouble.refusal(error, "read")
            if told is None:
                raise
            raise told from None
        finally:
            session.end()


def _limit(seconds: float) -> dict[str, str]:
    return {"statement_timeout": _milliseconds(seconds)}


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))
