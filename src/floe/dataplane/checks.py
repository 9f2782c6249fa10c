"""Which values may enter a command, a rule or a file of the host at all; pure.

What a tenant chose and must be written somewhere passes one of these checks first.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Collection, Iterable

from msgspec.structs import replace

from floe.core.host_network import (
    HostFloating,
    HostForwarding,
    HostNetwork,
    HostPort,
    HostRoute,
    HostRouter,
    HostSegment,
    HostSubnet,
    RouterLeg,
)
from floe.core.port_forwardings import PROTOCOLS, count, meet, single

METADATA_ADDRESS = "169.254.169.254"

_LAST_PORT = 65535
_NO_LIMITS = (
    "The flavor limits the server's NICs (quota:vif_*), which this host's kernel cannot do (nft_limit): see floe doctor"
    " there, or use another host or flavor."
)
_IDENT = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_DEVICE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def is_host_label(name: str) -> bool:
    """Say whether `name` can be a DNS label: at most 63 of a-z, 0-9 and inner dashes (RFC 1123)."""
    return _LABEL.fullmatch(name) is not None


def is_domain(name: str) -> bool:
    """Say whether `name` can be a DNS domain without its final dot."""
    return 0 < len(name) <= 253 and all(_LABEL.fullmatch(label) for label in name.split("."))


def served_subnets(segment: HostSegment) -> tuple[HostSubnet, ...]:
    """Return the subnets in which this host answers DHCP, DNS and metadata."""
    return tuple(subnet for subnet in segment.subnets if subnet.dhcp and subnet.dhcp_address)


def sound_part(network: HostNetwork, *, limiting: bool = True) -> tuple[HostNetwork, dict[str, str]]:
    """Return what can be made of `network`, and per port, network or router id why the rest cannot.

    One unusable port must never keep the others of its host from being served, nor one of a router its other ports.
    A host that is not `limiting` serves no port whose NIC is to have limits.
    """
    problems: dict[str, str] = {}
    segments = []
    for segment in network.segments:
        problem = _segment_problem(segment)
        if problem:
            problems[segment.network_id] = problem
        else:
            segments.append(segment)
    known = {segment.network_id for segment in segments}
    ports: list[HostPort] = []
    taps: dict[str, str] = {}
    for port in network.ports:
        problem = _port_problem(port.port_id, port.tap, port.mac)
        if not problem and port.network_id not in known:
            problem = problems.get(port.network_id) or f"Network {port.network_id!r} of the port is not known here."
        if not problem and not limiting and port.port_id in network.limited:
            problem = _NO_LIMITS
        if not problem and port.tap in taps:
            problem = f"Device name {port.tap!r} is that of port {taps[port.tap]} already."
        if problem:
            problems[port.port_id] = problem
        else:
            taps[port.tap] = port.port_id
            ports.append(port)
    routers: list[HostRouter] = []
    legs: set[str] = set()
    for router in network.routers:
        sound_router, found = _sound_router(router, known, legs)
        if found:
            problems[router.router_id] = " ".join(found)
        if sound_router is not None:
            routers.append(sound_router)
            legs.update(leg.port_id for leg in sound_router.legs)
    if not problems:
        return network, problems
    sound = HostNetwork(
        generation=network.generation,
        segments=tuple(segments),
        ports=tuple(ports),
        groups=network.groups,
        routers=tuple(routers),
        queued=network.queued,
        limited=network.limited,
    )
    return sound, problems


@functools.lru_cache(maxsize=4096)  # most of a host's network is as it was at the last change
def _segment_problem(segment: HostSegment) -> str | None:
    if not _IDENT.fullmatch(segment.network_id):
        return f"Network id {segment.network_id!r} is not an id."
    if not 68 <= segment.mtu <= 65535:
        return f"MTU {segment.mtu} is not between 68 and 65535."
    if not 0 < segment.tag < 2**32:
        return f"Tag {segment.tag} is not between 1 and 2^32 - 1."
    if not is_domain(segment.dns_domain.rstrip(".").lower()):
        return f"DNS domain {segment.dns_domain!r} is not a domain name."
    for subnet in segment.subnets:
        problem = _subnet_problem(subnet)
        if problem:
            return problem
    return None


def _subnet_problem(subnet: HostSubnet) -> str | None:
    try:
        cidr = ipaddress.IPv4Network(subnet.cidr)
    except ValueError:
        return f"Subnet {subnet.cidr!r} is not an IPv4 network."
    if subnet.dhcp_address:
        try:
            inside = ipaddress.IPv4Address(subnet.dhcp_address) in cidr
        except ValueError:
            inside = False
        if not inside:
            return f"DHCP address {subnet.dhcp_address!r} is not an address of subnet {subnet.cidr}."
    return None


@functools.lru_cache(maxsize=4096)  # by what is looked at alone: a whole port would take longer to hash than to check
def _port_problem(port_id: str, tap: str, mac: str) -> str | None:
    if not _IDENT.fullmatch(port_id):
        return f"Port id {port_id!r} is not an id."
    if not _DEVICE.fullmatch(tap):
        return f"Device name {tap!r} is not 1 to 15 letters, digits, dots, dashes or underscores."
    if not _MAC.fullmatch(mac.lower()) or int(mac[:2], 16) & 1:
        return f"MAC address {mac!r} is not six hex pairs of a single device."
    return None


def _sound_router(
    router: HostRouter, networks: Collection[str], taken: Collection[str]
) -> tuple[HostRouter | None, list[str]]:
    """Return what can be made of a router, and why not the rest: legs in `taken` are another's."""
    if not _IDENT.fullmatch(router.router_id):
        return None, [f"Router id {router.router_id!r} is not an id."]
    found: list[str] = []
    legs: list[RouterLeg] = []
    for leg in router.legs:
        problem = _leg_problem(leg)
        if not problem and leg.network_id not in networks:
            problem = f"Network {leg.network_id!r} of router port {leg.port_id} is not known here."
        if not problem and (leg.port_id in taken or any(leg.port_id == other.port_id for other in legs)):
            problem = f"Router port {leg.port_id} is there twice."
        if problem:
            found.append(problem)
        else:
            legs.append(leg)
    interfaces = tuple(leg for leg in legs if leg is not router.gateway)
    subnets = [ipaddress.IPv4Interface(text).network for leg in legs for text in leg.addresses]
    inner = tuple(str(ipaddress.IPv4Interface(text).network) for leg in interfaces for text in leg.addresses)
    routes = tuple(route for route in router.routes if _is_well(_route_problem(route, subnets), found))
    floating: dict[str, HostFloating] = {}
    fixed: set[str] = set()
    for each in router.floating:
        problem = _floating_problem(each.address, each.fixed, inner)
        if not problem and (each.address in floating or each.fixed in fixed):
            problem = f"Floating IP {each.address} of {each.fixed} is there twice."
        if _is_well(problem, found):
            floating[each.address] = each
            fixed.add(each.fixed)
    forwarded = _sound_forwarded(router.forwarded, inner, floating, found)
    hop = router.next_hop
    if hop is not None and not _is_well(_address_problem("Next hop", hop), found):
        hop = None
    if not found:
        return router, found
    gateway = router.gateway if any(leg is router.gateway for leg in legs) else None
    sound = {"interfaces": interfaces, "gateway": gateway, "next_hop": hop, "routes": routes, "forwarded": forwarded}
    return replace(router, **sound, floating=tuple(floating.values())), found


