"""What hosts have of ports, routers and floating IPs, held against the rows by a way that the cloud does not take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network

from floe.cloud.audit import Violation
from floe.core.addresses import text_of
from floe.core.host_network import HostNetwork, RouterLeg
from floe.core.listing import Listing
from floe.core.ports import GATEWAY_OWNER, INTERFACE_OWNER
from floe.store import floating_ips, routers
from floe.store.addresses import port_addresses
from floe.store.engine import Connection
from floe.store.port_bindings import port_bindings
from floe.store.port_forwardings import port_forwardings
from floe.store.ports import ports
from floe.store.servers import servers
from floe.store.subnets import subnets

_PLUGGED = (
    port_bindings.join(ports, ports.c.id == port_bindings.c.port_id)
    .select()
    .with_only_columns(port_bindings.c.host, ports.c.id, ports.c.network_id)
    .where(port_bindings.c.plugged.is_(True))
)
_LEGS = (
    ports.join(port_addresses, port_addresses.c.port_id == ports.c.id)
    .join(subnets, subnets.c.id == port_addresses.c.subnet_id)
    .select()
    .with_only_columns(
        ports.c.router_id,
        ports.c.network_id,
        ports.c.device_owner,
        ports.c.id,
        port_addresses.c.address,
        subnets.c.cidr,
    )
    .where(ports.c.device_owner.in_([INTERFACE_OWNER, GATEWAY_OWNER]), ports.c.router_id.is_not(None))
)
_HELD = (
    ports.outerjoin(servers, servers.c.id == ports.c.server_id)
    .select()
    .with_only_columns(ports.c.id, ports.c.host, ports.c.pinned, servers.c.host)
    .where(ports.c.host.is_not(None))
)

Planes = Mapping[str, HostNetwork]


def dangling(planes: Planes) -> Iterator[Violation]:
    """Find what leads to ports that a host has not, which the next whole network would take away."""
    for host, plane in planes.items():
        if plane.routers:
            there = {port.port_id for port in plane.ports}
            for each in (each for router in plane.routers for each in router.floating):
                if each.port_id not in there:
                    yield Violation("a host has the floating IP of a port that it has not", each.floating_id, host)
            for one in (one for router in plane.routers for one in router.forwarded):
                if one.port_id not in there:
                    yield Violation("a host forwards to a port that it has not", one.forwarding_id, host)


def misplugged(conn: Connection, planes: Planes) -> list[Violation]:
    """Find ports that are not on the one host that has their server, or that an administrator bound them to."""
    wanted = {
        (port_id, host)
        for port_id, host, pinned, its in conn.execute(_HELD)
        if host in planes and (pinned or host == its)
    }
    real = {(port.port_id, host) for host, plane in planes.items() for port in plane.ports}
    return [Violation("a port is not on the host that it is bound to", *each) for each in sorted(wanted ^ real)]


def misrouted(conn: Connection, planes: Planes) -> list[Violation]:
    """Find hosts that have other routers, ways out, floating IPs or port forwardings than they must have.

    A host has the routers that lead to a network of its ports, whole, and what leads to its ports through them.
    """
    plugged = [(row[0], row[1], row[2]) for row in conn.execute(_PLUGGED)]
    legs = [(row[0], row[1]) for row in conn.execute(_LEGS) if row[2] == INTERFACE_OWNER]
    known = {router.id: router for router in routers.find(conn, None, Listing())}
    shapes = _shapes(conn)
    found = []
    for host, plane in sorted(planes.items()):
        there = {network_id for name, _, network_id in plugged if name == host}
        own = {port_id for name, port_id, _ in plugged if name == host}
        routed = {router_id for router_id, network_id in legs if network_id in there}
        has = {router.router_id: router for router in plane.routers}
        found += [
            Violation("a host has not the routers of its networks", each, host) for each in sorted(routed ^ has.keys())
        ]
        for ident in sorted(routed & has.keys()):
            real, row = has[ident], known[ident]
            way = (row.up, row.snat, row.routes)
            if (real.up, real.snat, tuple((each.destination, each.nexthop) for each in real.routes)) != way:
                found.append(Violation("a host does not route as the router does", ident, host))
            if {_shape(leg) for leg in real.legs} != shapes[ident]:
                found.append(Violation("a host has other ports of a router than it has", ident, host))
        found += _mislead(conn, host, plane, own)
    return found


def _mislead(conn: Connection, host: str, plane: HostNetwork, own: set[str]) -> Iterator[Violation]:
    """Find what leads to ports of a host and is not there, or is there and leads elsewhere."""
    every = {each.id: each for each in floating_ips.find(conn, None, Listing())}
    wanted = {(each.address, each.fixed_address, each.router_id) for each in every.values() if each.port_id in own}
    real = {(each.address, each.fixed, router.router_id) for router in plane.routers for each in router.floating}
    for lead in sorted(wanted ^ real, key=str):
        yield Violation("a host has not the floating IPs of its ports", str(lead), host)
    forwarded = {
        (
            *(row.id, every[row.floating_id].router_id, every[row.floating_id].address, row.protocol),
            *(row.fixed_address, row.external_first, row.external_last, row.internal_first, row.internal_last),
        )
        for row in conn.execute(port_forwardings.select())
        if row.port_id in own
    }
    there = {
        (one.forwarding_id, router.router_id, one.address, one.protocol, one.fixed, *one.external, *one.internal)
        for router in plane.routers
        for one in router.forwarded
    }
    for forwarding in sorted({each[0] for each in forwarded ^ there}):
        yield Violation("a host has not the port forwardings to its ports", forwarding, host)


_Shape = tuple[str, str, frozenset[str]]
"""Of a port of a router: id, network, addresses with the lengths of their prefixes."""


def _shape(leg: RouterLeg) -> _Shape:
    return leg.port_id, leg.network_id, frozenset(leg.addresses)


def _shapes(conn: Connection) -> Mapping[str, set[_Shape]]:
    found: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for router_id, network_id, _, port_id, address, cidr in conn.execute(_LEGS):
        found[router_id, port_id, network_id].add(f"{text_of(address)}/{IPv4Network(cidr).prefixlen}")
    shapes: dict[str, set[_Shape]] = defaultdict(set)
    for (router_id, port_id, network_id), addresses in found.items():
        shapes[router_id].add((port_id, network_id, frozenset(addresses)))
    return shapes
