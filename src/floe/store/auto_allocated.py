"""What was allocated to projects by itself: of each project one network, and the router from it to the outside."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.auto_allocated import Topology
from floe.store.prepared import Prepared
from floe.store.schema import Ident, metadata
from floe.store.table import columns_of

auto_allocated_topologies = sa.Table(
    "auto_allocated_topologies",
    metadata,
    sa.Column("project_id", Ident, primary_key=True),
    sa.Column("network_id", Ident, sa.ForeignKey("networks.id", ondelete="CASCADE"), nullable=False, unique=True),
    sa.Column("router_id", Ident, sa.ForeignKey("routers.id", ondelete="SET NULL"), unique=True),
)

_OF_PROJECT = Prepared(
    sa.select(*columns_of(Topology, auto_allocated_topologies)).where(
        auto_allocated_topologies.c.project_id == sa.bindparam("project")
    )
)


def get(conn: Connection, project_id: str) -> Topology | None:
    """Return what was allocated to a project; the network goes with its row, the router alone leaves a gap."""
    found = _OF_PROJECT.first(conn, project=project_id)
    return None if found is None else Topology(*found)


def insert(conn: Connection, topology: Topology) -> None:
    """Add what was allocated to a project that has nothing yet."""
    values = {name: getattr(topology, name) for name in topology.__struct_fields__}
    conn.execute(sa.insert(auto_allocated_topologies).values(values))
