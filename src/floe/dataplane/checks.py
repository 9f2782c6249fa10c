"""Which values may enter a command, a rule or a file of the host at all; pure.

What a tenant chose and must be written somewhere passes one of these checks first.
"""

from __future__ import annotations

import functools
import ipaddress
import re

from floe.core.host_network import HostNetwork, HostPort, HostSegment, HostSubnet

METADATA_ADDRESS = "169.254.169.254"

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


def sound_part(network: HostNetwork) -> tuple[HostNetwork, dict[str, str]]:
    """Return what can be made of `network`, and per port or network id why the rest cannot.

    One unusable port must never keep the others of its host from being served.
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
        if not problem and port.tap in taps:
            problem = f"Device name {port.tap!r} is that of port {taps[port.tap]} already."
        if problem:
            problems[port.port_id] = problem
        else:
            taps[port.tap] = port.port_id
            ports.append(port)
    if not problems:
        return network, problems
    sound = HostNetwork(
        generation=network.generation,
        segments=tuple(segments),
        ports=tuple(ports),
        groups=network.groups,
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
