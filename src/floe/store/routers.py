"""Routers, their interfaces and gateways, which are ports, and the floating IPs that lead through them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.addresses import text_of
from floe.core.ports import GATEWAY_OWNER, INTERFACE_OWNER
from floe.core.routers import Interface, Router
from floe.store import listing as lists
from floe.store.addresses import port_addresses
from floe.store.hosts import hosts, zone
from floe.store.port_bindings import port_bindings
from floe.store.ports import ports
from floe.store.prepared import Prepared
from floe.store.quota_usages import Counted, counted
from floe.store.schema import Ident, JsonOf, Moment, metadata
from floe.store.subnetpools import subnetpools
from floe.store.subnets import subnets
from floe.store.table import VIEWER, Rows, columns_of
from floe.store.tags import Tags

routers = sa.Table(
    "routers",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("project_id", Ident, nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("description", sa.String(255), nullable=False),
    sa.Column("up", sa.Boolean, nullable=False),
    sa.Column("gateway_network_id", Ident, sa.ForeignKey("networks.id")),
    sa.Column("snat", sa.Boolean, nullable=False),
    sa.Column("routes", JsonOf(tuple[tuple[str, str], ...]), nullable=False),
    sa.Column("tags", Tags, nullable=False, server_default=""),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False, default=0),
    sa.Index("ix_routers_project_id_id", "project_id", "id"),
    sa.Index("ix_routers_name_owned", "name", "project_id", "id"),
    sa.Index("ix_routers_gateway_owned", "gateway_network_id", "project_id", "id"),
    info=counted(Counted(resource="router", owner="project_id")),
)

_ROUTER: sa.BindParameter[Any] = sa.bindparam("ident")
_COLUMNS = columns_of(Router, routers)
_MADE: Callable[..., Router] = Router
"""Takes a row's columns, and then what stands in no column."""
_PLAIN = lists.ByIds(sa.select(*_COLUMNS).order_by(routers.c.id), routers.c.id)
_INTERFACES = (
    sa.select(
        ports.c.id, ports.c.router_id, ports.c.network_id, ports.c.mac, ports.c.device_owner,
        port_addresses.c.subnet_id, port_addresses.c.address, subnets.c.cidr, subnets.c.project_id, ports.c.up,
        subnetpools.c.scope_id,
    )
    .join(port_addresses, port_addresses.c.port_id == ports.c.id)
    .join(subnets, subnets.c.id == port_addresses.c.subnet_id)
    .outerjoin(subnetpools, subnetpools.c.id == subnets.c.pool_id)
    .order_by(ports.c.id, port_addresses.c.address)
)  # fmt: skip
_OF_ROUTERS = lists.ByIds(_INTERFACES, ports.c.router_id)
_ON_NETWORKS = lists.ByIds(
    sa.select(ports.c.router_id)
    .where(ports.c.device_owner == INTERFACE_OWNER, ports.c.router_id.is_not(None))
    .distinct(),
    ports.c.network_id,
)
_GATEWAYS = lists.ByIds(
    sa.select(ports.c.router_id, port_addresses.c.subnet_id, port_addresses.c.address)
    .join(port_addresses, port_addresses.c.port_id == ports.c.id)
    .where(ports.c.device_owner == GATEWAY_OWNER)
    .order_by(port_addresses.c.address),
    ports.c.router_id,
)
_HOPS = lists.ByIds(
    sa.select(ports.c.router_id, subnets.c.gateway)
    .join(port_addresses, port_addresses.c.port_id == ports.c.id)
    .join(subnets, subnets.c.id == port_addresses.c.subnet_id)
    .where(ports.c.device_owner == GATEWAY_OWNER, subnets.c.gateway.is_not(None))
    .order_by(ports.c.router_id, port_addresses.c.address),
    ports.c.router_id,
)
_WAYS = Prepared(
    sa.select(routers.c.id, port_addresses.c.address)
    .join(ports, ports.c.router_id == routers.c.id)
    .join(port_addresses, port_addresses.c.port_id == ports.c.id)
    .where(
        routers.c.gateway_network_id == sa.bindparam("external"),
        ports.c.device_owner == INTERFACE_OWNER,
        port_addresses.c.subnet_id == sa.bindparam("subnet"),
    )
    .order_by(routers.c.created_at, routers.c.id)
)
_guests = ports.alias("guests")
_JOINED = sa.select(ports.c.network_id).where(ports.c.router_id == _ROUTER, ports.c.device_owner == INTERFACE_OWNER)
HOSTS_OF_ROUTER = (
    sa.select(port_bindings.c.host)
    .join(ports, ports.c.id == port_bindings.c.port_id)
    .where(port_bindings.c.plugged.is_(True), ports.c.network_id.in_(_JOINED.correlate(None)))
)
"""The hosts that have guests on the networks of the router `:ident`."""
_legs = ports.alias("legs")
HOSTS_BEYOND = (
    sa.select(port_bindings.c.host)
    .join(_guests, _guests.c.id == port_bindings.c.port_id)
    .join(ports, ports.c.network_id == _guests.c.network_id)
    .join(_legs, _legs.c.router_id == ports.c.router_id)
    .where(
        _legs.c.network_id == sa.bindparam("ident"),
        ports.c.device_owner == INTERFACE_OWNER,
        port_bindings.c.plugged.is_(True),
    )
)
"""The hosts that have guests on a network that a router joins to the network `:ident`, which they know for that."""


