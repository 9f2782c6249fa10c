"""Where guests and routers send a packet next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import msgspec

from floe.core.host_network import HostFloating, HostForwarding, HostPort, HostRoute, HostRouter, HostSubnet, RouterLeg
from floe.core.packets.judging import network_of, within
from floe.core.packets.scene import Scene

_ANYWHERE = IPv4Network("0.0.0.0/0")


class GuestWay(msgspec.Struct, frozen=True):
    """How a guest sends: from which port and address, and to whom on that port's network."""

    port: HostPort
    source: str
    hop: str
    subnet_id: str


class RouterWay(msgspec.Struct, frozen=True):
    """How a router sends on: by which leg, and to whom on its network."""

    leg: RouterLeg
    hop: str


def open_legs(router: HostRouter) -> list[RouterLeg]:
    """Return the legs by which anything passes."""
    return [leg for leg in router.legs if router.up and leg.up]


def gateway_of(router: HostRouter) -> RouterLeg | None:
    """Return the gateway, if it is open."""
    gateway = router.gateway
    return gateway if gateway is not None and gateway.up and router.up else None


def floating_of(router: HostRouter) -> Sequence[HostFloating]:
    """Return the floating IPs that a router translates."""
    return router.floating if gateway_of(router) is not None else ()


def forwarded_of(router: HostRouter) -> Sequence[HostForwarding]:
    """Return the port forwardings that a router does."""
    return router.forwarded if gateway_of(router) is not None else ()


def first_address(leg: RouterLeg) -> str | None:
    """Return the address from which a leg speaks for others."""
    return leg.addresses[0].partition("/")[0] if leg.addresses else None


def addresses_of(router: HostRouter, leg: RouterLeg) -> list[str]:
    """Return what a leg answers for."""
    own = [text.partition("/")[0] for text in leg.addresses]
    return [*own, *router.outer] if leg is router.gateway else own


def leg_to(router: HostRouter, hop: str) -> RouterLeg | None:
    """Return the leg that a next hop is reached by."""
    return next((leg for leg in open_legs(router) if any(within(hop, text) for text in leg.addresses)), None)


def routed(router: HostRouter, address: str) -> RouterWay | None:
    """Return how a router sends on to an address, by the longest prefix; what it is on itself, directly."""
    number = IPv4Address(address)
    ways: list[tuple[int, int, RouterWay]] = []
    for leg in open_legs(router):
        for text in leg.addresses:
            network = IPv4Interface(text).network
            if number in network:
                ways.append((network.prefixlen, 2, RouterWay(leg, address)))
    gateway = gateway_of(router)
    if gateway is not None and router.next_hop:
        ways.append((0, 0, RouterWay(gateway, router.next_hop)))
    for route in router.routes:
        target, by = network_of(route.destination), leg_to(router, route.nexthop)
        if target is not None and by is not None and number in target:
            ways.append((target.prefixlen, 1, RouterWay(by, route.nexthop)))
    return max(ways, key=lambda way: way[:2])[2] if ways else None


def may_come_by(router: HostRouter, leg: RouterLeg, source: str) -> bool:
    """Say whether an interface takes what is from an address: of its subnets, or of what is routed by way of them."""
    behind = [
        route.destination
        for route in router.routes
        if any(within(route.nexthop, text) for text in leg.addresses)
    ]  # fmt: skip
    return any(within(source, text) for text in (*leg.addresses, *behind))


def guest_ways(scene: Scene, ports: Iterable[HostPort], target: str) -> GuestWay | None:
    """Return how a guest sends to an address that is configured as DHCP says; None where it has no route there.

    What is on a network of its own it reaches directly; further routes come before the gateway, and of several gateways
    the one of its first NIC counts.
    """
    number = IPv4Address(target)
    ways: list[tuple[int, int, int, GuestWay]] = []
    for order, port in enumerate(ports):
        segment = scene.segment(port.network_id)
        subnets = {subnet.subnet_id: subnet for subnet in segment.subnets} if segment is not None else {}
        for entry in port.addresses:
            subnet = subnets.get(entry.subnet_id)
            if subnet is None:
                continue
            for network, hop in _routes(subnet):
                if number in network:
                    way = GuestWay(port, entry.address, hop or target, subnet.subnet_id)
                    ways.append((network.prefixlen, 0 if hop else 1, -order, way))
    return max(ways, key=lambda way: way[:3])[3] if ways else None


def _routes(subnet: HostSubnet) -> list[tuple[IPv4Network, str | None]]:
    given: Sequence[HostRoute] = subnet.routes
    found: list[tuple[IPv4Network, str | None]] = [(IPv4Network(subnet.cidr), None)]
    for route in given:
        network = network_of(route.destination)
        if network is not None:
            found.append((network, route.nexthop))
    if subnet.gateway and _ANYWHERE not in {network for network, _ in found}:
        found.append((_ANYWHERE, subnet.gateway))
    return found
