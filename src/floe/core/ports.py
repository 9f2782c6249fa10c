"""Ports: where a guest, or the cloud's own DHCP, is plugged into a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from floe.core import addresses
from floe.core.errors import Invalid

DOWN, BUILD, ACTIVE = "DOWN", "BUILD", "ACTIVE"
INACTIVE = "INACTIVE"
"""The status of all bindings of a port but the ACTIVE one."""
DHCP_OWNER = "network:dhcp"
INTERFACE_OWNER = "network:router_interface"
GATEWAY_OWNER = "network:router_gateway"
FLOATING_OWNER = "network:floatingip"
RESERVED_OWNERS = frozenset({DHCP_OWNER, INTERFACE_OWNER, GATEWAY_OWNER, FLOATING_OWNER})
"""Of ports that the cloud makes and removes by itself."""
MAX_FIXED_IPS = 5
MAX_PAIRS = 10


class Binding(NamedTuple):
    """That a port is bound to a host; while its guest moves it is bound to two, and active on one.

    A tuple, since each bound port that is read has one.
    """

    host: str
    status: str
    """ACTIVE or INACTIVE."""
    plugged: bool
    """Whether the host is to have it."""
    vnic_type: str
    vif_type: str
    vif_details: Mapping[str, Any]
    profile: Mapping[str, Any]


class Port(msgspec.Struct, frozen=True, gc=False):
    """A port as the database holds it."""

    id: str
    network_id: str
    project_id: str
    mac: str
    created_at: datetime
    updated_at: datetime
    name: str = ""
    description: str = ""
    up: bool = True
    status: str = DOWN
    device_id: str = ""
    """Free text of whoever made the port; only `server_id` binds."""
    device_owner: str = ""
    server_id: str | None = None
    """The server whose NIC it is; set by the create flow alone."""
    router_id: str | None = None
    """The router whose interface or gateway it is; set by what is done with routers alone."""
    nic: int | None = None
    made: bool = False
    """Floe made it for the server and removes it with the server."""
    plugged: bool = False
    """Whether its host is to have it."""
    host: str | None = None
    """Of its active binding."""
    hostname: str = ""
    """The server's name on this network, with its domain if it has one of its own; "" if it may have none there."""
    port_security: bool = True
    allowed_pairs: tuple[tuple[str, str], ...] = ()
    """(address or CIDR, MAC)"""
    tags: tuple[str, ...] = ()
    revision: int = 0
    fixed_ips: tuple[tuple[str, str], ...] = ()
    """(subnet id, address)"""
    groups: tuple[str, ...] = ()
    bindings: tuple[Binding, ...] = ()
    """As they were read, the active one first."""

    @property
    def kept(self) -> bool:
        """Whether it is the cloud's own business: it serves DHCP, is a router's, or holds a floating IP."""
        return self.router_id is not None or self.device_owner in {DHCP_OWNER, FLOATING_OWNER}

    @property
    def plugged_on(self) -> set[str]:
        """All hosts that are to have it."""
        return {binding.host for binding in self.bindings if binding.plugged}


class PluggedPort(NamedTuple):
    """A plugged port in as much as its host is told of it; a tuple, since a host has many and they are read often."""

    id: str
    network_id: str
    server_id: str | None
    mac: str
    nic: int | None
    hostname: str
    up: bool
    port_security: bool
    allowed_pairs: tuple[tuple[str, str], ...]
    fixed_ips: tuple[tuple[str, str], ...]
    groups: tuple[str, ...]


class ServerPort(msgspec.Struct, frozen=True, gc=False):
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
    floating: tuple[tuple[str, str], ...] = ()
    """(address of the port, floating IP that leads there)"""


def tap_name(port_id: str) -> str:
    """Return the name of the port's device on its host: 14 characters."""
    return f"tap{port_id[:11]}"


def read_pairs(pairs: Sequence[tuple[str, str | None]], mac: str) -> tuple[tuple[str, str], ...]:
    """Check allowed address pairs of (address or CIDR, MAC or None for the port's own). Raises Invalid."""
    field = "allowed_address_pairs"
    if len(pairs) > MAX_PAIRS:
        raise Invalid(
            f"Invalid input for {field}: {len(pairs)} given, at most {MAX_PAIRS} allowed.", reason="too_many_pairs"
        )
    found = []
    for address, pair_mac in pairs:
        if addresses.network_of(address, field).network_address.is_multicast:
            raise Invalid(f"Invalid input for {field}: {address!r} is multicast, from which nobody sends.")
        found.append((address, addresses.mac_of(pair_mac, field) if pair_mac else mac))
    if len(set(found)) != len(found):
        raise Invalid(f"Invalid input for {field}: the same pair is given twice.", reason="pair_given_twice")
    return tuple(found)
