"""Reading a PostgreSQL: each read on one view of it, in a few threads with a connection each, under a deadline."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy.engine import Connection

from floe.core.callers import CALLER, is_of_the_cloud
from floe.core.counters import Counters
from floe.pools import Pool
from floe.store.postgres_sessions import Failure, Server, Session, Trouble, failure

T = TypeVar("T")

HUNG = 5.0
"""Seconds beyond all of the server's own limits after which it is known to hang, and the connection is cut."""
_LOOK = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class TooLong(Exception):
    """A read was given up; it has read nothing."""


class Readers:
    """Connections that read, and threads with a bounded, fair queue before them."""

    def __init__(self, name: str, threads: int, server: Server, trouble: Trouble, counters: Counters) -> None:
        self._trouble = trouble
        self._sessions = [Session(server) for _ in range(threads)]
        self._free: queue.LifoQueue[Session] = queue.LifoQueue()
        for session in self._sessions:
            self._free.put(session)
        self._pool = Pool(f"{name}s", threads, counters=counters)

    async def run(self, fn: Callable[[Connection], T], seconds: float) -> T:
        """Run `fn` in a thread on one view of the database. Raises TooLong, Busy and Unavailable."""
        looking = Looking(time.monotonic() + seconds + HUNG)
        hung = asyncio.get_running_loop().call_later(seconds + HUNG, looking.cut)
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

    def _run(self, fn: Callable[[Connection], T], looking: Looking) -> T:
        session = self._free.get()  # there are as many as threads
        try:
            looking.session = session
            return look(session, fn, self._trouble, looking)
        finally:
            looking.session = None
            self._free.put(session)


@dataclass(eq=False, slots=True)
class Looking:
    """One read: until when it may be tried, and where it is being done."""

    end: float
    session: Session | None = None

    def cut(self) -> None:
        """Cut the connection on which it is done, whose server hangs."""
        if (session := self.session) is not None:
            session.cut()


def look(session: Session, fn: Callable[[Connection], T], trouble: Trouble, looking: Looking) -> T:
    """Read, anew where the connection was lost: that a server was restarted shows only when it is asked."""
    while True:
        if time.monotonic() > looking.end:
            raise TooLong
        try:
            session.statements().ahead(_LOOK)
            return fn(session.connection())
        except Exception as error:
            kind = failure(error)
            if kind is Failure.AWAY:
                session.drop()
            if kind in {Failure.AWAY, Failure.AGAIN}:
                continue
            if kind is Failure.SLOW:
                raise TooLong from None
            told = trouble.refusal(error, "read")
            if told is None:
                raise
            raise told from None
        finally:
            session.end()
