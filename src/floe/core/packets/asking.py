"""Why a server cannot be reached: what is before packets, each address that it might be reached by, and the best."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from ipaddress import ip_address

import msgspec

from floe.core.errors import Invalid
from floe.core.host_network import HostPort, HostRouter
from floe.core.packets.following import from_outside, from_server
from floe.core.packets.passing import outer_port
from floe.core.packets.routing import first_address
from floe.core.packets.scene import OUTSIDE, PROTOCOLS, Finding, Packet, Scene, Stopped, Trail
from floe.core.servers import ACTIVE, BUILDING, ERROR, PAUSED, SOFT_DELETED, STOPPED, SUSPENDED

_MOST_WAYS = 64
"""Addresses that are tried."""
_ELSEWHERE = "203.0.113.1"
"""An address for documentation (RFC 5737): it stands for one that is somewhere outside."""
_REMEDIES: Mapping[str, str] = {
    STOPPED: "openstack server start {0}",
    PAUSED: "openstack server unpause {0}",
    SUSPENDED: "openstack server resume {0}",
    BUILDING: "floe trace --follow {0}",
    ERROR: "floe trace {0}",
    SOFT_DELETED: "openstack server restore {0}",
}
_Way = Callable[[Trail], None]
"""Follows one packet."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a server can be reached, by whom and with what."""

    server_id: str
    protocol: str = "tcp"
    port: int | None = None
    source_id: str | None = None
    """The server that asks; None for the outside."""
    source_address: str | None = None
    """Of who is outside; None for the next hop there."""
    to: str | None = None
    """Which of the server's addresses; None for whichever is best."""


def read_question(
    server_id: str,
    port: str | None,
    protocol: str | None = None,
    source: str | None = None,
    to: str | None = None,
) -> Question:
    """Read a question; `source` is the id of a server, or an address. Raises Invalid."""
    protocol = (protocol or "tcp").lower()
    if protocol not in PROTOCOLS:
        raise Invalid(f"Invalid input for protocol: {protocol[:40]!r} must be one of {', '.join(PROTOCOLS)}.")
    if protocol == "icmp" and port:
        raise Invalid(f"Invalid input for port: icmp has none, and {port[:40]!r} was given.")
    address = None if source is None else _address(source)
    return Question(
        server_id=server_id,
        protocol=protocol,
        port=None if protocol == "icmp" else _port(port or ""),
        source_id=None if source is None or address is not None else source,
        source_address=address,
        to=None if to is None else _demanded(to),
    )


def why_not(scene: Scene, question: Question) -> Finding:
    """Follow the packet to each address by which the server might be reached; return the best that is found."""
    trail = Trail(scene)
    try:
        for server_id in dict.fromkeys([question.server_id, question.source_id]):
            if server_id is not None:
                _ready(scene, trail, server_id)
        ways = [way for way, _ in zip(_ways(scene, trail, question), range(_MOST_WAYS), strict=False)]
    except Stopped:
        return Finding(packet=None, steps=tuple(trail.steps))
    before = tuple(trail.steps)
    found: list[Finding] = []
    for follow in ways:
        each = Trail(scene)
        with suppress(Stopped):
            follow(each)
        found.append(Finding(packet=each.sent, steps=(*before, *each.steps)))
    best = max(found, key=_nearness)  # of those alike the first
    return best if not best.passes else _with_doubts(scene, question, best)


def _nearness(finding: Finding) -> int:
    """Say how far a packet came: what a port or its groups stop has found its way."""
    if finding.stop is None:
        return 2
    return 1 if finding.stop.kind in {"port", "security_group"} else 0


