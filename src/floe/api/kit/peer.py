"""Where a request comes from, as far as it is to be told apart from others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

Network = IPv4Network | IPv6Network


def peer_of(scope: Mapping[str, Any], trusted: Sequence[Network] = ()) -> str:
    """Return the address of an ASGI scope's client; of IPv6 the first 64 bits, all the rest of which one peer may have.

    For a proxy that is `trusted` it is the last address in `X-Forwarded-For` that is not one; what others write there
    counts for nothing. Empty where there is none, as with a UNIX socket.
    """
    client = scope.get("client")
    if not client:
        return ""
    found = str(client[0])
    if trusted and among(found, trusted):
        heard = (value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for")
        told = ",".join(heard).split(",")
        found = next((word.strip() for word in reversed(told) if word.strip() and not among(word, trusted)), found)
    return told_apart(found)


def among(text: str, networks: Sequence[Network]) -> bool:
    """Say whether an address is of one of these networks; an IPv4 address in IPv6's clothes is what it is."""
    try:
        address = ip_address(text.strip().partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)


def told_apart(text: str) -> str:
    """Return what peers are told apart by: an IPv4 address, the first 64 bits of an IPv6 one."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return text
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(IPv6Address(int(address) >> 64 << 64))
    return str(address)
