"""Past servers: the little that is kept of a server whose history was purged.

What it took and for how long, for usage reports; and that it is gone, for a host that comes back with its guest.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from msgspec.structs import asdict

from floe.core.usages import UsedServer
from floe.store.engine import Connection
from floe.store.schema import Ident, Moment, metadata

past_servers = sa.Table(
    "past_servers",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("project_id", Ident, nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("flavor_name", sa.String(255), nullable=False),
    sa.Column("vcpus", sa.Integer, nullable=False),
    sa.Column("memory_mib", sa.Integer, nullable=False),
    sa.Column("disk_gib", sa.Integer, nullable=False),
    sa.Column("launched_at", Moment),
    sa.Column("terminated_at", Moment, nullable=False),
    sa.Index("ix_past_servers_project", "project_id", "id"),
    sa.Index("ix_past_servers_terminated", "terminated_at"),
    sqlite_with_rowid=False,  # else each id would be stored twice
)

_p = past_servers.c
_USED = sa.select(*(column for column in _p if column.name != "number"))
_ENDED = sa.select(_p.id).where(_p.terminated_at < sa.bindparam("before", type_=Moment)).order_by(_p.terminated_at)
_NAMED = sa.select(_p.id, _p.number).where(_p.id.in_(sa.bindparam("idents", expanding=True)))


def insert(conn: Connection, servers: Sequence[tuple[int, UsedServer]]) -> None:
    """Keep these servers, each with its number."""
    if servers:
        rows = [{**asdict(server), "number": number} for number, server in servers]
        conn.execute(past_servers.insert(), [{name: row[name] for name in _p.keys()} for row in rows])  # noqa: SIM118


def between(
    conn: Connection, project_id: str | None, start: datetime, stop: datetime, *, after: str | None, most: int | None
) -> list[UsedServer]:
    """Return those that were there at some time of a span, by id; None means of all projects, or all there are."""
    statement = _USED.where(_p.launched_at <= stop, _p.terminated_at >= start)
    if project_id is not None:
        statement = statement.where(_p.project_id == project_id)
    if after is not None:
        statement = statement.where(_p.id > after)
    return [UsedServer(**row._mapping) for row in conn.execute(statement.order_by(_p.id).limit(most))]


def numbers(conn: Connection, server_ids: Sequence[str]) -> dict[str, int]:
    """Return the numbers of those of the servers that are kept here, by id."""
    return {row.id: row.number for row in conn.execute(_NAMED, {"idents": list(server_ids)})}


def ended(conn: Connection, before: datetime, most: int) -> list[str]:
    """Return the ids of at most so many that ended before a moment, the oldest first."""
    return list(conn.scalars(_ENDED.limit(most), {"before": before}))


def delete(conn: Connection, idents: Sequence[str]) -> int:
    """Forget these; return how many there were."""
    return conn.execute(past_servers.delete().where(_p.id.in_(list(idents)))).rowcount
