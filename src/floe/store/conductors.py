"""Conductors: where each runs, and when it last wrote that it lives."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from floe.core.conductors import ConductorRole
from floe.store.engine import Connection
from floe.store.schema import Moment, metadata

conductors = sa.Table(
    "conductors",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("host", sa.String(255), nullable=False, unique=True),
    sa.Column("connected", sa.Boolean, nullable=False),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("last_seen", Moment, nullable=False),
)

_ALL = sa.select(conductors).order_by(conductors.c.number)


def every(conn: Connection) -> list[ConductorRole]:
    """Return all of them, the oldest first."""
    return [ConductorRole(**row._mapping) for row in conn.execute(_ALL)]


def put(conn: Connection, host: str, now: datetime) -> None:
    """Write that the conductor of a host starts."""
    values: dict[str, Any] = {"connected": True, "started_at": now, "last_seen": now}
    if not _change(conn, host, values):
        conn.execute(conductors.insert().values(host=host, **values))


def seen(conn: Connection, host: str, now: datetime, *, connected: bool = True) -> None:
    """Write that the conductor of a host lives, or that it stops."""
    _change(conn, host, {"connected": connected, "last_seen": now})


def remove(conn: Connection, host: str) -> bool:
    """Forget a conductor."""
    return conn.execute(conductors.delete().where(conductors.c.host == host)).rowcount == 1


def _change(conn: Connection, host: str, values: dict[str, Any]) -> bool:
    return conn.execute(conductors.update().where(conductors.c.host == host).values(values)).rowcount == 1
