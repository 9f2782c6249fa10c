"""Who holds each open action, and what shows that it was written to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from floe.core.actions import OPEN_STATES, SERVER
from floe.store.actions import actions, steps
from floe.store.engine import Connection
from floe.store.prepared import Prepared
from floe.store.schema import Moment

_a = actions.c
_IS_OPEN = _a.state.in_([sa.literal(state) for state in sorted(OPEN_STATES)])
_ENTRIES = sa.select(sa.func.count() + sa.func.count(steps.c.finished_at)).where(steps.c.action_id == _a.id)
_HELD = Prepared(
    sa.select(
        *(_a.id, _a.lease_owner, _a.lease_until, _a.attempts, _a.writes), _ENTRIES.scalar_subquery().label("entries")
    ).where(_IS_OPEN)
)
_ENDS = Prepared(
    sa.select(sa.func.min(_a.lease_until, type_=Moment).label("at")).where(
        _IS_OPEN, _a.subject_kind == SERVER, _a.lease_until >= sa.bindparam("now", type_=Moment)
    )
)


def held(conn: Connection) -> dict[str, Any]:
    """Return the leases of open actions by their ids, each with how far its journal is, as `entries`."""
    return {row.id: row for row in _HELD.rows(conn)}


def first_end(conn: Connection, now: datetime) -> datetime | None:
    """Return when the first lease of an action of a server runs out that does not before `now`."""
    found: datetime | None = _ENDS.first(conn, now=now).at
    return found