_ZONES = lists.ByIds(
    sa.select(ports.c.router_id, zone(hosts))
    .join(_guests, _guests.c.network_id == ports.c.network_id)
    .join(port_bindings, port_bindings.c.port_id == _guests.c.id)
    .join(hosts, hosts.c.name == port_bindings.c.host)
    .where(ports.c.device_owner == INTERFACE_OWNER, port_bindings.c.plugged.is_(True))
    .distinct(),
    ports.c.router_id,
)


def plain(conn: Connection, router_ids: Iterable[str]) -> list[Router]:
    """Return routers by id, without the addresses of their gateways and without their zones."""
    return [_MADE(*row) for row in _PLAIN.rows(conn, list(router_ids))]


def interfaces(conn: Connection, router_ids: Iterable[str]) -> list[Interface]:
    """Return the addresses of the ports of routers, each with its port; the gateways' among them."""
    return [_interface(row) for row in _OF_ROUTERS.rows(conn, list(router_ids))]


def on_networks(conn: Connection, network_ids: Iterable[str]) -> list[str]:
    """Return the ids of the routers that have an interface on one of these networks."""
    return sorted({row[0] for row in _ON_NETWORKS.rows(conn, list(network_ids))})


def of_pool(conn: Connection, pool_id: str) -> list[str]:
    """Return the ids of the routers that have an interface or a gateway on a subnet of a pool."""
    joined = ports.join(port_addresses, port_addresses.c.port_id == ports.c.id)
    joined = joined.join(subnets, subnets.c.id == port_addresses.c.subnet_id)
    where = (subnets.c.pool_id == pool_id, ports.c.router_id.is_not(None))
    found = sa.select(ports.c.router_id).select_from(joined).where(*where).distinct()
    return sorted(conn.scalars(found))


def next_hops(conn: Connection, router_ids: Iterable[str]) -> dict[str, str]:
    """Return the gateways of the external subnets that the gateways of routers have their first addresses in."""
    found: dict[str, str] = {}
    for router_id, gateway in _HOPS.rows(conn, list(router_ids)):
        found.setdefault(router_id, gateway)
    return found


def ways_out(conn: Connection, subnet_id: str, external: str) -> list[tuple[str, str]]:
    """Return the routers from a subnet to an external network, each with its address in the subnet, oldest first."""
    return [(row[0], text_of(row[1])) for row in _WAYS.rows(conn, subnet=subnet_id, external=external)]


def port_of(conn: Connection, router_id: str, owner: str) -> list[str]:
    """Return the ids of the ports of one owner that a router has."""
    where = sa.and_(ports.c.router_id == router_id, ports.c.device_owner == owner)
    return [row[0] for row in conn.execute(sa.select(ports.c.id).where(where).order_by(ports.c.id))]


def holder(conn: Connection, subnet_id: str, address: int) -> str | None:
    """Return the port of a router that has an address of a subnet."""
    its = sa.select(ports.c.id).join(port_addresses, port_addresses.c.port_id == ports.c.id)
    where = (
        port_addresses.c.subnet_id == subnet_id,
        port_addresses.c.address == address,
        ports.c.router_id.is_not(None),
    )
    found: str | None = conn.execute(its.where(*where)).scalar()
    return found


def with_gateway_on(conn: Connection, network_id: str) -> bool:
    """Say whether a router has its gateway on a network."""
    found = sa.select(routers.c.id).where(routers.c.gateway_network_id == network_id).limit(1)
    return conn.execute(found).first() is not None


def subnets_of(conn: Connection, network_id: str) -> dict[str, str]:
    """Return the subnets of a network: id and CIDR."""
    where = subnets.c.network_id == network_id
    return {row[0]: row[1] for row in conn.execute(sa.select(subnets.c.id, subnets.c.cidr).where(where))}


def _interface(row: Sequence[Any]) -> Interface:
    port_id, router_id, network_id, mac, owner, subnet_id, address, cidr, project_id, up, scope_id = row
    known = (port_id, router_id, network_id, mac, owner, subnet_id, text_of(address), cidr, project_id, up, scope_id)
    return Interface(*known)


def _read(conn: Connection, rows: Sequence[Any]) -> list[Router]:
    found: dict[str, list[tuple[str, str]]] = {}
    for part in lists.in_parts([row[0] for row in rows if row.gateway_network_id is not None]):
        for router_id, subnet_id, address in _GATEWAYS.rows(conn, part):
            found.setdefault(router_id, []).append((subnet_id, text_of(address)))
    zones: dict[str, list[str]] = {}
    for part in lists.in_parts([row[0] for row in rows]):
        for router_id, name in _ZONES.rows(conn, part):
            zones.setdefault(router_id, []).append(name)
    return [_MADE(*row, tuple(found.get(row[0], ())), tuple(sorted(zones.get(row[0], ())))) for row in rows]


ROWS: Rows[Router] = Rows(routers, _read, sa.select(*_COLUMNS), seen=routers.c.project_id == VIEWER)
insert, get, find, update, delete = ROWS.insert, ROWS.get, ROWS.find, ROWS.update, ROWS.delete
