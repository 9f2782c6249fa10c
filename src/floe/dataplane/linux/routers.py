"""Which devices, addresses and routes a router is made of: what should be, compared with what is there; pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

import msgspec

from floe.core.host_network import HostNetwork, HostRouter, HostSegment, RouterLeg
from floe.dataplane.checks import METADATA_ADDRESS
from floe.dataplane.linux.links import Device, Line, LinkPlan, join_bridge
from floe.dataplane.linux.names import OWNER, bridge_name, inner_leg, leg_device, router_namespace

Route = tuple[str, str, str]
"""Destination, next hop and device."""

_LOOPBACK = "lo"
_LOOPBACK_OWN = "127.0.0.1/8"
_ANYWHERE = "0.0.0.0/0"


class Inside(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in a router's namespace."""

    devices: Mapping[str, Device]
    addresses: Mapping[str, list[str]]
    routes: frozenset[Route]
    unlike: Mapping[Path, str]
    """Settings of the kernel's stack that should be otherwise."""


class InsidePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do inside a namespace, as lines for `ip -batch`; and which addresses (by device) others are to learn."""

    lines: tuple[str, ...]
    announced: tuple[tuple[str, str], ...]


def is_open(router: HostRouter, leg: RouterLeg) -> bool:
    """Say whether anything passes a leg."""
    return router.up and leg.up


def differ_inside(before: HostNetwork, after: HostNetwork, namespaces: Container[str]) -> bool:
    """Say whether networks differ, in nothing but what is inside of routers' namespaces, and these are all there."""
    return (
        before.routers != after.routers
        and (before.ports, before.segments, before.groups) == (after.ports, after.segments, after.groups)
        and (before.queued, before.limited) == (after.queued, after.limited)
        and [(each.router_id, each.legs, each.up) for each in before.routers]
        == [(each.router_id, each.legs, each.up) for each in after.routers]
        and all(router_namespace(each.router_id) in namespaces for each in after.routers)
    )


def are_joined(before: HostNetwork, after: HostNetwork, inside: Mapping[str, Inside]) -> bool:
    """Say whether the routers that differ so were looked at, and their legs are there."""
    changed = [new for old, new in zip(before.routers, after.routers, strict=True) if old != new]
    return all(
        router.router_id in inside and inner_leg(leg.port_id) in inside[router.router_id].devices
        for router in changed
        for leg in router.legs
    )


def join(
    made: LinkPlan,
    routers: Iterable[HostRouter],
    segments: Mapping[str, HostSegment],
    devices: Mapping[str, Device],
    namespaces: frozenset[str],
    inside: Mapping[str, Inside],
) -> None:
    """Add to a plan what makes each router's namespace, and its legs' ends on both sides."""
    for router in routers:
        space = router_namespace(router.router_id)
        if space not in namespaces:
            made.before.append(Line(owner=router.router_id, text=f"netns add {space}"))
            made.renewed.append(router.router_id)
        for leg in router.legs:
            seen = inside.get(router.router_id)
            gone = space not in namespaces or (seen is not None and inner_leg(leg.port_id) not in seen.devices)
            _leg(made, router, leg, segments[leg.network_id], devices.get(leg_device(leg.port_id)), gone)


def _leg(
    made: LinkPlan, router: HostRouter, leg: RouterLeg, segment: HostSegment, found: Device | None, gone: bool
) -> None:
    """Connect a router to a network by a veth pair; where the inner end is gone, the outer has no use."""
    outer, inner, owner = leg_device(leg.port_id), inner_leg(leg.port_id), router.router_id
    texts = []
    if found is not None and gone:
        texts.append(f"link del dev {outer}")
        found = None
    if found is None:
        space = router_namespace(owner)
        texts += [
            f"link add name {outer} mtu {segment.mtu} type veth "
            f"peer name {inner} mtu {segment.mtu} address {leg.mac} netns {space}",
            f"link set dev {outer} alias {OWNER}{leg.port_id} addrgenmode none",
        ]
        made.renewed.append(owner)
    elif found.mtu != segment.mtu:
        texts.append(f"link set dev {outer} mtu {segment.mtu}")
    if found is not None and found.up and not is_open(router, leg):
        texts.append(f"link set dev {outer} down")
    made.before += [Line(owner=owner, text=text) for text in texts]
    if is_open(router, leg):
        join_bridge(made, owner, outer, bridge_name(leg.network_id), found)


