"""What dnsmasq is told about a segment: its arguments and the files it reads again on SIGHUP."""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Iterable
from pathlib import Path

import msgspec

from floe.core.dhcp_options import Kind, form_of, option_of
from floe.core.errors import Invalid
from floe.core.host_network import HostPort, HostSegment, HostSubnet
from floe.core.hostnames import is_of_address, of_address
from floe.dataplane.checks import METADATA_ADDRESS, ipv4_address, ipv4_network, is_domain, is_host_label, served_subnets
from floe.dataplane.linux.names import INNER_DEVICE, short

LEASE_SECONDS = 86400
# A bound on memory, not on addresses: only ports that are in the hosts file get a lease at all.
_LEASES = 65536
_BOOTP = struct.Struct("!BBBBIHH4s12x16s192x")
"""Op, hardware type and length, hops, id, seconds, flags, the client's address, its MAC."""
_COOKIE = bytes((99, 130, 83, 99))
_ON_LINK = str(ipaddress.IPv4Address(0))
# Names that dnsmasq would read as a lease time or a command where it expects a host name.
_OTHER_MEANING = re.compile(r"[0-9]+[smhdw]?|infinite|ignore")


class DhcpFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The three files of a segment's dnsmasq, whole."""

    hosts: str
    options: str
    names: str


def arguments(
    segment: HostSegment,
    ports: Iterable[HostPort] = (),
    *,
    hosts: Path,
    options: Path,
    names: Path,
    pid_file: Path,
    user: str,
    group: str,
) -> list[str]:
    """Return the command line of a segment's dnsmasq; it changes only where a restart is needed.

    Which ports have options of their own is said here, and not in the hosts file: dnsmasq 2.90 that reads a file with
    tags again, after it has answered one of those, frees what is on its stack.
    """
    own = [f"--dhcp-mac=set:{_own(port)},{port.mac.lower()}" for port in ports if _extra(port)]
    ranges = [
        f"--dhcp-range=set:{_tag(subnet)},{network.network_address},static,{network.netmask},{LEASE_SECONDS}s"
        for subnet in served_subnets(segment)
        for network in [ipaddress.IPv4Network(subnet.cidr)]
    ]
    return [
        "dnsmasq",
        "--conf-file=/dev/null",
        "--no-hosts",
        "--no-resolv",
        "--no-poll",
        "--no-ping",
        "--bind-interfaces",
        f"--interface={INNER_DEVICE}",
        "--except-interface=lo",
        f"--user={user}",
        f"--group={group}",
        f"--pid-file={pid_file}",
        "--dhcp-authoritative",
        "--leasefile-ro",
        f"--dhcp-lease-max={_LEASES}",
        f"--dhcp-hostsfile={hosts}",
        f"--dhcp-optsfile={options}",
        f"--dhcp-option-force=option:mtu,{segment.mtu}",
        f"--addn-hosts={names}",
        f"--domain={_domain(segment)}",
        # It has nobody to ask, so it says of every other name that there is none. A refusal makes resolvers ask again
        # until they give up, also when it is the IPv6 half of a question whose other half is answered.
        "--local=/#/",
        "--expand-hosts",
        *ranges,
        *own,
    ]


def files(segment: HostSegment, ports: Iterable[HostPort]) -> DhcpFiles:
    """Return the files for a segment and its ports on this host."""
    served = served_subnets(segment)
    by_id = {subnet.subnet_id: subnet for subnet in served}
    hosts: list[str] = []
    names: list[str] = []
    extra: list[str] = []
    domain = _domain(segment)
    for port in ports:
        leased: set[str] = set()
        for entry in port.addresses:
            address = ipv4_address(entry.address)
            if address is None:
                continue
            label = host_label(port.hostname, address)
            names.append(" ".join([address, *_names(port.hostname, address, domain)]))
            # DHCP can hand out one address per subnet and MAC; further ones are the guest's to configure.
            if entry.subnet_id in by_id and entry.subnet_id not in leased:
                leased.add(entry.subnet_id)
                lease = host_label("", address) if _OTHER_MEANING.fullmatch(label) else label
                hosts.append(f"{port.mac.lower()},{address},{lease}")
        extra += _extra(port)
    return DhcpFiles(
        hosts=_lines(hosts),
        # Of two lines about one option dnsmasq takes the later: a port's own come after its subnet's.
        options=_lines([*(line for subnet in served for line in _options(subnet)), *extra]),
        names=_lines(names),
    )


