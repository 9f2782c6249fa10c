"""Names of ports, where several projects meet on a network."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.store.ports import ports
from floe.store.prepared import Prepared

_TAKEN = Prepared(
    sa.select(ports.c.id)
    .where(
        ports.c.network_id == sa.bindparam("network"),
        ports.c.project_id != sa.bindparam("project"),
        sa.or_(ports.c.hostname == sa.bindparam("label"), ports.c.hostname.like(sa.bindparam("longer"))),
    )
    .limit(1)
)


def taken(conn: Connection, network_id: str, label: str, but: str) -> bool:
    """Say whether a port of another project on the network has a name that is, or begins with, this label."""
    found = _TAKEN.first(conn, network=network_id, project=but, label=label, longer=f"{label}.%")
    return found is not None
