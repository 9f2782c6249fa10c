"""What must hold of routers, floating IPs, external networks and subnet pools after every commit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network
from itertools import groupby
from typing import Any, NamedTuple

import sqlalchemy as sa

from floe.core.ports import FLOATING_OWNER, GATEWAY_OWNER, INTERFACE_OWNER
from floe.core.routers import Route
from floe.core.subnetpools import overlap
from floe.store.address_columns import address_text
from floe.store.address_scopes import address_scopes
from floe.store.addresses import port_addresses
from floe.store.audit_quotas import told
from floe.store.engine import Connection
from floe.store.floating_ips import floating_ips
from floe.store.networks import networks
from floe.store.port_forwardings import port_forwardings
from floe.store.ports import ports
from floe.store.prepared import Prepared
from floe.store.routers import routers
from floe.store.subnetpools import subnetpools
from floe.store.subnets import subnets

UNROUTED = "a router's port is of no router"
UNGATED = "a port is the gateway of a router that does not lead out there"
NO_GATEWAY = "a router has no port on the network that it leads out by"
INSIDE = "a router leads out, or a floating IP comes in, by a network that is not external"
TWICE = "a router is joined to a subnet twice"
CROSSED = "a router is joined to subnets that overlap"
ASTRAY = "a route of a router leads over no network of it"
NOWHERE = "an interface of a router has no address"
UNHELD = "the address of a floating IP is held by no port of its own"
UNUSED = "a port holds the address of no floating IP"
ADRIFT = "a floating IP leads to what is not there"
FORWARDED = "a port forwarding leads to an address that its port has not"
FORWARDED_TWICE = "two port forwardings have one port of a floating IP"
BOTH_WAYS = "a floating IP leads to a port and has port forwardings"
NO_WAY = "no way leads from a floating IP's port to its network"
SHARED_ADDRESS = "two floating IPs have one address"
STRAY_ADDRESS = "an address is not of the network that its port is on"
DEFAULTS = "more than one network is the default external one"
DEFAULT_INSIDE = "the default external network is not external"
DEFAULT_POOLS = "more than one subnet pool is the default one"
UNPOOLED = "a subnet is not within its subnet pool"
POOL_OVERLAP = "subnets of a subnet pool overlap"
SCOPE_OVERLAP = "subnet pools of an address scope overlap"
SCOPE_CLOSED = "a shared subnet pool is of an address scope that is not shared"
POOLS_MIXED = "the subnets of a network are of several subnet pools"


class Broken(NamedTuple):
    """What must not be: what it is, of whom."""

    what: str
    subject: str


def _of_ports() -> list[sa.Select[Any]]:
    p, r, a, f = ports.c, routers.c, port_addresses.c, floating_ips.c
    its_router = sa.exists().where(r.id == p.router_id)
    way_out = sa.exists().where(r.id == p.router_id, r.gateway_network_id == p.network_id)
    addressed = sa.exists().where(a.port_id == p.id)
    by_owner = (INTERFACE_OWNER, GATEWAY_OWNER)
    joined = sa.select(p.router_id).join(port_addresses, a.port_id == p.id).where(p.device_owner == INTERFACE_OWNER)
    return [
        sa.select(*told(UNROUTED, p.id)).where(
            sa.or_(
                sa.and_(p.device_owner.in_([sa.literal(owner) for owner in by_owner]), sa.not_(its_router)),
                sa.and_(p.router_id.is_not(None), p.device_owner.not_in([sa.literal(owner) for owner in by_owner])),
            )
        ),
        sa.select(*told(UNGATED, p.id)).where(p.device_owner == GATEWAY_OWNER, its_router, sa.not_(way_out)),
        sa.select(*told(NOWHERE, p.id)).where(p.device_owner == INTERFACE_OWNER, its_router, sa.not_(addressed)),
        sa.select(*told(UNUSED, p.id)).where(
            p.device_owner == FLOATING_OWNER, sa.not_(sa.exists().where(f.own_port_id == p.id))
        ),
        joined.with_only_columns(*told(TWICE, p.router_id))
        .where(p.router_id.is_not(None))
        .group_by(p.router_id, a.subnet_id)
        .having(sa.func.count() > 1),
        sa.select(*told(STRAY_ADDRESS, p.id))
        .join(port_addresses, a.port_id == p.id)
        .join(subnets, subnets.c.id == a.subnet_id)
        .where(sa.or_(a.network_id != p.network_id, subnets.c.network_id != p.network_id)),
    ]


def _of_routers() -> list[sa.Select[Any]]:
    p, r, n = ports.c, routers.c, networks.c
    gates = (
        sa.select(sa.func.count())
        .where(p.router_id == r.id, p.device_owner == GATEWAY_OWNER, p.network_id == r.gateway_network_id)
        .scalar_subquery()
    )
    used = sa.or_(sa.exists().where(r.gateway_network_id == n.id), sa.exists().where(floating_ips.c.network_id == n.id))
    return [
        sa.select(*told(NO_GATEWAY, r.id)).where(r.gateway_network_id.is_not(None), gates != 1),
        sa.select(*told(INSIDE, n.id)).where(n.external.is_(False), used),
        sa.select(*told(DEFAULTS, sa.func.min(n.id))).where(n.default.is_(True)).having(sa.func.count() > 1),
        sa.select(*told(DEFAULT_INSIDE, n.id)).where(n.default.is_(True), n.external.is_(False)),
    ]


def _of_floating_ips() -> list[sa.Select[Any]]:
    p, r, a, f = ports.c, routers.c, port_addresses.c, floating_ips.c
    text = address_text(a.address)
    holding = (
        sa.select(p.id)
        .join(port_addresses, a.port_id == p.id)
        .where(p.id == f.own_port_id, p.device_owner == FLOATING_OWNER, p.network_id == f.network_id)
        .where(text == f.address)
    )
    there = sa.exists().where(a.port_id == f.port_id, text == f.fixed_address)
    leads, whole = f.port_id.is_not(None), (f.fixed_address.is_not(None), f.router_id.is_not(None))
    w = port_forwardings.c
    forwarded = sa.exists().where(w.floating_id == f.id)
    nothing = sa.and_(f.fixed_address.is_(None), f.router_id.is_not(None) == forwarded)
    to = sa.exists().where(a.port_id == w.port_id, text == w.fixed_address)
    legs, ends, other = ports.alias("legs"), port_addresses.alias("ends"), port_forwardings.alias("other")
    way = (
        sa.select(legs.c.id)
        .join(routers, r.id == legs.c.router_id)
        .join(ends, ends.c.port_id == legs.c.id)
        .join(port_addresses, a.subnet_id == ends.c.subnet_id)
        .where(legs.c.router_id == f.router_id, legs.c.device_owner == INTERFACE_OWNER)
        .where(r.gateway_network_id == f.network_id)
    )
    led, behind = (f.port_id, f.fixed_address), (w.port_id, w.fixed_address)
    return [
        sa.select(*told(UNHELD, f.id)).where(sa.not_(holding.exists())),
        sa.select(*told(ADRIFT, f.id)).where(
            sa.or_(sa.and_(leads, sa.not_(sa.and_(*whole, there))), sa.and_(f.port_id.is_(None), sa.not_(nothing)))
        ),
        sa.select(*told(FORWARDED, w.id)).where(sa.not_(to)),
        sa.select(*told(NO_WAY, f.id)).where(leads, *whole, there, sa.not_(_to(way, led).exists())),
        sa.select(*told(NO_WAY, f.id))
        .join(port_forwardings, w.floating_id == f.id)
        .where(f.port_id.is_(None), f.router_id.is_not(None), to, sa.not_(_to(way, behind).exists())),
        sa.select(*told(BOTH_WAYS, f.id)).where(leads, forwarded),
        sa.select(*told(FORWARDED_TWICE, w.floating_id))
        .join(other, sa.and_(other.c.floating_id == w.floating_id, other.c.protocol == w.protocol, other.c.id > w.id))
        .where(w.external_first <= other.c.external_last, other.c.external_first <= w.external_last),
        sa.select(*told(SHARED_ADDRESS, sa.func.min(f.id)))
        .group_by(f.network_id, f.address)
        .having(sa.func.count() > 1),
    ]


def _to(way: sa.Select[Any], end: tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]) -> sa.Select[Any]:
    """Have a way from a floating IP's router lead to an address of a port."""
    return way.where(port_addresses.c.port_id == end[0], address_text(port_addresses.c.address) == end[1])


