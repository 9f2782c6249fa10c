"""How a packet passes a router: its addresses translated, its way found, and what may pass decided."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from floe.core.host_network import HostForwarding, HostRouter, RouterLeg
from floe.core.packets.judging import within
from floe.core.packets.routing import (
    RouterWay,
    addresses_of,
    first_address,
    floating_of,
    forwarded_of,
    gateway_of,
    may_come_by,
    open_legs,
    routed,
)
from floe.core.packets.scene import Packet, Scene, Trail

_ROUTE = "openstack router add route --route destination={0}/32,gateway=NEXT_HOP {1}"


class Passed(msgspec.Struct, frozen=True, kw_only=True):
    """What a router did with a packet; it does the contrary with the answer."""

    router: HostRouter
    by: RouterLeg
    """The leg that it came by."""
    before: Packet
    after: Packet
    way: RouterWay
    translated: bool


def through(scene: Scene, trail: Trail, router: HostRouter, by: RouterLeg, packet: Packet) -> Passed:
    """Follow a packet through a router. Raises Stopped.

    A flow is translated where it comes in, to whom an address stands for, and where it leaves, to be from a floating IP
    or the gateway.
    """
    inside = translated_inward(trail, router, packet)
    target, dnat = inside.target, inside != packet
    _check_source(trail, router, by, packet.source)
    if any(target in addresses_of(router, leg) for leg in open_legs(router)):
        if any(each.address == target for each in forwarded_of(router)):
            raise trail.stop(
                "router", router.router_id, f"no port forwarding of {target} is for {packet.words}",
                f"openstack floating ip port forwarding create --help  # of {target}",
            )  # fmt: skip
        raise trail.stop("router", router.router_id, f"{target} is an address of the router itself, which answers it")
    way = routed(router, target)
    if way is None or (way.hop != target and _behind_closed(router, target)):
        raise _no_route(trail, router, target)
    _may_pass(trail, router, by, way, packet=packet, dnat=dnat)
    source = _translated_source(router, by, way, packet.source, dnat=dnat)
    after = replace(inside, source=source)
    if way.leg is gateway_of(router) and router.snat and not router.is_open(by) and source not in _outer(router):
        raise trail.stop(
            "router", router.router_id, f"nothing leaves by the gateway as {source}, and it has no address to give"
        )
    where = scene.name(way.leg.network_id)
    as_what = f" as {source}" if source != packet.source else ""
    trail.passes("router", router.router_id, f"routes {target} to {where}{as_what}")
    return Passed(router=router, by=by, before=packet, after=after, way=way, translated=after != packet)


def translated_inward(trail: Trail, router: HostRouter, packet: Packet) -> Packet:
    """Return a packet that comes to a router as it is for whom it is meant for."""
    for each in floating_of(router):
        if each.address == packet.target:
            trail.passes("floating_ip", each.floating_id, f"{each.address} stands for {each.fixed}")
            return replace(packet, target=each.fixed)
    for one in forwarded_of(router):
        port = inner_port(one, packet.port) if (one.address, one.protocol) == (packet.target, packet.protocol) else None
        if port is not None:
            text = f"{one.address} port {packet.port} leads to {one.fixed} port {port}"
            trail.passes("port_forwarding", one.forwarding_id, text)
            return replace(packet, target=one.fixed, port=port)
    return packet


def inner_port(forwarding: HostForwarding, port: int | None) -> int | None:
    """Return the port of the guest that an outer one leads to, if it is one of the forwarding's."""
    (first, last), (inner, inner_last) = forwarding.external, forwarding.internal
    if port is None or not first <= port <= last:
        return None
    return inner if inner == inner_last else inner + port - first


def outer_port(forwarding: HostForwarding, port: int | None) -> int | None:
    """Return an outer port that leads to one of the guest, if any of the forwarding's does."""
    (first, _), (inner, inner_last) = forwarding.external, forwarding.internal
    if port is None or not inner <= port <= inner_last:
        return None
    return first + port - inner