def _ready(scene: Scene, trail: Trail, server_id: str) -> None:
    """Raise Stopped for a server of which no packet can come or go."""
    facts, ports = scene.servers.get(server_id), scene.ports_of(server_id)
    state = ACTIVE if facts is None else facts.state
    remedy = _REMEDIES.get(state, "openstack server show {0}").format(server_id)
    if state not in {ACTIVE, ERROR}:
        raise trail.stop("server", server_id, f"the server is {state}, not active", remedy)
    if not ports:
        remedy = f"openstack server add network {server_id} NETWORK"
        raise trail.stop("server", server_id, "the server is on no network", remedy)
    if state == ERROR:
        trail.beware("server", server_id, "the server is in error: whether its guest runs is not known", remedy)
    else:
        limited = "" if facts is None or facts.limits is None else f"; each of its NICs {facts.limits}"
        trail.passes("server", server_id, f"the server is active{limited}")
    if facts is not None and not facts.host_up:
        trail.beware("server", server_id, "nothing is heard of its host: whether the guest still runs is not known")
    for port in ports:
        if port.up and port.port_id in scene.statuses:
            status = scene.statuses[port.port_id]
            text = f"the port is {status}, not ACTIVE: its host has not got it"
            if len(ports) == 1:
                raise trail.stop("port", port.port_id, text, f"openstack port show {port.port_id}")
            trail.beware("port", port.port_id, text, f"openstack port show {port.port_id}")


def _ways(scene: Scene, trail: Trail, question: Question) -> Iterator[_Way]:
    """Return the ways by which the server might be reached. Raises Stopped if there is none."""
    if question.source_id is not None:
        ways = list(_from_server(scene, question, question.source_id))
    else:
        ways = list(_from_outside(scene, question))
    if not ways and question.to is not None:
        raise trail.stop("server", question.server_id, f"{question.to} is none of its addresses")
    if not ways:
        raise _no_floating(scene, trail, question)
    yield from ways


def _targets(scene: Scene, question: Question) -> Iterator[tuple[HostPort, str]]:
    """Return the addresses of the server itself."""
    for port in scene.ports_of(question.server_id):
        for entry in port.addresses:
            yield port, entry.address


def _floating(scene: Scene, question: Question) -> Iterator[tuple[HostRouter, str]]:
    """Return its floating IPs, each with the router that it leads through."""
    own = {port.port_id for port in scene.ports_of(question.server_id)}
    for router in scene.network.routers:
        for each in router.floating:
            if each.port_id in own and router.gateway is not None:
                yield router, each.address


def _forwarded(scene: Scene, question: Question) -> Iterator[tuple[HostRouter, str, int]]:
    """Return its port forwardings to the port that is asked about: router, address and outer port."""
    own = {port.port_id for port in scene.ports_of(question.server_id)}
    for router in scene.network.routers:
        for each in router.forwarded:
            if each.port_id in own and each.protocol == question.protocol and router.gateway is not None:
                outer = outer_port(each, question.port)
                if outer is not None:
                    yield router, each.address, outer


def _from_server(scene: Scene, question: Question, source_id: str) -> Iterator[_Way]:
    targets = [(address, question.port) for _, address in _targets(scene, question)]
    targets += [(address, question.port) for _, address in _floating(scene, question)]
    targets += [(address, port) for _, address, port in _forwarded(scene, question)]
    for target, port in dict.fromkeys(targets):
        if question.to in {None, target}:
            packet = _packet(question, "", target, port)
            yield partial(_sent, scene, source_id, packet)


def _from_outside(scene: Scene, question: Question) -> Iterator[_Way]:
    for network_id, target, hop, port, note in _entrances(scene, question):
        if question.to in {None, target}:
            address = question.source_address
            packet = _packet(question, address or _somebody(scene, network_id), target, port, anybody=address is None)
            yield partial(_coming, scene, network_id, packet, hop, note)


def _sent(scene: Scene, server_id: str, packet: Packet, trail: Trail) -> None:
    from_server(scene, trail, server_id, packet)


def _coming(scene: Scene, network_id: str, packet: Packet, hop: str, note: str, trail: Trail) -> None:
    if note:
        trail.beware(OUTSIDE, network_id, note)
    from_outside(scene, trail, network_id, packet, hop)


def _entrances(scene: Scene, question: Question) -> Iterator[tuple[str, str, str, int | None, str]]:
    """Return (external network, address, hop there, port, what must hold outside) by which it might be reached."""
    floating = [(router, address, question.port) for router, address in _floating(scene, question)]
    for router, address, port in (*floating, *_forwarded(scene, question)):
        if router.gateway is not None:
            yield router.gateway.network_id, address, address, port, ""
    for own, address in _targets(scene, question):
        segment = scene.segment(own.network_id)
        if own.network_id in scene.external or (segment is not None and segment.physical):
            yield own.network_id, address, address, question.port, ""
            continue
        for router in scene.routers_on(own.network_id):
            hop = first_address(router.gateway) if router.gateway is not None else None
            if router.gateway is not None and hop is not None and (not router.snat or question.to == address):
                note = f"outside there must be a route to {address} by way of {hop}"
                yield router.gateway.network_id, address, hop, question.port, note


