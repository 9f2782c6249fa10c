"""Ports: where a guest, or the cloud's own DHCP, is plugged into a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from floe.core import addresses
from floe.core.errors import Invalid
from floe.core.hostnames import of_address, whole_name

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
    """Its name on this network: its server's, or what its user chose; "" if it has none, or may have none there."""
    port_security: bool = True
    dns_domain: str = ""
    """Of its name alone, with a dot at its end; "" is its network's."""
    dhcp_options: tuple[tuple[str, str], ...] = ()
    """(name or number, value), as `core.dhcp_options` knows them."""
    pinned: bool = False
    """An administrator bound it to its host; no server has it."""
    profile: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """What an administrator notes of its binding."""
    allowed_pairs: tuple[tuple[str, str], ...] = ()
    """(address or CIDR, MAC)"""
    tags: tuple[str, ...] = ()
    device_tag: str = ""
    """What the user of its server calls the NIC."""
    revision: int = 0
    fixed_ips: tuple[tuple[str, str], ...] = ()
    """(subnet id, address)"""
    groups: tuple[str, ...] = ()
    bindings: tuple[Binding, ...] = ()
    """As they were read, the active one first."""
    domain: str = ""
    """Of the names on its network, where it is read to be shown: with a dot at its end."""

    @property
    def kept(self) -> bool:
        """Whether it is the cloud's own business: it serves DHCP, is a router's, or holds a floating IP."""
        return self.router_id is not None or self.device_owner in {DHCP_OWNER, FLOATING_OWNER}

    @property
    def plugged_on(self) -> set[str]:
        """All hosts that are to have it."""
        return {binding.host for binding in self.bindings if binding.plugged}


def binding_of(server_id: str, zone: str, host: str) -> dict[str, Any]:
    """Return what is true of every port of a server that has a host."""
    return {
        "server_id": server_id,
        "device_id": server_id,
        "device_owner": f"compute:{zone}",
        "host": host,
        "plugged": True,
        "pinned": False,
        "status": BUILD,
    }


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
    dns_domain: str
    dhcp_options: tuple[tuple[str, str], ...]
    allowed_pairs: tuple[tuple[str, str], ...]
    device_tag: str
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
    device_tag: str = ""


def dns_assignment(port: Port) -> list[dict[str, str]]:
    """Return the names that DNS knows a port's addresses by; the port's is one that was read to be shown."""
    domain = port.dns_domain or port.domain
    found = []
    for _, address in port.fixed_ips:
        name = port.hostname or of_address(address)
        fqdn = whole_name(name, domain if port.hostname else port.domain)
        found.append({"hostname": name, "ip_address": address, "fqdn": fqdn})
    return found


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
