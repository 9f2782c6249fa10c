"""The way of a packet from where it begins to a guest, hop by hop, and of its answer."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from floe.core.host_network import HostPort, HostRouter, RouterLeg
from floe.core.packets.judging import arrives, leaves, may_send
from floe.core.packets.passing import Passed, through
from floe.core.packets.routing import GuestWay, addresses_of, guest_ways, open_legs, routed
from floe.core.packets.scene import Packet, Scene, Trail

_MOST_HOPS = 64
"""What a packet's time to live allows."""


class Forwarded(msgspec.Struct, frozen=True, kw_only=True):
    """A guest that sends on what is for another."""

    by: HostPort
    to: HostPort


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """Where a packet came to, as what, and by which routers and guests."""

    port: HostPort
    packet: Packet
    hops: tuple[Passed | Forwarded, ...]


def from_server(scene: Scene, trail: Trail, server_id: str, packet: Packet) -> None:
    """Follow a packet that a server sends, and its answer; its source is what the guest takes. Raises Stopped."""
    ports = scene.ports_of(server_id)
    if any(entry.address == packet.target for port in ports for entry in port.addresses):
        trail.sent = msgspec.structs.replace(packet, source=packet.target)
        trail.passes("server", server_id, f"{packet.target} is its own address: the packet never leaves the guest")
        return
    way = guest_ways(scene, ports, packet.target)
    if way is None:
        raise _no_guest_route(trail, ports, server_id, packet.target)
    sent = trail.sent = msgspec.structs.replace(packet, source=way.source)
    _sends(scene, trail, way, sent)
    arrival = _deliver(scene, trail, way.port.network_id, sent, way.hop, scene.host_of(way.port))
    _answer(scene, trail, arrival, sent)


def from_outside(scene: Scene, trail: Trail, network_id: str, packet: Packet, hop: str) -> None:
    """Follow a packet that comes into an external network from outside, for a hop there. Raises Stopped."""
    segment = scene.segment(network_id)
    if segment is None or not segment.physical:
        raise trail.stop(
            "network", network_id, "the network is joined to no physical network, so nothing comes in from outside",
            "openstack network create --external --provider-network-type flat --provider-physical-network WHERE NAME",
        )  # fmt: skip
    trail.sent = packet
    trail.passes("network", network_id, f"{packet.words} from {packet.source} comes in for {packet.target}")
    arrival = _deliver(scene, trail, network_id, packet, hop, None)
    _answer(scene, trail, arrival, packet)


def _sends(scene: Scene, trail: Trail, way: GuestWay, packet: Packet) -> None:
    port = way.port
    how = "directly" if way.hop == packet.target else f"by way of {way.hop}"
    trail.passes("server", port.server_id or port.port_id, f"sends {packet.words} from {packet.source} {how}")
    leaves(scene, trail, port, packet)


def _deliver(scene: Scene, trail: Trail, network_id: str, packet: Packet, hop: str, host: str | None) -> Arrival:
    """Follow a packet on a network, to whoever has the hop's address there, until it is where it is for."""
    hops: list[Passed | Forwarded] = []
    while len(hops) < _MOST_HOPS:
        segment = scene.segment(network_id)
        physical = segment is not None and bool(segment.physical)
        if physical and hops:
            host = None
        found = _leg_with(scene, network_id, hop)
        if found is not None:
            passed = through(scene, trail, *_open(scene, trail, *found), packet)
            hops.append(passed)
            network_id, packet, hop = passed.way.leg.network_id, passed.after, passed.way.hop
            continue
        port = _port_with(scene, network_id, hop)
        if port is None:
            raise _nobody(scene, trail, network_id, packet, hop, physical=physical)
        if not physical:
            _check_host(scene, trail, port, host)
        arrives(scene, trail, port, packet)
        if packet.target == hop or any(entry.address == packet.target for entry in port.addresses):
            trail.passes("port", port.port_id, f"{packet} reaches the guest")
            return Arrival(port=port, packet=packet, hops=tuple(hops))
        way = _forward(scene, trail, port, packet)
        hops.append(Forwarded(by=port, to=way.port))
        network_id, hop, host = way.port.network_id, way.hop, scene.host_of(way.port)
    raise trail.stop("network", network_id, f"{packet} goes round in circles", "look at the routes of these routers")


def _leg_with(scene: Scene, network_id: str, address: str) -> tuple[HostRouter, RouterLeg] | None:
    """Return the router that answers for an address on a network; rather one that is open than one that is not."""
    held = [
        (router, leg)
        for router in scene.routers_on(network_id)
        for leg in router.legs
        if leg.network_id == network_id and address in addresses_of(router, leg)
    ]
    return max(held, key=lambda each: each[1] in open_legs(each[0])) if held else None


def _open(scene: Scene, trail: Trail, router: HostRouter, leg: RouterLeg) -> tuple[HostRouter, RouterLeg]:
    if not router.up:
        remedy = f"openstack router set --enable {router.router_id}"
        raise trail.stop("router", router.router_id, "the router is down (admin_state_up is false)", remedy)
    if not leg.up:
        text = f"its port {leg.port_id} on {scene.name(leg.network_id)} is down"
        raise trail.stop("router", router.router_id, text, f"openstack port set --enable {leg.port_id}")
    return router, leg


def _port_with(scene: Scene, network_id: str, address: str) -> HostPort | None:
    """Return the guest's port that has an address on a network."""
    ports = (port for port in scene.network.ports if port.network_id == network_id)
    return next((port for port in ports if any(entry.address == address for entry in port.addresses)), None)


