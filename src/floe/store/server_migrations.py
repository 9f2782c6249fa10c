"""Migrations of servers: a row for each resize, of which the latest of a server says how far that is."""

from __future__ import annotations

from datetime import datetime

import msgspec
import sqlalchemy as sa

from floe.core.server_migrations import CONFIRMED, REVERTED, ServerMigration, Wanted
from floe.store.engine import Connection
from floe.store.schema import Ident, Moment, metadata

server_migrations = sa.Table(
    "server_migrations",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", Ident, nullable=False, unique=True),
    sa.Column("server_id", Ident, sa.ForeignKey("servers.id", ondelete="CASCADE"), nullable=False),
    sa.Column("project_id", Ident, nullable=False),
    sa.Column("user_id", Ident, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("old_flavor_id", sa.String(255), nullable=False),
    sa.Column("new_flavor_id", sa.String(255), nullable=False),
    sa.Column("source", sa.String(255), nullable=False),
    sa.Column("target", sa.String(255)),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment),
    sa.Index("ix_server_migrations_server_id", "server_id", "number"),
    sa.Index("ix_server_migrations_project_id", "project_id", "number"),
    sa.Index("ix_server_migrations_updated_at", "updated_at"),
)

_m = server_migrations.c
_FIELDS = ServerMigration.__struct_fields__
_CHANGED = sa.func.coalesce(_m.updated_at, _m.created_at)


def insert(conn: Connection, migration: ServerMigration) -> None:
    """Note one that begins; the database gives it its number."""
    values = {name: value for name, value in msgspec.structs.asdict(migration).items() if name != "number"}
    conn.execute(server_migrations.insert().values(values))


def note(conn: Connection, server_id: str, status: str, now: datetime, *, target: str | None = None) -> None:
    """Note how far the latest one of a server is; one that was settled, of an earlier release's server, stays so."""
    latest = sa.select(sa.func.max(_m.number)).where(_m.server_id == server_id).scalar_subquery()
    values = {"status": status, "updated_at": now} | ({} if target is None else {"target": target})
    which = _m.number == latest, _m.status.not_in([CONFIRMED, REVERTED])
    conn.execute(server_migrations.update().where(*which).values(values))


def get(conn: Connection, ident: str) -> ServerMigration | None:
    """Return one."""
    row = conn.execute(server_migrations.select().where(_m.id == ident)).first()
    return None if row is None else _migration(row)


def find(conn: Connection, wanted: Wanted, *, after: ServerMigration | None, limit: int) -> list[ServerMigration]:
    """Return those that are asked for, the latest first; `after` is the last one of the page before."""
    equal = {"server_id", "project_id", "user_id", "kind", "status", "source"}
    where = [_m[name] == it for name in sorted(equal) if (it := getattr(wanted, name)) is not None]
    if wanted.host is not None:
        where.append(sa.or_(_m.source == wanted.host, _m.target == wanted.host))
    if wanted.since is not None:
        where.append(wanted.since <= _CHANGED)
    if wanted.before is not None:
        where.append(wanted.before >= _CHANGED)
    if after is not None:
        where.append(_m.number < after.number)
    query = server_migrations.select().where(*where).order_by(_m.number.desc()).limit(limit)
    return [_migration(row) for row in conn.execute(query)]


def _migration(row: sa.Row[tuple[object, ...]]) -> ServerMigration:
    return ServerMigration(**{name: getattr(row, name) for name in _FIELDS})
