"""Rows that say when something was looked at: the database, by writing one; which keys it was opened with."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from floe.store.engine import Connection
from floe.store.schema import Moment, metadata

probes = sa.Table(
    "probes",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("at", Moment, nullable=False),
)


def put(conn: Connection, name: str, now: datetime) -> None:
    """Write that somebody looked."""
    changed = conn.execute(sa.update(probes).where(probes.c.name == name).values(at=now))
    if not changed.rowcount:
        conn.execute(sa.insert(probes).values(name=name, at=now))


def named(conn: Connection, prefix: str) -> set[str]:
    """Return the names that begin so."""
    return set(conn.scalars(sa.select(probes.c.name).where(probes.c.name.startswith(prefix, autoescape=True))))
