"""Subnets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from floe.core.listing import Listing
from floe.core.subnets import Subnet
from floe.store import listing as lists
from floe.store.networks import networks, seen_by
from floe.store.quota_usages import Counted, counted
from floe.store.schema import Ident, Json, Moment, metadata

subnets = sa.Table(
    "subnets",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("network_id", Ident, sa.ForeignKey("networks.id"), nullable=False, index=True),
    sa.Column("project_id", Ident, nullable=False, index=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("description", sa.String(255), nullable=False),
    sa.Column("cidr", sa.String(64), nullable=False),
    sa.Column("gateway", sa.String(64)),
    sa.Column("dhcp", sa.Boolean, nullable=False),
    sa.Column("pools", Json, nullable=False),
    sa.Column("nameservers", Json, nullable=False),
    sa.Column("routes", Json, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False, default=0),
    info=counted(Counted(resource="subnet", owner="project_id")),
)

FIELDS: lists.Fields = {
    **{c.name: c for c in subnets.c if c.name not in {"pools", "nameservers", "routes"}},
    "gateway": sa.func.coalesce(subnets.c.gateway, ""),
    "shared": networks.c.shared,
}


_OF_NETWORKS = lists.ByIds(sa.select(subnets).order_by(subnets.c.created_at, subnets.c.id), subnets.c.network_id)


def insert(conn: Connection, subnet: Subnet) -> None:
    """Add a subnet."""
    conn.execute(sa.insert(subnets).values({c.name: getattr(subnet, c.name) for c in subnets.c}))


def get(conn: Connection, subnet_id: str, project_id: str | None = None) -> Subnet | None:
    """Return a subnet of a network that the project sees (None: anybody's)."""
    row = conn.execute(_seen(project_id).where(subnets.c.id == subnet_id)).first()
    return None if row is None else _subnet(row)


def find(conn: Connection, project_id: str | None, listing: Listing) -> list[Subnet]:
    """Return the subnets that the project sees."""
    return [_subnet(row) for row in lists.page(conn, _seen(project_id), FIELDS, listing)]


def of_networks(conn: Connection, network_ids: Iterable[str]) -> list[Subnet]:
    """Return all subnets of these networks, the oldest first."""
    return [_subnet(row) for row in _OF_NETWORKS.rows(conn, list(network_ids))]


def update(conn: Connection, subnet_id: str, changes: Mapping[str, Any], now: datetime) -> None:
    """Change a subnet and count its revision up."""
    values = {**changes, "updated_at": now, "revision": subnets.c.revision + 1}
    conn.execute(sa.update(subnets).where(subnets.c.id == subnet_id).values(values))


def delete(conn: Connection, subnet_id: str) -> None:
    """Remove a subnet; its addresses must be gone."""
    conn.execute(sa.delete(subnets).where(subnets.c.id == subnet_id))


def _seen(project_id: str | None) -> sa.Select[Any]:
    statement = sa.select(subnets).join(networks, networks.c.id == subnets.c.network_id)
    return statement if project_id is None else statement.where(seen_by(project_id))


def _subnet(row: Row[Any]) -> Subnet:
    values = row._asdict()
    values["pools"] = tuple((start, end) for start, end in values["pools"])
    values["nameservers"] = tuple(values["nameservers"])
    values["routes"] = tuple((destination, nexthop) for destination, nexthop in values["routes"])
    return Subnet(**values)
