"""Reservations: the servers that one request made together."""

from __future__ import annotations

import sqlalchemy as sa

from floe.core.servers import BUILDING, SCHEDULING, Server
from floe.store.engine import Connection
from floe.store.servers import from_row, servers

_s = servers.c
_UNPLACED = (
    sa.select(servers)
    .where(
        _s.project_id == sa.bindparam("project"),
        _s.reservation_id == sa.bindparam("ident"),
        _s.vm_state == BUILDING,
        _s.task_state == SCHEDULING,
        _s.host.is_(None),
        _s.deleted_at.is_(None),
    )
    .order_by(_s.launch_index)
)


def unplaced(conn: Connection, project_id: str, reservation_id: str) -> list[Server]:
    """Return the servers of a reservation that are still to be placed, in their order."""
    found = conn.execute(_UNPLACED, {"project": project_id, "ident": reservation_id})
    return [from_row(row) for row in found]
