"""Who holds each open action and for how long, and what shows that it was written to."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from floe.core.actions import OPEN_STATES, SERVER
from floe.store.actions import actions, steps
from floe.store.engine import Connection
from floe.store.functions import array_of, is_one_of
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
_OURS = (
    sa.select(_a.id)
    .where(is_one_of(_a.id, sa.bindparam("ids", type_=sa.Text)), _IS_OPEN, _a.lease_owner == sa.bindparam("owner"))
    .with_for_update(skip_locked=True)
)
_KEEP = Prepared(
    actions.update()
    .where(_a.id.in_(_OURS))
    .values(
        lease_until=sa.bindparam("until", type_=Moment),
        writes=_a.writes + 1,
        updated_at=sa.bindparam("now", type_=Moment),
    )
    .returning(_a.id, _a.attempts)
)


def held(conn: Connection) -> dict[str, Any]:
    """Return the leases of open actions by their ids, each with how far its journal is, as `entries`."""
    return {row.id: row for row in _HELD.rows(conn)}


def first_end(conn: Connection, now: datetime) -> datetime | None:
    """Return when the first lease of an action of a server runs out that does not before `now`."""
    found: datetime | None = _ENDS.first(conn, now=now).at
    return found


def keep(conn: Connection, owner: str, ids: Collection[str], now: datetime, until: datetime) -> dict[str, int]:
    """Renew an owner's leases of these actions; return its attempt at each that it has still, by id.

    What is being written just now is left out, on a database that has several writers: it is waited for by none.
    """
    return dict(_KEEP.tuples(conn, owner=owner, ids=array_of(ids), now=now, until=until))
