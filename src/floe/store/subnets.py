"""Subnets."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.networks import Network
from floe.core.subnets import Subnet
from floe.store import listing as lists
from floe.store.address_columns import Pools
from floe.store.networks import COLUMNS as NETWORK
from floe.store.networks import SHARED, networks
from floe.store.prepared import Prepared
from floe.store.quota_usages import Counted, counted
from floe.store.schema import Ident, JsonOf, Moment, metadata
from floe.store.table import Rows, columns_of, structs
from floe.store.tags import Tags

subnets = sa.Table(
    "subnets",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("network_id", Ident, sa.ForeignKey("networks.id"), nullable=False, index=True),
    sa.Column("project_id", Ident, nullable=False, index=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("description", sa.String(255), nullable=False),
    sa.Column("cidr", sa.String(64), nullable=False),
    sa.Column("pool_id", Ident, sa.ForeignKey("subnetpools.id"), index=True),
    sa.Column("service_types", JsonOf(tuple[str, ...]), nullable=False, server_default="[]"),
    sa.Column("gateway", sa.String(64)),
    sa.Column("dhcp", sa.Boolean, nullable=False),
    sa.Column("pools", Pools, nullable=False),
    sa.Column("nameservers", JsonOf(tuple[str, ...]), nullable=False),
    sa.Column("routes", JsonOf(tuple[tuple[str, str], ...]), nullable=False),
    sa.Column("tags", Tags, nullable=False, server_default=""),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False, default=0),
    info=counted(Counted(resource="subnet", owner="project_id")),
)

_COLUMNS = columns_of(Subnet, subnets)
_OF_NETWORKS = lists.ByIds(sa.select(*_COLUMNS).order_by(subnets.c.created_at, subnets.c.id), subnets.c.network_id)
_CIDRS = Prepared(
    sa.select(subnets.c.cidr)
    .where(subnets.c.network_id == sa.bindparam("network_id"))
    .order_by(subnets.c.created_at, subnets.c.id)
)
_POOLS = Prepared(sa.select(subnets.c.pool_id).where(subnets.c.network_id == sa.bindparam("network_id")).distinct())

_WITH_NETWORKS = lists.ByIds(
    sa.select(*NETWORK, *_COLUMNS)
    .outerjoin(subnets, subnets.c.network_id == networks.c.id)
    .order_by(networks.c.id, subnets.c.created_at, subnets.c.id),
    networks.c.id,
)
_WIDTH = len(NETWORK)


def with_networks(conn: Connection, network_ids: Iterable[str]) -> tuple[dict[str, Network], dict[str, list[Subnet]]]:
    """Return networks, whosever they are, without their subnets' ids, and the subnets of each, the oldest first."""
    known: dict[str, Network] = {}
    below: dict[str, list[Subnet]] = {}
    for row in _WITH_NETWORKS.rows(conn, list(network_ids)):
        if row[0] not in known:
            known[row[0]] = Network(*row[:_WIDTH])
            below[row[0]] = []
        own = row[_WIDTH:]
        if own[0] is not None:
            below[row[0]].append(Subnet(*own))
    return known, below


def pools_of(conn: Connection, network_id: str) -> set[str | None]:
    """Return the subnet pools that the subnets of a network are of; None for those of none."""
    return {row[0] for row in _POOLS.rows(conn, network_id=network_id)}


def of_networks(conn: Connection, network_ids: Iterable[str]) -> list[Subnet]:
    """Return all subnets of these networks, the oldest first."""
    return [Subnet(*row) for row in _OF_NETWORKS.rows(conn, list(network_ids))]


def cidrs(conn: Connection, network_id: str) -> list[str]:
    """Return the CIDRs of a network's subnets, the oldest first."""
    return [row.cidr for row in _CIDRS.rows(conn, network_id=network_id)]


ROWS: Rows[Subnet] = Rows(
    subnets,
    structs(Subnet),
    sa.select(*_COLUMNS).join(networks, networks.c.id == subnets.c.network_id),
    seen=SHARED,
    fields={"shared": networks.c.shared},
)
insert, get, find, update, delete = ROWS.insert, ROWS.get, ROWS.find, ROWS.update, ROWS.delete