def _of_pools() -> list[sa.Select[Any]]:
    s, pool, scope = subnets.c, subnetpools.c, address_scopes.c
    return [
        sa.select(*told(DEFAULT_POOLS, sa.func.min(pool.id))).where(pool.default.is_(True)).having(sa.func.count() > 1),
        sa.select(*told(SCOPE_CLOSED, pool.id))
        .join(address_scopes, scope.id == pool.scope_id)
        .where(pool.shared.is_(True), scope.shared.is_(False)),
        sa.select(*told(POOLS_MIXED, s.network_id))
        .group_by(s.network_id)
        .having(sa.func.count(sa.func.coalesce(s.pool_id, "").distinct()) > 1),
    ]


_BROKEN = Prepared(sa.union_all(*_of_ports(), *_of_routers(), *_of_floating_ips(), *_of_pools()))
_POOLED = Prepared(
    sa.select(subnets.c.pool_id, subnets.c.id, subnets.c.cidr)
    .where(subnets.c.pool_id.is_not(None))
    .order_by(subnets.c.pool_id)
)
_PREFIXES = Prepared(sa.select(subnetpools.c.id, subnetpools.c.scope_id, subnetpools.c.prefixes))
_JOINED = Prepared(
    sa.select(ports.c.router_id, subnets.c.id, subnets.c.cidr)
    .join(port_addresses, port_addresses.c.port_id == ports.c.id)
    .join(subnets, subnets.c.id == port_addresses.c.subnet_id)
    .where(ports.c.router_id.is_not(None))
    .distinct()
    .order_by(ports.c.router_id)
)
_ROUTES = Prepared(sa.select(routers.c.id, routers.c.routes).where(sa.type_coerce(routers.c.routes, sa.Text) != "[]"))
_ROUTER: sa.BindParameter[Any] = sa.bindparam("router")
_AROUND = Prepared(
    sa.select(subnets.c.cidr)
    .join(port_addresses, port_addresses.c.subnet_id == subnets.c.id)
    .join(ports, ports.c.id == port_addresses.c.port_id)
    .where(ports.c.router_id == _ROUTER)
    .union_all(
        sa.select(subnets.c.cidr)
        .join(routers, routers.c.gateway_network_id == subnets.c.network_id)
        .where(routers.c.id == _ROUTER)
    )
)


