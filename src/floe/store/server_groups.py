"""Server groups; their members are the servers whose `group_id` names them."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from floe.core.server_groups import ServerGroup
from floe.store.engine import Connection
from floe.store.quota_usages import Counted, counted
from floe.store.schema import Ident, Moment, metadata
from floe.store.servers import servers
from floe.store.table import VIEWER, Rows, things

_LIMITED = sa.text("quota_owner IS NOT NULL")

server_groups = sa.Table(
    "server_groups",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("project_id", Ident, nullable=False, index=True),
    sa.Column("user_id", Ident, nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("policy", sa.String(32), nullable=False),
    sa.Column("max_per_host", sa.Integer),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("quota_owner", Ident),
    sa.Index("ix_server_groups_quota_owner", "quota_owner", sqlite_where=_LIMITED),
    info=counted(
        Counted(resource="server_groups", owner="project_id"),
        Counted(resource="server_groups", owner="quota_owner"),
    ),
)

ROWS: Rows[ServerGroup] = Rows(
    server_groups, things(ServerGroup), seen=server_groups.c.project_id == VIEWER, order=(("created_at", True),)
)
get, find, insert = ROWS.get, ROWS.find, ROWS.insert


def delete(conn: Connection, group_id: str) -> None:
    """Remove a group; its servers live on, in no group."""
    conn.execute(servers.update().where(servers.c.group_id == group_id).values(group_id=None))
    ROWS.delete(conn, group_id)


def members(conn: Connection, group_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the ids of the servers in each group, the oldest first."""
    rows = conn.execute(
        sa.select(servers.c.group_id, servers.c.id)
        .where(servers.c.group_id.in_(list(group_ids)), servers.c.deleted_at.is_(None))
        .order_by(servers.c.number)
    )
    found: dict[str, list[str]] = {ident: [] for ident in group_ids}
    for group_id, server_id in rows:
        found[group_id].append(server_id)
    return found
