"""Address groups: named sets of addresses that rules of security groups let in or out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from ipaddress import ip_network

import msgspec

from floe.core.errors import Invalid

MAX_ADDRESSES = 1000
"""Of a group: a host that has a rule about it is sent them all."""


class AddressGroup(msgspec.Struct, frozen=True, kw_only=True):
    """An address group as the database holds it."""

    id: str
    project_id: str
    name: str = ""
    description: str = ""
    addresses: tuple[str, ...] = ()
    """CIDRs of IPv4 and IPv6, in order; none has bits of a host."""
    tags: tuple[str, ...] = ()
    created_at: datetime
    updated_at: datetime
    revision: int = 0


def cidr_of(text: str) -> str:
    """Return the CIDR of a network that an address with its prefix length is in. Raises Invalid."""
    try:
        found = ip_network(text, strict=False)
    except ValueError:
        found = None
    address, _, length = text.partition("/")
    if found is None or length != str(found.prefixlen) or "%" in address:
        raise Invalid(
            f"Invalid input for addresses: {text[:80]!r} is not a valid IP subnet; write 192.0.2.0/24, or 192.0.2.7/32"
            " for one address.",
            reason="malformed",
        )
    return str(found)


def in_order(cidrs: Iterable[str]) -> tuple[str, ...]:
    """Return CIDRs as they are kept, each once. Raises Invalid for more than a group may have."""
    found = sorted({ip_network(cidr) for cidr in cidrs}, key=lambda net: (net.version, net.network_address.packed, net))
    if len(found) > MAX_ADDRESSES:
        raise Invalid(f"Invalid input for addresses: {len(found)}; a group may have at most {MAX_ADDRESSES}.")
    return tuple(map(str, found))
