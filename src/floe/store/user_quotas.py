"""Quotas of single users within a project, which few have: what is theirs is marked with whom it is counted for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.ids import derived
from floe.store.schema import Ident, Moment, metadata
from floe.store.server_groups import server_groups
from floe.store.servers import servers

user_quotas = sa.Table(
    "user_quotas",
    metadata,
    sa.Column("owner", Ident, primary_key=True),
    sa.Column("resource", sa.String(64), primary_key=True),
    sa.Column("project_id", Ident, nullable=False, index=True),
    sa.Column("user_id", Ident, nullable=False, index=True),
    sa.Column("limit", sa.BigInteger, nullable=False),
    sa.Column("set_at", Moment, nullable=False),
)
_MARKED = (servers, server_groups)


def owner(project_id: str, user_id: str) -> str:
    """Return whom things are counted for that are a user's within a project."""
    return derived(project_id, f"quota of {user_id}")


def get(conn: Connection, project_id: str, user_id: str) -> dict[str, int]:
    """Return the limits set for a user, by resource."""
    u = user_quotas.c
    rows = conn.execute(sa.select(u.resource, u.limit).where(u.owner == owner(project_id, user_id)))
    return {row.resource: row.limit for row in rows}


def used(conn: Connection, project_id: str, user_id: str) -> dict[str, int]:
    """Count what a user has within a project, whether or not it is limited: reads all of it."""
    s, g = servers.c, server_groups.c
    theirs = s.project_id == project_id, s.user_id == user_id, s.deleted_at.is_(None), s.reclaim_at.is_(None)
    sums = sa.func.count(), sa.func.coalesce(sa.func.sum(s.vcpus), 0), sa.func.coalesce(sa.func.sum(s.memory_mib), 0)
    found = conn.execute(sa.select(*sums).where(*theirs)).one()
    groups = sa.select(sa.func.count()).where(g.project_id == project_id, g.user_id == user_id)
    names = ("instances", "cores", "ram")
    return {**dict(zip(names, found, strict=True)), "server_groups": conn.execute(groups).scalar_one()}


def put(conn: Connection, project_id: str, user_id: str, limits: Mapping[str, int], now: datetime) -> None:
    """Set limits of a user, and have counted what is theirs; limits that are not named stay."""
    whose, u = owner(project_id, user_id), user_quotas.c
    for resource, limit in limits.items():
        conn.execute(sa.delete(user_quotas).where(u.owner == whose, u.resource == resource))
        conn.execute(
            sa.insert(user_quotas).values(
                owner=whose, resource=resource, project_id=project_id, user_id=user_id, limit=limit, set_at=now
            )
        )
    if limits:
        for table in _MARKED:
            theirs = table.c.project_id == project_id, table.c.user_id == user_id, *_living(table)
            conn.execute(sa.update(table).where(*theirs).values(quota_owner=whose))


def _living(table: sa.Table) -> tuple[sa.ColumnElement[bool], ...]:
    return (table.c.deleted_at.is_(None),) if "deleted_at" in table.c else ()


def delete(conn: Connection, project_id: str, user_id: str) -> None:
    """Let the project's limits alone hold for a user."""
    _forget(conn, user_quotas.c.owner == owner(project_id, user_id))


def forget_project(conn: Connection, project_id: str) -> None:
    """Remove the limits of all users of a project."""
    _forget(conn, user_quotas.c.project_id == project_id)


def forget_user(conn: Connection, user_id: str) -> None:
    """Remove all limits of a user."""
    _forget(conn, user_quotas.c.user_id == user_id)


def _forget(conn: Connection, which: sa.ColumnElement[bool]) -> None:
    for table in _MARKED:
        mine = table.c.quota_owner.in_(sa.select(user_quotas.c.owner).where(which))
        conn.execute(sa.update(table).where(mine).values(quota_owner=None))
    conn.execute(sa.delete(user_quotas).where(which))
