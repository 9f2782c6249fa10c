"""IPv4 and MAC addresses: reading them, pools of them, and which of them guests may have.

Pools are pairs of numbers, first and last, both included; nothing here ever lists the addresses between.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from floe.core.errors import Conflict, Invalid

Pool = tuple[int, int]

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_RESERVED = tuple(
    IPv4Network(text) for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")
)
"""This network, loopback, link-local (metadata answers there), multicast, and the experimental rest."""


def text_of(number: int) -> str:
    """Write an address as a dotted quad."""
    return str(IPv4Address(number))


def number_of(text: str, field: str = "ip_address") -> int:
    """Read a dotted quad. Raises Invalid, naming the field."""
    try:
        return int(IPv4Address(text))
    except ValueError:
        raise Invalid(f"Invalid input for {field}: {text!r} is not a valid IPv4 address.") from None


def network_of(text: str, field: str = "cidr") -> IPv4Network:
    """Read a CIDR whose host bits are zero. Raises Invalid; IPv6 is refused as not supported."""
    if ":" in text:
        raise Invalid(f"Invalid input for {field}: {text!r} is IPv6; only IPv4 subnets are supported.")
    try:
        found = IPv4Network(text, strict=False)
    except ValueError:
        found = None
    if found is None or "/" not in text:
        raise Invalid(f"Invalid input for {field}: {text!r} is not a valid IPv4 CIDR, such as 192.0.2.0/24.")
    if int(IPv4Address(text.split("/", maxsplit=1)[0])) != int(found.network_address):
        raise Invalid(f"Invalid input for {field}: {text!r} has host bits set; {str(found)!r} would be right.")
    return found


def subnet_cidr(text: str) -> IPv4Network:
    """Read the CIDR of a subnet that guests may live in. Raises Invalid."""
    found = network_of(text)
    if found.prefixlen < 8:
        raise Invalid(f"Invalid input for cidr: {text!r} is too large; the prefix must be /8 or longer.")
    for reserved in _RESERVED:
        if found.overlaps(reserved):
            raise Invalid(f"Invalid input for cidr: {text!r} overlaps {reserved}, which is reserved.")
    return found


def prefix_of(text: str, ethertype: str, field: str) -> str:
    """Return a CIDR or a lone address in its usual form, host bits cleared. Raises Invalid."""
    try:
        if ethertype == "IPv6":
            return str(IPv6Network(text, strict=False))
        return str(IPv4Network(text, strict=False))
    except ValueError:
        raise Invalid(f"Invalid input for {field}: {text!r} is not a valid {ethertype} address or CIDR.") from None


def hosts_of(cidr: IPv4Network) -> Pool:
    """Return the first and last address a host may have; /31 and /32 have no network or broadcast address."""
    first, last = int(cidr.network_address), int(cidr.broadcast_address)
    return (first, last) if cidr.prefixlen >= 31 else (first + 1, last - 1)


def default_gateway(cidr: IPv4Network) -> int:
    """Return the gateway of a subnet for which none was named: its first host."""
    return hosts_of(cidr)[0]


def default_pools(cidr: IPv4Network, gateway: int | None) -> tuple[Pool, ...]:
    """Return all host addresses but the gateway's."""
    first, last = hosts_of(cidr)
    if gateway is None or not first <= gateway <= last:
        return ((first, last),)
    parts = ((first, gateway - 1), (gateway + 1, last))
    return tuple((start, end) for start, end in parts if start <= end)


def check_gateway(cidr: IPv4Network, gateway: int) -> None:
    """Raise Invalid unless the gateway is a host address of the subnet."""
    first, last = hosts_of(cidr)
    if not first <= gateway <= last:
        raise Invalid(
            f"Invalid input for gateway_ip: {text_of(gateway)} must be a host address of {cidr}"
            f" ({text_of(first)} to {text_of(last)})."
        )


def check_pools(cidr: IPv4Network, pools: Sequence[Pool], gateway: int | None) -> None:
    """Raise Invalid for pools outside the subnet, Conflict for ones that overlap or hold the gateway."""
    first, last = hosts_of(cidr)
    before: Pool | None = None
    for start, end in sorted(pools):
        shown = f"{text_of(start)}-{text_of(end)}"
        if start > end:
            raise Invalid(f"Invalid input for allocation_pools: the pool {shown} ends before it starts.")
        if start < first or end > last:
            raise Invalid(
                f"Invalid input for allocation_pools: the pool {shown} spans beyond the subnet {cidr}"
                f" ({text_of(first)} to {text_of(last)})."
            )
        if before is not None and start <= before[1]:
            raise Conflict(f"The allocation pool {shown} overlaps another pool of the subnet {cidr}.")
        if gateway is not None and start <= gateway <= end:
            raise Conflict(f"The gateway {text_of(gateway)} lies in the allocation pool {shown}.")
        before = (start, end)


def overlapping(cidr: IPv4Network, others: Iterable[str]) -> str | None:
    """Return the first of `others` that shares an address with the CIDR."""
    return next((other for other in others if cidr.overlaps(IPv4Network(other))), None)


def mac_of(text: str) -> str:
    """Read a unicast MAC address into lower case with colons. Raises Invalid."""
    mac = text.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(mac) or mac == "00:00:00:00:00:00" or int(mac[:2], 16) & 1:
        raise Invalid(f"Invalid input for mac_address: {text!r} is not a valid unicast MAC address.")
    return mac


def mac_for(port_id: str, attempt: int = 0) -> str:
    """Return a MAC for a port, the same each time; another one for each attempt, should it be taken."""
    digest = hashlib.sha256(f"{port_id}/{attempt}".encode()).hexdigest()
    return f"fa:16:3e:{digest[0:2]}:{digest[2:4]}:{digest[4:6]}"