def _somebody(scene: Scene, network_id: str) -> str:
    """Return an address from which somebody outside asks: of the next hop, where routers have one."""
    for router in scene.routers_on(network_id):
        if router.gateway is not None and router.gateway.network_id == network_id and router.next_hop:
            return router.next_hop
    segment = scene.segment(network_id)
    gateways = [subnet.gateway for subnet in segment.subnets if subnet.gateway] if segment is not None else []
    return gateways[0] if gateways else _ELSEWHERE


def _no_floating(scene: Scene, trail: Trail, question: Question) -> Exception:
    """Say what is missing for the server to be reached from outside."""
    ports = scene.ports_of(question.server_id)
    own = {port.port_id for port in ports}
    for each in scene.idle:
        if each.port_id in own:
            text = f"{each.address} leads through no router that joins the server's network"
            return trail.stop("floating_ip", each.floating_id, text, "openstack router add subnet ROUTER SUBNET")
    addressed = [port for port in ports if port.addresses]
    if not addressed:
        text = "no port of the server has an address"
        return trail.stop("server", question.server_id, text, "openstack server add fixed ip SERVER NETWORK")
    routers = [router for port in addressed for router in scene.routers_on(port.network_id)]
    if not routers:
        port = addressed[0]
        ident = port.addresses[0].subnet_id
        return trail.stop(
            "network", port.network_id, "no router joins this network to the outside",
            f"openstack router add subnet ROUTER {ident}",
        )  # fmt: skip
    outward = [router for router in routers if router.gateway is not None]
    if not outward:
        ident = routers[0].router_id
        text = "the router has no external gateway"
        return trail.stop("router", ident, text, f"openstack router set --external-gateway NETWORK {ident}")
    text = "the server has no floating IP, and its router hides inner addresses (SNAT)"
    network = next(router.gateway.network_id for router in outward if router.gateway is not None)
    remedy = f"openstack floating ip create {network}; openstack server add floating ip {question.server_id} ADDRESS"
    return trail.stop("server", question.server_id, text, remedy)


def _with_doubts(scene: Scene, question: Question, found: Finding) -> Finding:
    """Add what the guest alone knows: whether it has taken its address."""
    trail = Trail(scene)
    own = {port.port_id for port in scene.ports_of(question.server_id)}
    reached = found.packet.target if found.packet is not None else ""
    leading = [(each.address, each.port_id, each.fixed) for r in scene.network.routers for each in r.floating]
    leading += [(each.address, each.port_id, each.fixed) for r in scene.network.routers for each in r.forwarded]
    fixed = {address: fixed for address, port_id, fixed in leading if port_id in own}
    for port, address in _targets(scene, question):
        segment = scene.segment(port.network_id)
        for subnet in segment.subnets if segment is not None else ():
            of_subnet = any(e.subnet_id == subnet.subnet_id and e.address == address for e in port.addresses)
            if address == fixed.get(reached, reached) and of_subnet and not subnet.dhcp:
                trail.beware(
                    "subnet", subnet.subnet_id, f"DHCP is off: the guest has {address} only if it was told otherwise"
                )
    return msgspec.structs.replace(found, steps=(*found.steps, *trail.steps))


def _packet(question: Question, source: str, target: str, port: int | None, *, anybody: bool = False) -> Packet:
    return Packet(
        source=source, target=target, protocol=question.protocol, port=port, from_anybody=anybody
    )  # fmt: skip


def _address(text: str) -> str | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if found.version != 4:
        raise Invalid(f"Invalid input for from: {text[:40]!r} is not of IPv4, the one that networks here have.")
    return str(found)


def _demanded(text: str) -> str:
    found = _address(text)
    if found is None:
        raise Invalid(f"Invalid input for to: {text[:40]!r} is no IPv4 address.")
    return found


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise Invalid(f"Invalid input for port: {text[:40]!r} must be a number from 1 to 65535.")
    return int(text)
