"""Ports: where a guest, or the cloud's own DHCP, is plugged into a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from floe.core import addresses
from floe.core.errors import Invalid

DOWN, BUILD, ACTIVE = "DOWN", "BUILD", "ACTIVE"
DHCP_OWNER = "network:dhcp"
MAX_FIXED_IPS = 5
MAX_PAIRS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port as the database holds it."""

    id: str
    network_id: str
    project_id: str
    name: str = ""
    description: str = ""
    mac: str
    up: bool = True
    status: str = DOWN
    device_id: str = ""
    """Free text of whoever made the port; only `server_id` binds."""
    device_owner: str = ""
    server_id: str | None = None
    """The server whose NIC it is; set by the create flow alone."""
    nic: int | None = None
    made: bool = False
    """Floe made it for the server and removes it with the server."""
    plugged: bool = False
    """Whether its host is to have it."""
    host: str | None = None
    hostname: str = ""
    """The server's name on this network, with its domain if it has one of its own; "" if it may have none there."""
    port_security: bool = True
    fixed_ips: tuple[tuple[str, str], ...] = ()
    """(subnet id, address)"""
    groups: tuple[str, ...] = ()
    allowed_pairs: tuple[tuple[str, str], ...] = ()
    """(address or CIDR, MAC)"""
    created_at: datetime
    updated_at: datetime
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPort:
    """A server's port as its user sees it with the server."""

    port_id: str
    network_id: str
    network_name: str
    mac: str
    status: str = DOWN
    addresses: tuple[tuple[str, str], ...] = ()
    """(subnet id, address)"""
    groups: tuple[tuple[str, str], ...] = ()
    """(id, name)"""


def tap_name(port_id: str) -> str:
    """Return the name of the port's device on its host: 14 characters."""
    return f"tap{port_id[:11]}"


def read_pairs(pairs: Sequence[tuple[str, str | None]], mac: str) -> tuple[tuple[str, str], ...]:
    """Check allowed address pairs of (address or CIDR, MAC or None for the port's own). Raises Invalid."""
    if len(pairs) > MAX_PAIRS:
        raise Invalid(f"Invalid input for allowed_address_pairs: {len(pairs)} given, at most {MAX_PAIRS} allowed.")
    found = []
    for address, pair_mac in pairs:
        if ":" in address:
            raise Invalid(f"Invalid input for allowed_address_pairs: {address!r} is IPv6; only IPv4 is supported.")
        cidr = addresses.prefix_of(address, "IPv4", "allowed_address_pairs")
        shown = cidr if "/" in address else cidr.removesuffix("/32")
        if cidr.endswith("/0"):
            raise Invalid("Invalid input for allowed_address_pairs: /0 is not allowed; turn port security off instead.")
        found.append((shown, addresses.mac_of(pair_mac) if pair_mac else mac))
    if len(set(found)) != len(found):
        raise Invalid("Invalid input for allowed_address_pairs: the same pair is given twice.")
    return tuple(found)