def _check_source(trail: Trail, router: HostRouter, by: RouterLeg, source: str) -> None:
    """Raise Stopped for what comes from elsewhere than its answer would go."""
    ident = router.router_id
    if any(source in addresses_of(router, leg) for leg in open_legs(router)):
        raise trail.stop("router", ident, f"{source} is an address of the router itself: who sends from it is none")
    back = routed(router, source)
    if back is None:
        raise trail.stop(
            "router", ident, f"the router has no route back to {source}", _ROUTE.format(source, ident)
        )  # fmt: skip
    if back.leg.port_id != by.port_id:
        raise trail.stop(
            "router", ident, f"anti-spoofing: {source} comes by another interface than the way back to it", ""
        )  # fmt: skip
    if by is not router.gateway and not may_come_by(router, by, source):
        raise trail.stop(
            "router", ident, f"anti-spoofing: {source} is of no subnet of the interface and of no route by way of it",
            _ROUTE.format(source, ident),
        )  # fmt: skip


def _behind_closed(router: HostRouter, target: str) -> RouterLeg | None:
    """Return the leg that is down by which an address would be reached."""
    closed = (leg for leg in router.legs if not leg.up)
    return next((leg for leg in closed if any(within(target, text) for text in leg.addresses)), None)


def _no_route(trail: Trail, router: HostRouter, target: str) -> Exception:
    ident, gateway = router.router_id, router.gateway
    closed = _behind_closed(router, target)
    if closed is not None or (gateway is not None and not gateway.up):
        port_id = (closed or router.legs[-1]).port_id
        text = f"no route to {target}: its port {port_id} there is down"
        return trail.stop("router", ident, text, f"openstack port set --enable {port_id}")
    if gateway is None:
        text = f"no route to {target}, and no external gateway is set"
        return trail.stop("router", ident, text, f"openstack router set --external-gateway NETWORK {ident}")
    return trail.stop("router", ident, f"no route to {target}", _ROUTE.format(target, ident))


def _may_pass(trail: Trail, router: HostRouter, by: RouterLeg, way: RouterWay, *, packet: Packet, dnat: bool) -> None:
    gateway = gateway_of(router)
    if by is not gateway and way.leg is not gateway:
        if by.scope != way.leg.scope and not dnat:
            raise _other_scope(trail, router, packet)
        return
    if by is not gateway:
        floating = any(each.fixed == packet.source for each in floating_of(router))
        if not router.snat and not router.is_open(by) and not floating:
            raise _other_scope(trail, router, packet)
        return
    if way.leg is gateway:
        raise trail.stop(
            "router", router.router_id, f"{packet.target} comes by the gateway and would leave by it again"
        )  # fmt: skip
    if router.is_open(way.leg) or dnat:
        return
    if not router.snat:
        raise _other_scope(trail, router, packet)
    raise trail.stop(
        "router", router.router_id,
        f"SNAT is on: from outside only floating IPs come in, and {packet.target} is none",
        "openstack floating ip create NETWORK; openstack server add floating ip SERVER ADDRESS",
    )  # fmt: skip


def _other_scope(trail: Trail, router: HostRouter, packet: Packet) -> Exception:
    return trail.stop(
        "router", router.router_id,
        f"{packet.source} and {packet.target} are of different address scopes, which floating IPs alone join",
        "openstack subnet pool set --address-scope SCOPE POOL",
    )  # fmt: skip


def _translated_source(router: HostRouter, by: RouterLeg, way: RouterWay, source: str, *, dnat: bool) -> str:
    """Return as whom the sender leaves: of what turns around in the router, so that its answer comes back here."""
    gateway = gateway_of(router)
    address = first_address(gateway) if gateway is not None else None
    if gateway is None or address is None:
        return source
    outward = {each.fixed: each.address for each in floating_of(router)}
    if way.leg is gateway:
        return outward.get(source, address if router.snat and not router.is_open(by) else source)
    if by is not gateway and dnat:
        return outward.get(source, address)
    return source


def _outer(router: HostRouter) -> list[str]:
    gateway = gateway_of(router)
    return addresses_of(router, gateway) if gateway is not None else []
