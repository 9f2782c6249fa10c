"""Limits of quota classes by name; those of the default class, which alone hold for anybody, stand in `quotas`."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.store.schema import metadata

quota_classes = sa.Table(
    "quota_classes",
    metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("resource", sa.String(64), primary_key=True),
    sa.Column("limit", sa.BigInteger, nullable=False),
)
_c = quota_classes.c


def get(conn: Connection, name: str) -> dict[str, int]:
    """Return the limits set of a class, by resource; those not set are left out."""
    rows = conn.execute(sa.select(_c.resource, _c.limit).where(_c.name == name))
    return {row.resource: row.limit for row in rows}


def put(conn: Connection, name: str, limits: Mapping[str, int]) -> None:
    """Set limits; those not named stay."""
    conn.execute(sa.delete(quota_classes).where(_c.name == name, _c.resource.in_(list(limits))))
    if limits:
        rows = [{"name": name, "resource": resource, "limit": limit} for resource, limit in limits.items()]
        conn.execute(quota_classes.insert(), rows)


def count(conn: Connection) -> int:
    """Return how many classes have a limit set."""
    return conn.execute(sa.select(sa.func.count(_c.name.distinct()))).scalar_one()
