"""A row that is written to see whether the database can be written to."""

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
