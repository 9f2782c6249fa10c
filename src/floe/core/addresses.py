"""IP and MAC addresses: reading them, pools of them, and which of them guests may have.

An address is a number, which says its family: below `IPV4_ALL` it is IPv4's. What IPv6 has there (::/96, IPv4 written
as IPv6, given up by RFC 4291, and with it :: and ::1) nobody is given. Pools are pairs of numbers, first and last, both
included; nothing here ever lists the addresses between. The rules of subnets are IPv4's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_interface

from floe.core.errors import Conflict, Invalid

Pool = tuple[int, int]

IPV4_ALL = 2**32
"""How many addresses IPv4 has; the numbers from here on are IPv6's."""

METADATA = IPv4Address("169.254.169.254")
"""Where the cloud answers guests that ask for their metadata."""

_MAC_SHAPES = tuple(
    re.compile(shape, re.IGNORECASE | re.ASCII)
    for shape in (
        "([0-9a-f]{1,2})([:-])" + r"([0-9a-f]{1,2})\2" * 4 + "([0-9a-f]{1,2})",
        "([0-9a-f]{1,4})([:.-])" + r"([0-9a-f]{1,4})\2" + "([0-9a-f]{1,4})",
        "([0-9a-f]{5,6})([:-])([0-9a-f]{5,6})",
        "([0-9a-f]{11,12})",
    )
)
"""Six, three, two or one group of hex digits, leading zeros left out or not."""


@lru_cache(maxsize=4096)
def text_of(number: int) -> str:
    """Write an address: as a dotted quad, or as RFC 5952 says. Kept, as what is shown is polled again."""
    if number < IPV4_ALL:
        return "{}.{}.{}.{}".format(*number.to_bytes(4))  # a fifth of the time of `str(IPv4Address(number))`
    return str(IPv6Address(number))


def number_of(text: str, field: str = "ip_address") -> int:
    """Read a dotted quad. Raises Invalid, naming the field."""
    try:
        return int(IPv4Address(text))
    except ValueError:
        raise Invalid(f"Invalid input for {field}: {text!r} is not a valid IPv4 address.") from None


def number_of_either(text: str) -> int:
    """Read what `text_of` wrote, or another spelling of it. Raises ValueError for what is no address to be given."""
    found = ip_address(text)
    number = int(found)
    if found.version == 6 and (number < IPV4_ALL or found.scope_id):
        raise ValueError(f"{text!r} is an IPv6 address that nobody may be given: of ::/96, or with a zone.")
    return number


def network_of(text: str, field: str) -> IPv4Network:
    """Read a CIDR, its host bits cleared; a lone address is one of /32. Raises Invalid; IPv6 is not supported."""
    if ":" in text:
        raise Invalid(f"Invalid input for {field}: {text!r} is IPv6; only IPv4 is supported.")
    try:
        return IPv4Network(text, strict=False)
    except ValueError:
        raise Invalid(f"Invalid input for {field}: {text!r} is not a valid IPv4 CIDR, such as 192.0.2.0/24.") from None


def route_target(text: str, field: str) -> IPv4Network:
    """Read the destination of a route: a CIDR without host bits. Raises Invalid."""
    found = network_of(text, field)
    if "/" not in text or number_of(text.partition("/")[0], field) != int(found.network_address):
        raise Invalid(f"Invalid input for {field}: {text!r} is no CIDR without host bits; {str(found)!r} would be one.")
    if found.is_loopback:
        raise Invalid(f"Invalid input for {field}: {text!r} is loopback, to which no route leads.")
    return found


def subnet_cidr(text: str, *, dhcp: bool) -> IPv4Network:
    """Read the CIDR of a subnet. Raises Invalid for one that guests, or DHCP if it is on, could not live in."""
    found = network_of(text, "cidr")
    if found.prefixlen == 0:
        raise Invalid(f"Invalid input for cidr: {text!r} is every address there is; the prefix must be /1 or longer.")
    if METADATA in found:
        raise Invalid(f"Invalid input for cidr: {text!r} holds {METADATA}, where guests find their metadata.")
    if dhcp:
        check_dhcp(found)
    return found


def check_dhcp(cidr: IPv4Network) -> None:
    """Raise Invalid for a subnet in which addresses cannot be handed out."""
    if cidr.prefixlen > 30:
        raise Invalid(f"Invalid input for enable_dhcp: {cidr} has no room for DHCP; use a prefix of /30 or shorter.")
    if cidr.network_address.is_multicast or cidr.is_loopback or not int(cidr.network_address):
        raise Invalid(f"Invalid input for enable_dhcp: {cidr} is loopback, multicast or begins at 0.0.0.0.")


def prefix_of(text: str, field: str) -> tuple[str, int]:
    """Return (address with prefix length as sent, IP version) of a CIDR or a lone address. Raises Invalid."""
    try:
        found = ip_interface(text)
    except ValueError:
        raise Invalid(f"Invalid input for {field}: {text!r} is no IP address and no CIDR.", reason="no_cidr") from None
    return str(found), found.version


