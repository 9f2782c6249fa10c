"""Server groups; their members are the servers whose `group_id` names them."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from floe.core.server_groups import ServerGroup
from floe.store.engine import Connection
from floe.store.quota_usages import Counted, counted
from floe.store.schema import Ident, Moment, metadata
from floe.store.servers import servers

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
    info=counted(Counted(resource="server_groups", owner="project_id")),
)

_BY_ID = sa.select(server_groups).where(server_groups.c.id == sa.bindparam("ident"))


def insert(conn: Connection, group: ServerGroup) -> None:
    """Insert a group."""
    conn.execute(server_groups.insert(), {name: getattr(group, name) for name in ServerGroup.__slots__})


def get(conn: Connection, group_id: str) -> ServerGroup | None:
    """Return a group."""
    row = conn.execute(_BY_ID, {"ident": group_id}).one_or_none()
    return ServerGroup(**row._mapping) if row else None


def find(conn: Connection, project_id: str | None, limit: int | None, offset: int) -> list[ServerGroup]:
    """Return the groups of a project (of all with None), the oldest first."""
    statement = sa.select(server_groups).order_by(server_groups.c.created_at, server_groups.c.id)
    if project_id is not None:
        statement = statement.where(server_groups.c.project_id == project_id)
    return [ServerGroup(**row._mapping) for row in conn.execute(statement.limit(limit).offset(offset))]


def delete(conn: Connection, group_id: str) -> bool:
    """Remove a group; its servers live on, in no group. False if there was none."""
    conn.execute(servers.update().where(servers.c.group_id == group_id).values(group_id=None))
    return conn.execute(server_groups.delete().where(server_groups.c.id == group_id)).rowcount == 1


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
