"""Which writes were committed: one whose COMMIT was never answered looks here, when it runs again, whether it is done.

A session writes one thing after the other and numbers what it writes. Its row is changed in the same transaction as
everything else, and so holds the number of the last write that was committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import msgspec
import sqlalchemy as sa

from floe.core.ids import IdSource
from floe.store import listing as lists
from floe.store.engine import Connection
from floe.store.schema import Ident, Moment, metadata

write_sessions = sa.Table(
    "write_sessions",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("seen_at", Moment, nullable=False),
    sa.Index("ix_write_sessions_seen_at", "seen_at"),
)


class Mark(msgspec.Struct, frozen=True):
    """What one write is known by, however often it is tried."""

    session: str
    number: int
    at: datetime


def put(conn: Connection, mark: Mark) -> bool:
    """Mark a write, in the transaction that does it; False when it was committed before, and must not be done again.

    A try that is still being committed is waited for: it has the row.
    """
    fresh = lists.insert(conn, write_sessions).values(id=mark.session, number=mark.number, seen_at=mark.at)
    newer = fresh.on_conflict_do_update(
        index_elements=[write_sessions.c.id],
        set_={"number": fresh.excluded.number, "seen_at": fresh.excluded.seen_at},
        where=write_sessions.c.number < fresh.excluded.number,
    )
    return conn.execute(newer).rowcount == 1


class Sessions:
    """The sessions of one process: as many as it has writes under way at once. For one event loop."""

    def __init__(self, new_id: IdSource, now: Callable[[], datetime]) -> None:
        self._new_id, self._now = new_id, now
        self._free: list[tuple[str, int]] = []

    @contextmanager
    def mark(self) -> Iterator[Mark]:
        """Mark one write, for all its tries. Whoever is cancelled may leave one under way: its session ends with it."""
        session, last = self._free.pop() if self._free else (self._new_id(), 0)
        mark = Mark(session, last + 1, self._now())
        try:
            yield mark
        except Exception:
            self._free.append((session, mark.number))
            raise
        self._free.append((session, mark.number))
