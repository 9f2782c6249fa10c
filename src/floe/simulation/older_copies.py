"""An older copy of the database is put back: of the numbers by which hosts tell what was said later, all else stays.

Whatever users ask for then is to be done, though hosts have heard of numbers that the rows know nothing of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from floe.agent.power import LATER
from floe.cloud.audit import Violation
from floe.conductor.power import BEHIND
from floe.core.actions import FAILED
from floe.core.guest_actions import BY_KIND
from floe.store.actions import actions
from floe.store.engine import Connection
from floe.store.servers import servers

_COPIED = ("boots", "guest_generation", "password", "password_turn")
Numbers = Mapping[str, Mapping[str, Any]]
"""By server, its latest boot and wish, and its guest's password."""


def numbers(conn: Connection) -> Numbers:
    """Return them as they are now."""
    found = conn.execute(servers.select().with_only_columns(servers.c.id, *(servers.c[name] for name in _COPIED)))
    return {row.id: {name: getattr(row, name) for name in _COPIED} for row in found}


def put_back(conn: Connection, copy: Numbers) -> None:
    """Have the servers that are still there have those."""
    for ident, values in copy.items():
        conn.execute(servers.update().where(servers.c.id == ident).values(values))


def refused(conn: Connection) -> Iterable[Violation]:
    """Give the wishes that a host refused for later ones though nobody had asked for any by then."""
    rows = conn.execute(actions.select().where(actions.c.kind.in_(sorted(BY_KIND)))).all()
    for row in (row for row in rows if row.state == FAILED and row.message in {LATER, BEHIND}):
        others = (other for other in rows if other.subject_id == row.subject_id and other.id != row.id)
        if not any(row.created_at <= other.created_at <= row.finished_at for other in others):
            yield Violation("a wish was refused though it was the latest", row.subject_id, row.kind)
