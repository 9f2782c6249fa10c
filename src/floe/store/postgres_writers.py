"""Writing to a PostgreSQL: a connection in a thread, on which writes that wait are done together.

To begin and to commit costs more than many a write, so that what waits at the same time is done in one transaction,
each write in a savepoint of its own; what one process does by one connection is not in its own way. A transaction that
is in the way of another process's holds more than one write would: its writes are then done one by one.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from floe.core.errors import StoreUnavailable, Unavailable
from floe.core.ids import IdSource
from floe.store.engine import Isolation
from floe.store.postgres_sessions import Failure, Server, Session, Trouble, failure

CLASHES = 3
"""How often a write runs that hurts a constraint, before that is its own fault."""
CONFLICTS = {Failure.AGAIN, Failure.CLASH}
_OF_ALL = {Failure.AGAIN, Failure.AWAY, Failure.REFUSED}
"""What is no matter of one write alone."""
_BEGIN = "BEGIN ISOLATION LEVEL {}"
_MARK = (
    "INSERT INTO write_sessions AS w (id, number, seen_at) VALUES ($1, $2, $3) "
    "ON CONFLICT (id) DO UPDATE SET number = excluded.number, seen_at = excluded.seen_at "
    "WHERE w.number < excluded.number"
)
_UNSURE = (
    "The database went away while it was writing, and it is not known whether this was done: look before you try it "
    "again."
)


@dataclass(eq=False, slots=True)
class Write:
    """One write, whose result or failure goes to the `future` on its event loop."""

    fn: Callable[[Connection], Any]
    isolation: Isolation
    future: asyncio.Future[Any]
    owners: frozenset[str] = frozenset()
    """Whose it is; those of one owner are done one after the other, whichever process writes."""
    result: Any = None
    failure: BaseException | None = None
    unwanted: bool = False
    """Whoever asked has gone."""
    unsure: bool = False
    """Its COMMIT was sent, and not answered."""
    reruns: dict[str, int] = field(default_factory=dict)
    commits: int = 1
    """How many there were for it: none where it was done with one that comes before it."""
    alone: bool = False
    """It is not to be done with others."""
    writer: Writer | None = None
    """Who is at it."""

    def again(self, why: str) -> None:
        """Count one more try."""
        self.reruns[why] = self.reruns.get(why, 0) + 1

    def cut(self) -> None:
        """Cut the connection on which it is done, whose server hangs."""
        if (writer := self.writer) is not None:
            writer.session.cut()


class _Came(msgspec.Struct, frozen=True):
    """What came of one of several writes: a result, or a failure; or it is to be done by itself."""

    result: Any = None
    failure: BaseException | None = None
    alone: bool = False


def settle(items: Sequence[Write]) -> None:
    """Tell all who wait, if anybody does still."""
    for loop in {item.future.get_loop() for item in items}:
        with suppress(RuntimeError):  # it is closed: nobody waits there
            loop.call_soon_threadsafe(_settle, [item for item in items if item.future.get_loop() is loop])


def _settle(items: Iterable[Write]) -> None:
    for item in items:
        if item.future.done():
            continue
        if item.failure is not None:
            item.future.set_exception(item.failure)
        else:
            item.future.set_result(item.result)


class Writer:
    """A connection that writes, for one thread. `alone` is held by whichever of all writers runs a write again."""

    def __init__(
        self,
        server: Server,
        trouble: Trouble,
        patience: float,
        new_id: IdSource,
        alone: threading.Lock,
        now: Callable[[], float],
    ) -> None:
        self.session = Session(server)
        self._trouble, self._patience, self._new_id, self._alone = trouble, patience, new_id, alone
        self._name, self._number, self._now = new_id(), 0, now
        self._dice = Random(self._name)  # noqa: S311

    def do(self, items: Sequence[Write]) -> bool:
        """Do writes, however often it takes, and leave with each what came of it; False if one was run again."""
        for isolation in Isolation:
            alike = [item for item in items if item.isolation is isolation]
            for item in alike:
                item.writer, item.alone = self, len(alike) == 1
            if len(alike) > 1:
                self._together(alike, isolation)
            for item in alike:
                if item.alone:
                    self._by_itself(item)
                item.writer = None
        return not any(item.reruns for item in items)

    def _by_itself(self, item: Write) -> None:
        try:
            self._repeat(item)
        except BaseException as error:
            item.failure = self._trouble.refusal(error, "write") or error

    def _together(self, items: Sequence[Write], isolation: Isolation) -> None:
        """Do all of them in one transaction, except those that are to be done alone: all, if that failed."""
        owners = frozenset().union(*(item.owners for item in items))
        batch = Write(partial(self._each, items), isolation, items[0].future, owners, reruns=items[0].reruns)
        try:
            self._repeat(batch, conflicts=False)
        except BaseException as error:
            # A server that is away is away for all of them: they do not wait for it one after the other.
            away = isinstance(error, Unavailable) or failure(error) in {Failure.AWAY, Failure.REFUSED}
            told = self._trouble.refusal(error, "write") or error if away or batch.unsure else None
            for item in items:
                item.alone, item.failure = told is None, told
                if failure(error) in CONFLICTS:
                    item.again("conflict")
            return
        for item, came in zip(items, batch.result, strict=True):
            item.result, item.failure, item.alone = came.result, came.failure, came.alone
            item.commits = int(item is items[0] or came.alone)

    def _each(self, items: Sequence[Write], conn: Connection) -> list[_Came]:
        """Run writes one after the other; what one raises undoes it alone, unless it is the whole that cannot be."""
        done: list[_Came] = []
        statements = self.session.statements()
        statements.ahead("SAVEPOINT one")
        for item in items:
            try:
                came = _Came(item.fn(conn))
                if statements.unsent:  # else the next one would be told what is wrong with it
                    statements.flush()
                done.append(came)
            except Exception as error:
                kind = failure(error)
                if kind in _OF_ALL:
                    raise
                # What hurts a constraint may be another's fault, which shows when it is run again.
                told = self._trouble.refusal(error, "write") or error
                done.append(_Came(alone=True) if kind is Failure.CLASH else _Came(failure=told))
                statements.ahead("ROLLBACK TO one")
            else:
                statements.ahead("RELEASE one")
                statements.ahead("SAVEPOINT one")
        return done

    def _repeat(self, item: Write, *, conflicts: bool = True) -> None:
        """Try a write until it is done or known to fail; without `conflicts`, one in another's way has failed."""
        self._number += 1
        end = time.monotonic() + self._patience
        with ExitStack() as held:
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
                            raise StoreUnavailable(_UNSURE) from None
                    elif time.monotonic() > end or not _again(kind, tries) or not (conflicts or kind is Failure.AWAY):
                        raise
                    item.again("conflict" if kind in CONFLICTS else "lost")
                    if kind in CONFLICTS and tries == 1:
                        held.enter_context(self._alone)
                time.sleep(self._dice.random() * 0.001 * min(2**tries, 64))

    def _try(self, item: Write) -> None:
        statements = self.session.statements()
        if item.owners and item.isolation is Isolation.SERIALIZABLE:
            statements.hold([lock_of(owner) for owner in item.owners])
        statements.ahead(_BEGIN.format(item.isolation.value))
        statements.ahead(_MARK, self._name, self._number, int(self._now() * 1_000_000))
        if item.unsure:
            fresh = statements.flush()
            item.unsure = False
            if not fresh:  # the try before this one was committed
                self.session.end()
                return
        item.result = item.fn(self.session.connection())
        try:
            statements.commit()
        except Exception as error:
            item.unsure = failure(error) is Failure.AWAY
            raise

    def _leave(self, kind: Failure | None) -> None:
        if kind is Failure.AWAY:
            self.session.drop()
        else:
            self.session.end()


def lock_of(owner: str) -> int:
    """Return the number of an owner's lock."""
    return int.from_bytes(hashlib.blake2b(owner.encode(), digest_size=8).digest(), signed=True)


def _again(kind: Failure | None, tries: int) -> bool:
    return kind in {Failure.AGAIN, Failure.AWAY} or (kind is Failure.CLASH and tries < CLASHES)