def within(router: HostRouter, segments: Mapping[str, HostSegment], found: Inside) -> InsidePlan:
    """Return what makes addresses and routes inside a router's namespace what they should be."""
    wanted = _routes(router)
    legs = {inner_leg(leg.port_id) for leg in router.legs}  # others take their routes along
    kept = {route[0] for route in wanted}
    lines = [_no_route(route) for route in sorted(found.routes) if route[0] not in kept and route[2] in legs]
    announced: list[tuple[str, str]] = []
    stable: set[str] = set()
    """Devices that stay as they are: those that come up, go down or lose their addresses lose their routes."""
    if not (lo := found.devices.get(_LOOPBACK)) or not lo.up:
        lines.append(f"link set dev {_LOOPBACK} up")
    lines += _addresses(found, _LOOPBACK, [f"{METADATA_ADDRESS}/32"], spared=_LOOPBACK_OWN)[0]
    for leg in router.legs:
        name, mtu = inner_leg(leg.port_id), segments[leg.network_id].mtu
        device = found.devices.get(name, Device(name=name, mtu=mtu, mac=leg.mac))
        up = is_open(router, leg)
        if device.mac != leg.mac:
            lines.append(f"link set dev {name} address {leg.mac}")
        if device.mtu != mtu:
            lines.append(f"link set dev {name} mtu {mtu}")
        changes, new = _addresses(found, name, _of_leg(router, leg) if up else [])
        lines += changes
        if device.up != up:
            lines.append(f"link set dev {name} {'up' if up else 'down'}")
        elif up and set(leg.addresses) <= set(found.addresses.get(name, ())):
            stable.add(name)
        announced += [(name, address) for address in (new if device.up and device.mac == leg.mac else [])]
        if up and not (device.up and device.mac == leg.mac):
            announced += [(name, text.partition("/")[0]) for text in _of_leg(router, leg)]
    there = {route for route in found.routes if route[2] in stable}
    for destination, hop, device_name in wanted:
        if (destination, hop, device_name) not in there:
            # Another route may lead to the next hop, and the kernel would take it for no neighbour.
            lines.append(f"route replace {destination} via {hop} dev {device_name} onlink proto static")
    return InsidePlan(lines=tuple(lines), announced=tuple(announced))


def _of_leg(router: HostRouter, leg: RouterLeg) -> list[str]:
    """Return what a leg answers for: its addresses, and as the gateway those that others are reached by."""
    floating = [f"{address}/32" for address in router.outer] if leg is router.gateway else []
    own = {text.partition("/")[0] for text in leg.addresses}
    return [*leg.addresses, *(text for text in floating if text.removesuffix("/32") not in own)]


def _addresses(found: Inside, device: str, wanted: list[str], spared: str = "") -> tuple[list[str], list[str]]:
    """Return the changes to a device's addresses, and those that are new to it."""
    there = set(found.addresses.get(device, ()))
    known = {text.partition("/")[0] for text in there}
    new = [text for text in wanted if text not in there]
    gone = sorted(there - set(wanted) - {spared})
    # A device without any address, be it for a moment, loses its routes.
    lines = [f"addr add {text} dev {device}" for text in new] + [f"addr del {text} dev {device}" for text in gone]
    return lines, [address for text in new if (address := text.partition("/")[0]) not in known]


def _no_route(route: Route) -> str:
    destination, hop, device = route
    return f"route del {destination}" + (f" via {hop}" if hop else "") + (f" dev {device}" if device else "")


def _routes(router: HostRouter) -> list[Route]:
    """Return the routes that can be followed: each by the leg whose subnet its next hop is in.

    What a leg is on itself is reached by the leg: a route of ours there would be in the place of the kernel's.
    """
    wanted: dict[str, Route] = {}
    gateway = router.gateway
    if gateway is not None and router.next_hop and is_open(router, gateway):
        wanted[_ANYWHERE] = (_ANYWHERE, router.next_hop, inner_leg(gateway.port_id))
    near = {
        str(ipaddress.IPv4Interface(text).network)
        for each in router.legs
        if is_open(router, each)
        for text in each.addresses
    }
    for route in router.routes:
        leg = _leg_to(router, route.nexthop)
        if leg is not None and route.destination not in near:
            wanted[route.destination] = (route.destination, route.nexthop, inner_leg(leg.port_id))
    return sorted(wanted.values())


def _leg_to(router: HostRouter, hop: str) -> RouterLeg | None:
    address = ipaddress.IPv4Address(hop)
    legs = [leg for leg in router.legs if is_open(router, leg)]
    return next(
        (leg for leg in legs if any(address in ipaddress.IPv4Interface(text).network for text in leg.addresses)), None
    )