def leases(hosts: str) -> set[tuple[str, str]]:
    """Return what a hosts file lets be leased: (MAC, address)."""
    lines = (line.split(",") for line in hosts.splitlines())
    return {(words[0], words[1]) for words in lines if len(words) == 3}


def server_of(segment: HostSegment, address: str) -> str | None:
    """Return the DHCP server of the subnet an address is in, None where it is in none that is served."""
    inside = ipaddress.IPv4Address(address)
    served = (subnet for subnet in served_subnets(segment) if inside in ipaddress.IPv4Network(subnet.cidr))
    return next((subnet.dhcp_address for subnet in served), None)


def release(mac: str, address: str, server: str) -> bytes:
    """Return the message by which a client gives an address back (DHCPRELEASE, RFC 2131)."""
    pack = ipaddress.IPv4Address
    head = _BOOTP.pack(1, 1, 6, 0, 1, 0, 0, pack(address).packed, bytes.fromhex(mac.replace(":", "")))
    return head + _COOKIE + bytes((53, 1, 7, 54, 4)) + pack(server).packed + b"\xff"


def host_label(hostname: str, address: str) -> str:
    """Return the port's own name where it can be a DNS label, else one of its address (host-10-0-0-5).

    No port has the name of another's address.
    """
    label = hostname.split(".", maxsplit=1)[0].lower()
    return label if is_host_label(label) and not is_of_address(label) else of_address(address)


def _names(hostname: str, address: str, domain: str) -> list[str]:
    """Return all names of an address; the first is what a reverse lookup says. dnsmasq adds the domain to labels."""
    label, full = host_label(hostname, address), hostname.lower()
    dotted = [full] if full.endswith(f".{domain}") else [full, f"{full}.{domain}"]
    whole = [name for name in dotted if full.startswith(f"{label}.") and is_domain(name)]
    return list(dict.fromkeys([*whole, label, host_label("", address)]))


def _options(subnet: HostSubnet) -> list[str]:
    tag = f"tag:{_tag(subnet)}"
    gateway = ipv4_address(subnet.gateway) if subnet.gateway else None
    servers = [address for text in subnet.nameservers if (address := ipv4_address(text))]
    routes = _routes(subnet, gateway)
    return [
        # Without a value the option is not sent; left out, dnsmasq would offer itself as the router.
        f"{tag},option:router" + (f",{gateway}" if gateway else ""),
        f"{tag},option:dns-server,{','.join(servers or [subnet.dhcp_address or ''])}",
        # A client that takes option 121 ignores option 3 (RFC 3442): the default route is in both. 249 is
        # the number that older Windows guests ask for.
        f"{tag},option:classless-static-route,{routes}",
        f"{tag},249,{routes}",
    ]


def _extra(port: HostPort) -> list[str]:
    """Return the lines of a port's own options; what is none is left out."""
    lines = []
    for name, value in port.dhcp_options:
        try:
            option = option_of(name)
        except Invalid:
            continue
        form = form_of(option, value)
        if form is not None:
            which = f"option:{option.name}" if option.name else str(option.number)
            lines.append(f"tag:{_own(port)},{which}" + (f",{_written(form, value)}" if value else ""))
    return lines


def _written(form: Kind, value: str) -> str:
    """Write a value: text between quotes, where nothing but a quote and a backslash means anything to dnsmasq."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' if form is Kind.TEXT else value


def _own(port: HostPort) -> str:
    return "p" + port.port_id.replace("-", "")


def _routes(subnet: HostSubnet, gateway: str | None) -> str:
    """Return `destination,nexthop` pairs: metadata, the subnet's own routes, the default route.

    A gateway outside the subnet is reached on the link itself, by a route of its own (next hop 0.0.0.0, RFC 3442).
    """
    pairs = {f"{METADATA_ADDRESS}/32": subnet.dhcp_address or ""}
    if gateway and ipaddress.IPv4Address(gateway) not in ipaddress.IPv4Network(subnet.cidr):
        pairs.setdefault(f"{gateway}/32", _ON_LINK)
    for route in subnet.routes:
        destination, nexthop = ipv4_network(route.destination), ipv4_address(route.nexthop)
        if destination is not None and nexthop is not None:
            pairs.setdefault(str(destination), nexthop)
    if gateway:
        pairs.setdefault("0.0.0.0/0", gateway)
    return ",".join(part for pair in pairs.items() for part in pair)


def _domain(segment: HostSegment) -> str:
    return segment.dns_domain.rstrip(".").lower()


def _tag(subnet: HostSubnet) -> str:
    return "s" + short(subnet.subnet_id)


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