def hosts_of(cidr: IPv4Network) -> Pool:
    """Return the first and last address a host may have; /31 and /32 have no network or broadcast address."""
    first, last = int(cidr.network_address), int(cidr.broadcast_address)
    return (first, last) if cidr.prefixlen >= 31 else (first + 1, last - 1)


def default_gateway(cidr: IPv4Network) -> int:
    """Return the gateway of a subnet for which none was named: the address after the network's own."""
    return min(int(cidr.network_address) + 1, 2**32 - 1)


def default_pools(cidr: IPv4Network, gateway: int | None) -> tuple[Pool, ...]:
    """Return all host addresses but the gateway's."""
    first, last = hosts_of(cidr)
    if gateway is None or not first <= gateway <= last:
        return ((first, last),)
    parts = ((first, gateway - 1), (gateway + 1, last))
    return tuple((start, end) for start, end in parts if start <= end)


def check_gateway(cidr: IPv4Network, gateway: int) -> None:
    """Raise Invalid for the first or last address of the subnet; one outside of it is its user's own business."""
    if gateway in {int(cidr.network_address), int(cidr.broadcast_address)}:
        raise Invalid(
            f"Invalid input for gateway_ip: {text_of(gateway)} is the network's or the broadcast address of {cidr}."
        )


def candidates(seed: str, pools: Sequence[Pool], most: int) -> Iterator[int]:
    """Give at most so many addresses of the pools, each as likely as any other, and the same ones for the same seed."""
    total = sum(last - first + 1 for first, last in pools)
    size = 8 if total <= IPV4_ALL else 24  # bytes: so many more than it takes that no address is likelier than another
    for number in range(most if total else 0):
        digest = hashlib.blake2b(f"{seed} {number}".encode(), digest_size=size).digest()
        left = int.from_bytes(digest, "big") % total
        for first, last in pools:
            if left <= last - first:
                yield first + left
                break
            left -= last - first + 1


def check_pools(cidr: IPv4Network, pools: Sequence[Pool], gateway: int | None) -> None:
    """Raise Invalid for pools outside the subnet, Conflict for ones that overlap or hold the gateway."""
    first, last = hosts_of(cidr)
    before: Pool | None = None
    for start, end in sorted(pools):
        shown = f"{text_of(start)}-{text_of(end)}"
        if start > end:
            raise Invalid(
                f"Invalid input for allocation_pools: the pool {shown} ends before it starts.", reason="pool_reversed"
            )
        if start < first or end > last:
            raise Invalid(
                f"Invalid input for allocation_pools: the pool {shown} spans beyond the subnet {cidr}"
                f" ({text_of(first)} to {text_of(last)}).",
                reason="pool_outside_subnet",
            )
        if before is not None and start <= before[1]:
            raise Conflict(
                f"The allocation pool {shown} overlaps another pool of the subnet {cidr}.", reason="pools_overlap"
            )
        if gateway is not None and start <= gateway <= end:
            raise Conflict(
                f"The gateway {text_of(gateway)} lies in the allocation pool {shown}; leave it out of the pool or name"
                " another gateway_ip.",
                reason="gateway_in_pool",
            )
        before = (start, end)


def overlapping(cidr: IPv4Network, others: Iterable[str]) -> str | None:
    """Return the first of `others` that shares an address with the CIDR."""
    return next((other for other in others if cidr.overlaps(IPv4Network(other))), None)


def mac_of(text: str, field: str = "mac_address") -> str:
    """Read a unicast MAC address, in any of the usual spellings, into lower case with colons. Raises Invalid."""
    mac = spelled_mac(text)
    if mac is None or mac == "00:00:00:00:00:00" or int(mac[:2], 16) & 1:
        raise Invalid(f"Invalid input for {field}: {text!r} is not a valid unicast MAC address.")
    return mac


def spelled_mac(text: str) -> str | None:
    """Return a MAC address in lower case with colons, None for what is none."""
    for shape in _MAC_SHAPES:
        found = shape.fullmatch(text)
        if found is not None:
            groups = [group for group in found.groups() if group not in {":", ".", "-"}]
            digits = "".join(group.rjust(12 // len(groups), "0") for group in groups).lower()
            return ":".join(digits[at : at + 2] for at in range(0, 12, 2))
    return None


def mac_for(port_id: str, attempt: int = 0) -> str:
    """Return a MAC for a port, the same each time; another one for each attempt, should it be taken."""
    digest = hashlib.sha256(f"{port_id}/{attempt}".encode()).hexdigest()
    return f"fa:16:3e:{digest[0:2]}:{digest[2:4]}:{digest[4:6]}"


def mac_on(port_id: str, host: str) -> str:
    """Return the MAC that a port has on one of the hosts that all have it: a local one, of 46 bits."""
    digest = hashlib.sha256(f"{port_id} on {host}".encode()).digest()
    return bytes([digest[0] & 0xFC | 0x02, *digest[1:6]]).hex(":")