def broken(conn: Connection) -> list[Broken]:
    """Return what must hold after every commit and does not."""
    found = [Broken(*row) for row in _BROKEN.tuples(conn)]
    found += (Broken(CROSSED, router_id) for router_id in _overlapping(_JOINED.tuples(conn)))
    found += (Broken(ASTRAY, router_id) for router_id in _astray(conn))
    pools = {pool_id: (scope_id, prefixes) for pool_id, scope_id, prefixes in _PREFIXES.tuples(conn)}
    if not pools:
        return found
    taken = _POOLED.tuples(conn)
    found += (Broken(POOL_OVERLAP, pool_id) for pool_id in _overlapping(taken))
    found += (
        Broken(UNPOOLED, subnet_id)
        for pool_id, subnet_id, cidr in taken
        if pool_id not in pools or not _within(cidr, pools[pool_id][1])
    )
    scopes: dict[str, list[tuple[str, ...]]] = {}
    for scope_id, prefixes in pools.values():
        if scope_id is not None:
            scopes.setdefault(scope_id, []).append(prefixes)
    found += (
        Broken(SCOPE_OVERLAP, scope_id)
        for scope_id, each in scopes.items()
        if any(overlap(one, other) for number, one in enumerate(each) for other in each[:number])
    )
    return found


def leading(conn: Connection, router_id: str, routes: Iterable[Route]) -> tuple[Route, ...]:
    """Return those of a router's routes whose next hop is in one of its networks."""
    cidrs = [row[0] for row in _AROUND.tuples(conn, router=router_id)]
    return tuple(route for route in routes if _within(route[1], cidrs))


def _astray(conn: Connection) -> Iterator[str]:
    """Yield the routers with a route whose next hop is in none of their networks, the external one among them."""
    for router_id, routes in _ROUTES.tuples(conn):
        if len(leading(conn, router_id, routes)) < len(routes):
            yield router_id


def _overlapping(rows: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """Yield the owners of which two CIDRs share an address, of rows of (owner, subnet, CIDR) in the owners' order."""
    for owner, same in groupby(rows, lambda row: row[0]):
        last = -1
        for net in sorted({subnet_id: IPv4Network(cidr) for _, subnet_id, cidr in same}.values()):
            if int(net.network_address) <= last:
                yield owner
                break
            last = int(net.broadcast_address)


def _within(cidr: str, prefixes: Iterable[str]) -> bool:
    return any(IPv4Network(cidr).subnet_of(IPv4Network(prefix)) for prefix in prefixes)
