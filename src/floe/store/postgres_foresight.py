"""Reads of which it is known beforehand what they will ask: asked at once, in one message, by the event loop itself.

A read in a thread is handed over, woken up for each answer, and handed back; most of what a poll of one server costs
is that. Here all that a read will ask goes to the server together, on a connection that any number of reads share, and
the read is run when the answers are there. It may always come to something else (a connection that is new, broken or
slow, a question that was not foreseen): then it is done in a thread like any other, which says what is wrong.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from psycopg import abc
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ConnStatus, ExecStatus

from floe.core.errors import FloeError
from floe.store.postgres_sessions import Server, Session
from floe.store.postgres_statements import HERE, Done
from floe.store.prepared import Asked

T = TypeVar("T")

MOST_AT_ONCE = 64
"""Reads under way on the connection, beyond which they are done in threads, where callers take turns."""
_PATIENCE = 1.0
"""Seconds after which a connection that answers nothing is given up."""
_PAUSE = 1.0
"""Seconds from one connection that broke to the next."""
_MOST_KEPT = 100
"""Statements that the connection keeps parsed; only what is written out in the program is foreseen."""
_DONE = {ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK}


class NotForeseen(Exception):
    """A read asked what it had not said that it would."""


@dataclass(eq=False, slots=True)
class _Asking:
    keys: Sequence[tuple[str, tuple[Any, ...]]]
    answers: asyncio.Future[Mapping[Any, Any] | None]
    since: float
    results: list[Any] = field(default_factory=list)


class Foresight:
    """One connection of an event loop's thread, to a `server` whose transactions read one view and write nothing."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop: asyncio.AbstractEventLoop | None = None
        self._link: _Link | None = None
        self._next = 0.0
        """When a connection may be made."""
        self._closed = False

    async def read(self, fn: Callable[[Any], T], foreseen: Sequence[Asked]) -> T:
        """Return what a read comes to that asks this. Raises NotForeseen where it is to be done in another way."""
        loop, link = asyncio.get_running_loop(), self._link
        if link is None or loop is not self._loop:
            if self._loop is None or loop is self._loop:
                self._connect(loop)
            raise NotForeseen
        asked = link.ask([(*each.prepared.worded(link.dialect, each.values),) for each in foreseen])
        found = None if asked is None else await asked
        if found is None:
            raise NotForeseen
        conn: Any = Answers(link.dialect, link.values, found)
        return fn(conn)

    def close(self) -> None:
        """Let go of the connection; what waits is to be done in another way."""
        self._closed = True
        if self._link is not None:
            self._link.end()

    # -- inside ---------------------------------------------------------------------------------------

    def _connect(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._closed or time.monotonic() < self._next:
            return
        self._loop, self._next = loop, float("inf")
        threading.Thread(target=self._connect_there, args=(loop,), name="floe-db-foresight", daemon=True).start()

    def _connect_there(self, loop: asyncio.AbstractEventLoop) -> None:
        session = Session(self._server)
        with suppress(FloeError):  # whoever reads in a thread says so
            session.connection()
        try:
            loop.call_soon_threadsafe(self._connected, session)
        except RuntimeError:  # the loop is closed: nobody reads
            session.drop()

    def _connected(self, session: Session) -> None:
        assert self._loop is not None
        if self._closed or not session.is_open:
            self._broken()
            session.drop()
            return
        self._link = _Link(session, self._loop, self._broken)

    def _broken(self) -> None:
        self._link, self._next = None, time.monotonic() + _PAUSE


class _Link:
    """The connection while it is there; `broken` is called once it is no more."""

    def __init__(self, session: Session, loop: asyncio.AbstractEventLoop, broken: Callable[[], None]) -> None:
        conn = session.connection()
        driver: Any = conn.connection.driver_connection
        self.dialect, self.values = conn.dialect, Transformer(driver)
        self._session, self._loop, self._broken = session, loop, broken
        self._pg = driver.pgconn
        self._socket: int = self._pg.socket
        self._names: dict[str, bytes] = {}
        self._waiting: deque[_Asking] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._pg.nonblocking = 1
        self._pg.enter_pipeline_mode()
        loop.add_reader(self._socket, self._readable)

    def ask(self, asked: Sequence[tuple[str, Sequence[Any]]]) -> asyncio.Future[Mapping[Any, Any] | None] | None:
        """Ask the server, and return what will be answered, by text and values: None if it is not to be had here."""
        if len(self._waiting) >= MOST_AT_ONCE or len(self._names) > _MOST_KEPT:
            return None
        try:
            ready = []
            for text, values in asked:
                given = self.values.dump_sequence(values, [PyFormat.AUTO] * len(values))
                ready.append((text, given, self.values.formats))
        except psycopg.Error:  # no value for a database, which whoever reads in a thread says
            return None
        keys = [(text, tuple(values)) for text, values in asked]
        asking = _Asking(keys, self._loop.create_future(), self._loop.time())
        self._waiting.append(asking)
        try:
            for text, given, formats in ready:
                self._pg.send_query_prepared(self._name(text), given, formats)
            self._pg.pipeline_sync()
            self._write()
        except psycopg.Error:
            self.end()
        if self._watch is None:
            self._watch = self._loop.call_later(_PATIENCE, self._look)
        return asking.answers

    def end(self) -> None:
        """Let go of the connection; whoever waits is told that nothing is to be had."""
        if self._socket < 0:
            return
        with suppress(RuntimeError):  # the loop is closed
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
        self._socket = -1
        if self._watch is not None:
            self._watch.cancel()
        self._session.drop()
        self._broken()
        while self._waiting:
            _settle(self._waiting.popleft(), None)

    def _name(self, text: str) -> bytes:
        name = self._names.get(text)
        if name is None:
            name = self._names[text] = b"floe_%d" % len(self._names)
            self._pg.send_prepare(name, text.encode())
        return name

    def _write(self) -> None:
        if self._pg.flush():
            self._loop.add_writer(self._socket, self._writable)

    def _writable(self) -> None:
        try:
            if not self._pg.flush():
                self._loop.remove_writer(self._socket)
        except psycopg.Error:
            self.end()

    def _readable(self) -> None:
        try:
            self._pg.consume_input()
            self._take()
        except psycopg.Error:
            self.end()
            return
        if self._pg.status == ConnStatus.BAD:
            self.end()

    def _take(self) -> None:
        """Take the answers that are there whole; what failed has all be asked in another way, and this one ends."""
        while self._waiting and not self._pg.is_busy():
            result = self._pg.get_result()
            if result is None:  # there is one between two statements
                if self._pg.status == ConnStatus.BAD:
                    return
            elif result.status == ExecStatus.PIPELINE_SYNC:
                asking = self._waiting.popleft()
                rows = [each for each in asking.results if each.status == ExecStatus.TUPLES_OK]
                _settle(asking, dict(zip(asking.keys, rows, strict=True)))
            elif result.status in _DONE:
                self._waiting[0].results.append(result)
            else:
                self.end()
                return

    def _look(self) -> None:
        """Give the connection up if it does not answer."""
        self._watch = None
        if self._waiting:
            if self._waiting[0].since + _PATIENCE <= self._loop.time():
                self.end()
            else:
                self._watch = self._loop.call_later(_PATIENCE, self._look)


def _settle(asking: _Asking, answers: Mapping[Any, Any] | None) -> None:
    if not asking.answers.done():
        asking.answers.set_result(answers)


class Answers:
    """What a read is given for a connection: what it asks was answered already."""

    def __init__(self, dialect: sa.Dialect, values: abc.Transformer, found: Mapping[Any, Any]) -> None:
        self.dialect, self._values, self._found = dialect, values, found
        self.connection, self.info = self, {HERE: self}

    def execute(self, text: Any, values: Sequence[Any] = ()) -> Done:
        """Return what a statement came to. Raises NotForeseen."""
        result = self._found.get((text, tuple(values))) if isinstance(text, str) else None
        if result is None:
            raise NotForeseen
        return Done(self._values, result)

    def foresee(self, _dialect: sa.Dialect, _reads: Any) -> None:
        """Ask nothing: there is nobody to ask."""

    def __getattr__(self, name: str) -> Any:
        """There is no other way to ask."""
        raise NotForeseen(name)