def _check_host(scene: Scene, trail: Trail, port: HostPort, host: str | None) -> None:
    there = scene.host_of(port)
    if host is not None and there is not None and there != host:
        raise trail.stop(
            "network", port.network_id,
            "the two servers are on different hosts, and a network is one host's: it does not join them",
            "servers in one server group with policy affinity are placed on one host",
        )  # fmt: skip


def _forward(scene: Scene, trail: Trail, port: HostPort, packet: Packet) -> GuestWay:
    """Have a guest send on what is for another, if it does so."""
    server_id = port.server_id or port.port_id
    trail.beware("server", server_id, f"is to send {packet} on: whether it does, only the guest knows (ip_forward)")
    ports = scene.ports_of(port.server_id) if port.server_id else [port]
    way = guest_ways(scene, ports, packet.target)
    if way is None:
        raise _no_guest_route(trail, ports, server_id, packet.target)
    leaves(scene, trail, way.port, packet)
    return way


def _nobody(scene: Scene, trail: Trail, network_id: str, packet: Packet, hop: str, *, physical: bool) -> Exception:
    if physical or network_id in scene.external:
        text = f"{packet} leaves the cloud here: no router and no server on this network has {hop}"
        return trail.stop("network", network_id, text)
    segment = scene.segment(network_id)
    for subnet in segment.subnets if segment is not None else ():
        if subnet.gateway == hop:
            ident = subnet.subnet_id
            text = f"its gateway {hop} is the address of no router"
            return trail.stop("subnet", ident, text, f"openstack router add subnet ROUTER {ident}")
    return trail.stop("network", network_id, f"nobody on the network has {hop}")


def _no_guest_route(trail: Trail, ports: Sequence[HostPort], server_id: str, target: str, said: str = "") -> Exception:
    for port in ports:
        if port.addresses:
            ident = port.addresses[0].subnet_id
            return trail.stop(
                "subnet", ident, f"{said}the guest has no route to {target}: its subnet has no gateway, nor one there",
                f"openstack subnet set --gateway ADDRESS {ident}",
            )  # fmt: skip
    return trail.stop("server", server_id, "it has no address", "openstack server add fixed ip SERVER NETWORK")


# -- the answer -----------------------------------------------------------------------------------------


def _answer(scene: Scene, trail: Trail, arrival: Arrival, sent: Packet) -> None:
    """Follow the answer; security groups let it pass, and routers undo with it what they did. Raises Stopped."""
    port, packet = arrival.port, arrival.packet
    ports = scene.ports_of(port.server_id) if port.server_id else [port]
    way = guest_ways(scene, ports, packet.source)
    if way is None:
        raise _no_guest_route(trail, [port], port.server_id or port.port_id, packet.source, "the answer stops here: ")
    if way.port.port_id != port.port_id:
        where = scene.name(way.port.network_id)
        trail.beware(
            "server", port.server_id or port.port_id, f"answers by its port on {where}, which has its default route"
        )
    may_send(scene, trail, way.port, packet.target)
    _up_to_first_hop(scene, trail, arrival, way)
    for number in range(len(arrival.hops) - 1, 0, -1):
        _one_back(trail, arrival.hops[:number], arrival.hops[number])
    for hop in arrival.hops:
        if isinstance(hop, Forwarded):
            may_send(scene, trail, hop.by, packet.target)
    trail.passes("port", port.port_id, f"the answer finds its way back to {sent.source}")


def _up_to_first_hop(scene: Scene, trail: Trail, arrival: Arrival, way: GuestWay) -> None:
    """Raise Stopped unless the answer goes to whoever the packet came from."""
    packet, network_id = arrival.packet, way.port.network_id
    found = _leg_with(scene, network_id, way.hop)
    last = arrival.hops[-1] if arrival.hops else None
    if isinstance(last, Passed) and last.way.leg.network_id == network_id:
        if way.hop in addresses_of(last.router, last.way.leg):
            return
    elif isinstance(last, Forwarded) and last.to.network_id == network_id:
        if any(entry.address == way.hop for entry in last.to.addresses):
            return
    elif last is None and (way.hop == packet.source or found is None) and network_id == arrival.port.network_id:
        return
    direct = way.hop == packet.source and _port_with(scene, network_id, packet.source) is not None
    if direct and _may_be_left_out(arrival.hops, packet):
        return
    by = f"another router, {way.hop}" if found is not None else way.hop
    text = f"the answer to {packet.source} goes by {by}: not the way that the packet came, so it is no answer there"
    raise trail.stop("subnet", way.subnet_id, text, f"openstack subnet set --gateway ADDRESS {way.subnet_id}")


def _may_be_left_out(hops: Sequence[Passed | Forwarded], packet: Packet) -> bool:
    """Say whether an answer may come past these: they translate nothing, and need not see both halves of it.

    Of a TCP connection of which it saw no answer, a router takes what follows for invalid.
    """
    return packet.protocol != "tcp" and all(isinstance(hop, Passed) and not hop.translated for hop in hops)


def _one_back(trail: Trail, before: Sequence[Passed | Forwarded], hop: Passed | Forwarded) -> None:
    """Raise Stopped where a router does not send the answer to the last of those before it, which it had it of."""
    back = before[-1]
    if not isinstance(hop, Passed) or not isinstance(back, Passed):
        return
    way = routed(hop.router, hop.before.source)
    if way is not None and way.hop == hop.before.source and _may_be_left_out(before, hop.before):
        return
    if way is None or way.hop not in addresses_of(back.router, back.way.leg):
        ident = hop.router.router_id
        towards = way.hop if way is not None else "nowhere"
        raise trail.stop(
            "router", ident, f"its way back to {hop.before.source} leads to {towards}, not where the packet came from",
            f"openstack router add route --route destination={hop.before.source}/32,gateway=NEXT_HOP {ident}",
        )  # fmt: skip
