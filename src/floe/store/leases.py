"""Who holds each open action, and what shows that it was written to."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from floe.core.actions import OPEN_STATES
from floe.store.actions import actions, steps
from floe.store.engine import Connection
from floe.store.prepared import Prepared

_a = actions.c
_ENTRIES = sa.select(sa.func.count() + sa.func.count(steps.c.finished_at)).where(steps.c.action_id == _a.id)
_HELD = Prepared(
    sa.select(
        *(_a.id, _a.lease_owner, _a.lease_until, _a.attempts, _a.writes), _ENTRIES.scalar_subquery().label("entries")
    ).where(_a.state.in_([sa.literal(state) for state in sorted(OPEN_STATES)]))
)


def held(conn: Connection) -> dict[str, Any]:
    """Return the leases of open actions by their ids, each with how far its journal is, as `entries`."""
    return {row.id: row for row in _HELD.rows(conn)}
