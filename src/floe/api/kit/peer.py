"""Where a request comes from, as far as it is to be told apart from others."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from typing import Any


def peer_of(scope: Mapping[str, Any]) -> str:
    """Return the address of an ASGI scope's client; of IPv6 the first 64 bits, all the rest of which one peer may have.

    Empty where there is none, as with a UNIX socket.
    """
    client = scope.get("client")
    if not client:
        return ""
    try:
        address = ip_address(client[0].partition("%")[0])
    except ValueError:
        return str(client[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(IPv6Address(int(address) >> 64 << 64))
    return str(address)