def _sound_forwarded(
    forwarded: Iterable[HostForwarding],
    inner: tuple[str, ...],
    floating: Collection[str],
    found: list[str],
) -> tuple[HostForwarding, ...]:
    """Return the port forwardings that can be made: each external port leads to one place."""
    sound: list[HostForwarding] = []
    there: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for each in forwarded:
        taken = there.setdefault((each.address, each.protocol), [])
        problem = _forwarding_problem(each, inner)
        if not problem and (each.address in floating or any(meet(each.external, other) for other in taken)):
            problem = f"Port forwarding {each.forwarding_id} of {each.address} is of ports that lead elsewhere."
        if _is_well(problem, found):
            taken.append(each.external)
            sound.append(each)
    return tuple(sound)


def _is_well(problem: str | None, found: list[str]) -> bool:
    if problem:
        found.append(problem)
    return not problem


@functools.lru_cache(maxsize=4096)
def _leg_problem(leg: RouterLeg) -> str | None:
    problem = _port_problem(leg.port_id, "leg", leg.mac)
    if problem:
        return problem
    for text in leg.addresses:
        try:
            address = ipaddress.IPv4Interface(text)
        except ValueError:
            return f"Address {text!r} of router port {leg.port_id} is not an IPv4 address with a prefix length."
        if "/" not in text or not _is_unicast(address.ip):
            return f"Address {text!r} of router port {leg.port_id} is not one that a device can have."
    return None


def _is_unicast(address: ipaddress.IPv4Address) -> bool:
    return not (address.is_multicast or address.is_loopback or address.is_unspecified or address.is_link_local)


def _address_problem(what: str, text: str) -> str | None:
    return None if ipv4_address(text) == text else f"{what} {text!r} is not an IPv4 address."


def _route_problem(route: HostRoute, subnets: Collection[ipaddress.IPv4Network]) -> str | None:
    destination = ipv4_network(route.destination)
    if destination is None or str(destination) != route.destination:
        return f"Destination {route.destination!r} of a route is not an IPv4 network."
    problem = _address_problem("Next hop", route.nexthop)
    if not problem and not any(ipaddress.IPv4Address(route.nexthop) in subnet for subnet in subnets):
        problem = f"Next hop {route.nexthop} of the route to {route.destination} is in no subnet of the router."
    return problem


@functools.lru_cache(maxsize=16384)  # by their text: an address takes long to read
def _floating_problem(address: str, fixed: str, inner: tuple[str, ...]) -> str | None:
    problem = _address_problem("Floating IP", address) or _address_problem("Fixed address", fixed)
    if not problem and not any(ipaddress.IPv4Address(fixed) in ipaddress.IPv4Network(subnet) for subnet in inner):
        problem = f"Fixed address {fixed} of floating IP {address} is in no subnet of the router."
    return problem


def _forwarding_problem(forwarding: HostForwarding, inner: tuple[str, ...]) -> str | None:
    what = f"Port forwarding {forwarding.forwarding_id}"
    if forwarding.protocol not in PROTOCOLS:
        return f"{what} is of {forwarding.protocol!r}, not of {' or '.join(PROTOCOLS)}."
    for first, last in (forwarding.external, forwarding.internal):
        if not 1 <= first <= last <= _LAST_PORT:
            return f"{what} is of ports {first} to {last}, which are none."
    if single(forwarding.internal) is None and count(forwarding.internal) != count(forwarding.external):
        return f"{what} has other than one internal port, or one for each external one."
    return _floating_problem(forwarding.address, forwarding.fixed, inner)


def ipv4_address(text: str) -> str | None:
    """Return an IPv4 address in its one spelling, None for anything else."""
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        return None


def ipv4_network(text: str) -> ipaddress.IPv4Network | None:
    """Return an IPv4 network (host bits are cut off), None for anything else."""
    try:
        return ipaddress.IPv4Network(text, strict=False)
    except ValueError:
        return None


def is_mac(text: str) -> bool:
    """Say whether `text` is a MAC address of six lower-case hex pairs."""
    return _MAC.fullmatch(text) is not None
