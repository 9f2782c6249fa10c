"""Quotas that differ from the defaults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.store.prepared import Prepared
from floe.store.quota_usages import quota_usages
from floe.store.schema import Ident, Moment, metadata
from floe.store.user_quotas import owner, user_quotas

quotas = sa.Table(
    "quotas",
    metadata,
    sa.Column("project_id", Ident, primary_key=True),
    sa.Column("resource", sa.String(64), primary_key=True),
    sa.Column("limit", sa.BigInteger, nullable=False),
    sa.Column("set_at", Moment),
)


def get(conn: Connection, project_id: str) -> dict[str, int]:
    """Return the limits set for a project (or a class: `class:default`), by resource; those not set are left out."""
    rows = conn.execute(sa.select(quotas.c.resource, quotas.c.limit).where(quotas.c.project_id == project_id))
    return {row.resource: row.limit for row in rows}


_USED = "used"
_LAYERS = Prepared(
    sa.select(quotas.c.project_id, quotas.c.resource, quotas.c.limit).where(
        sa.or_(quotas.c.project_id == sa.bindparam("lower"), quotas.c.project_id == sa.bindparam("upper"))
    )
)


def layers(conn: Connection, lower: str, upper: str) -> dict[str, int]:
    """Return what is set for one owner, overlaid by what is set for another; in one statement."""
    found: dict[str, dict[str, int]] = {lower: {}, upper: {}}
    for layer, resource, limit in _LAYERS.rows(conn, lower=lower, upper=upper):
        found[layer][resource] = limit
    return {**found[lower], **found[upper]}


_OF_PROJECT = (
    sa.select(quotas.c.project_id.label("layer"), quotas.c.resource, quotas.c.limit.label("amount")).where(
        sa.or_(quotas.c.project_id == sa.bindparam("lower"), quotas.c.project_id == sa.bindparam("upper"))
    ),
    sa.select(sa.null(), quota_usages.c.resource, quota_usages.c.used).where(
        quota_usages.c.owner == sa.bindparam("upper")
    ),
)
_ROOM = Prepared(sa.union_all(*_OF_PROJECT))
_ROOM_OF_USER = Prepared(
    sa.union_all(
        *_OF_PROJECT,
        sa.select(user_quotas.c.owner, user_quotas.c.resource, user_quotas.c.limit).where(
            user_quotas.c.owner == sa.bindparam("whose")
        ),
        sa.select(sa.literal_column(f"'{_USED}'"), quota_usages.c.resource, quota_usages.c.used).where(
            quota_usages.c.owner == sa.bindparam("whose")
        ),
    )
)


def room(conn: Connection, lower: str, upper: str) -> tuple[dict[str, int], Counter[str]]:
    """Return what `layers` does, and how much `upper` has, by resource; in one statement."""
    layers: dict[str | None, dict[str, int]] = {lower: {}, upper: {}, None: {}}
    for layer, resource, amount in _ROOM.rows(conn, lower=lower, upper=upper):
        layers[layer][resource] = amount
    return {**layers[lower], **layers[upper]}, Counter(layers[None])


class Amounts(NamedTuple):
    """What is set for a project and one of its users, by resource, and how much each of them has."""

    limits: dict[str, int]
    used: Counter[str]
    own: dict[str, int]
    own_used: Counter[str]


def room_of_user(conn: Connection, lower: str, upper: str, user_id: str) -> Amounts:
    """Return what `room` does, and the same of a user; used is counted of one alone who is limited."""
    whose = owner(upper, user_id)
    layers: dict[str | None, dict[str, int]] = {lower: {}, upper: {}, None: {}, whose: {}, _USED: {}}
    for layer, resource, amount in _ROOM_OF_USER.rows(conn, lower=lower, upper=upper, whose=whose):
        layers[layer][resource] = amount
    limits = {**layers[lower], **layers[upper]}
    return Amounts(limits, Counter(layers[None]), layers[whose], Counter(layers[_USED]))


def put(conn: Connection, project_id: str, limits: Mapping[str, int], now: datetime | None = None) -> None:
    """Set limits; those not named stay.

    What a project has already may be more than a limit that is set `now`; one set without a time is taken to have
    held from the beginning.
    """
    for resource, limit in limits.items():
        conn.execute(sa.delete(quotas).where(quotas.c.project_id == project_id, quotas.c.resource == resource))
        conn.execute(sa.insert(quotas).values(project_id=project_id, resource=resource, limit=limit, set_at=now))


def delete(conn: Connection, project_id: str, resources: frozenset[str]) -> None:
    """Go back to the defaults for these resources."""
    conn.execute(sa.delete(quotas).where(quotas.c.project_id == project_id, quotas.c.resource.in_(resources)))


def forget_project(conn: Connection, project_id: str) -> None:
    """Remove all limits that a project has of its own."""
    conn.execute(sa.delete(quotas).where(quotas.c.project_id == project_id))


def owners(conn: Connection, resources: frozenset[str]) -> list[str]:
    """Return the projects and classes that have a limit of their own for any of these resources."""
    found = sa.select(quotas.c.project_id).where(quotas.c.resource.in_(resources)).distinct()
    return [row[0] for row in conn.execute(found.order_by(quotas.c.project_id))]
