"""A PostgreSQL as the database: transactions that run beside each other, in a few threads, each as if it were alone.

A write may run several times: when another transaction was in its way, and when its connection was lost. Whether a
COMMIT whose answer was lost was done says the row of the session that wrote (`store.write_sessions`), which changes
with the same transaction: what was done is not done again.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from sqlalchemy.engine import Connection

from floe.core.callers import CALLER, is_of_the_cloud
from floe.core.counters import Count, Counters
from floe.core.errors import StoreUnavailable
from floe.core.ids import IdSource, random_id
from floe.store.engine import Isolation
from floe.store.postgres_foresight import Foresight, NotForeseen
from floe.store.postgres_readers import HUNG, Looking, Readers, TooLong, look
from floe.store.postgres_sessions import Server, Session, Trouble
from floe.store.postgres_writers import Write, Writer, settle
from floe.store.prepared import Asked
from floe.store.readers import MOVED, SCANNED
from floe.store.write_turns import Turns

T = TypeVar("T")

WRITERS = 1
"""Threads that write, each with a connection. More of one process do less: the interpreter runs one at a time, and what
they began meanwhile is in each other's way (measured: ADR 40)."""
READERS = 3
SCANNERS = 2
TOGETHER = 16
"""Writes in one transaction at most: it holds what it has changed until all of them are done."""
_CALM = 32
"""Transactions without a rerun after which one more write is done in one: what is in other processes' way as a whole is
run again as a whole, and so writes are done one by one while there is any such."""
_PATIENCE = 10.0
"""Seconds for which others may be in a write's way, the server may be away, or an answer may be outstanding."""
_SHORT_READ = 0.3
"""Seconds for which a statement may read before its read goes on among the long ones."""
_ONE_VIEW = {"default_transaction_isolation": r"repeatable\ read", "default_transaction_read_only": "on"}
RERUN = Count("floe_writes_rerun", "Transactions that were run again, by why", ("why",))

FORESEEN = Count("floe_reads_foreseen", "Reads whose statements were asked at once, by the event loop itself")


class Postgres:
    """See `Transactions`. The database at `url`, as `migrate` left it.

    A statement of a write may take `write_seconds`, and wait for a lock for half of that; a read has `read_seconds`.
    `now` returns the seconds since 1970.
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
        together: int = TOGETHER,
        new_id: IdSource = random_id,
        now: Callable[[], float] = time.time,
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
            "foreseen": Server(url, patience=patience, settings={**always, **_ONE_VIEW, **_limit(_SHORT_READ)}),
        }
        self._trouble = Trouble()
        alone = threading.Lock()
        self._writers = [
            Writer(self._servers["write"], self._trouble, patience, new_id, alone, now) for _ in range(writers)
        ]
        self._together = together
        self._turns: Turns[Write] = Turns(together)
        self._threads: list[threading.Thread] = []
        self._readers: dict[str, Readers] = {}
        self._foresight: Foresight | None = None
        self._here: Session | None = None
        self.commits = 0
        """How many commits there were."""

    def open(self) -> None:
        """Begin to serve; connections are made as they are needed."""
        self._here = Session(self._servers["scan"])
        self._foresight = Foresight(self._servers["foreseen"])
        for name, threads in (("read", READERS), ("scan", SCANNERS)):
            self._readers[name] = Readers(name, threads, self._servers[name], self._trouble, self._counters)
        self._turns = Turns(self._together)
        self._threads = [
            threading.Thread(target=self._run, args=(writer,), name="floe-db-writer", daemon=True)
            for writer in self._writers
        ]
        for thread in self._threads:
            thread.start()

    async def write(self, fn: Callable[[Connection], T], isolation: Isolation = Isolation.SERIALIZABLE) -> T:
        """See `Transactions.write`. Raises Busy when too many wait."""
        if not self._threads:
            raise StoreUnavailable("The database is closed.")
        loop = asyncio.get_running_loop()
        caller = CALLER.get()
        owner = caller[0]
        item = Write(fn, isolation, loop.create_future(), frozenset({owner} if owner else ()))
        self._turns.add(item, owner, let_in=is_of_the_cloud(caller))
        hung = loop.call_later(self._patience + self._write_seconds + HUNG, item.cut)
        try:
            result: T = await item.future
        finally:
            hung.cancel()
            item.unwanted = True
            for why, times in item.reruns.items():
                self._counters.add(RERUN, why, amount=times)
        self.commits += item.commits
        return result

    async def read(self, fn: Callable[[Connection], T], *foreseen: Asked) -> T:
        """See `Transactions.read`; what proves long goes on as `scan`."""
        if foreseen and self._foresight is not None:
            with suppress(NotForeseen):
                found = await self._foresight.read(fn, foreseen)
                self._counters.add(FORESEEN)
                return found
        try:
            return await self._reading("read").run(fn, _SHORT_READ)
        except TooLong:
            self._counters.add(MOVED)
        return await self.scan(fn)

    async def scan(self, fn: Callable[[Connection], T]) -> T:
        """See `Transactions.scan`."""
        self._counters.add(SCANNED)
        try:
            return await self._reading("scan").run(fn, self._read_seconds)
        except TooLong:
            raise StoreUnavailable(
                f"This takes longer than {self._read_seconds:g} s to read, and was given up; ask for less at once."
            ) from None

    def read_now(self, fn: Callable[[Connection], T]) -> T:
        """See `Transactions.read_now`."""
        if self._here is None:
            raise StoreUnavailable("The database is closed.")
        return look(self._here, fn, self._trouble, Looking(time.monotonic() + self._read_seconds))

    def close(self) -> None:
        """Finish the writes that wait, then let go."""
        self._turns.close()
        for thread in self._threads:
            thread.join()
        self._threads = []
        for readers in self._readers.values():
            readers.close()
        self._readers = {}
        if self._foresight is not None:
            self._foresight.close()
            self._foresight = None
        if self._here is not None:
            self._here.drop()
            self._here = None
        for writer in self._writers:
            writer.session.drop()
        for server in self._servers.values():
            server.close()

    def _reading(self, kind: str) -> Readers:
        if kind not in self._readers:
            raise StoreUnavailable("The database is closed.")
        return self._readers[kind]

    def _run(self, writer: Writer) -> None:
        turns, calm = self._turns, 0
        for items, done in turns:
            calm = calm + 1 if writer.do([item for item in items if not item.unwanted]) else 0
            if not calm:
                turns.most = 1
            elif calm % _CALM == 0:
                turns.most = min(turns.most + 1, self._together)
            done()
            settle(items)


def _limit(seconds: float) -> dict[str, str]:
    return {"statement_timeout": _milliseconds(seconds)}


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))
