"""How Floe names what it makes on a host.

Names are derived from ids, so that any run finds what an earlier one made; nothing a tenant chose is ever part
of one.
"""

from __future__ import annotations

import hashlib
import re

from floe.core.ids import is_uuid

OWNER = "floe:"
"""Begins the alias of each device that is Floe's; the id of its port or network follows."""
BRIDGE_PREFIX = "fbr"
DHCP_PREFIX = "fdh"
NAMESPACE_PREFIX = "fdhcp-"
INNER_DEVICE = "dh0"
"""The end of the veth pair inside the DHCP namespace."""
ROUTER_PREFIX = "frtr-"
LEG_PREFIX = "fqr"
PHYSICAL_PREFIX = "fph"
_THEIR_PREFIX = "fpx"
MACHINE_PREFIX = "fxb"

_OWN_NAME = re.compile(
    rf"({BRIDGE_PREFIX}|{DHCP_PREFIX}|{LEG_PREFIX}|{PHYSICAL_PREFIX}|{_THEIR_PREFIX}|{MACHINE_PREFIX})[0-9a-f]{{11}}"
)
_OWN_NAMESPACE = re.compile(rf"({NAMESPACE_PREFIX}|{ROUTER_PREFIX})[0-9a-f]{{11}}")


def short(ident: str, length: int = 11) -> str:
    """Return the first hex digits of a UUID, or of the hash of any other id."""
    if is_uuid(ident):
        return ident.replace("-", "").lower()[:length]
    return hashlib.sha256(ident.encode()).hexdigest()[:length]


def bridge_name(network_id: str) -> str:
    """Return the name of a segment's bridge."""
    return BRIDGE_PREFIX + short(network_id)


def dhcp_device(network_id: str) -> str:
    """Return the name of the veth end that connects a segment's DHCP namespace to its bridge."""
    return DHCP_PREFIX + short(network_id)


def namespace_name(network_id: str) -> str:
    """Return the name of a segment's DHCP and metadata namespace."""
    return NAMESPACE_PREFIX + short(network_id)


def router_namespace(router_id: str) -> str:
    """Return the name of a router's namespace."""
    return ROUTER_PREFIX + short(router_id)


def leg_device(port_id: str) -> str:
    """Return the name of the veth end that connects a router's port to the bridge of its network."""
    return LEG_PREFIX + short(port_id)


def inner_leg(port_id: str) -> str:
    """Return the name of the other end, inside the router's namespace."""
    return "qr-" + short(port_id)


def physical_device(network_id: str) -> str:
    """Return the name of the veth end that joins the bridge of a segment to a bridge that is the host's own."""
    return PHYSICAL_PREFIX + short(network_id)


def their_device(network_id: str) -> str:
    """Return the name of the other end, in the bridge that is the host's own."""
    return _THEIR_PREFIX + short(network_id)


def machine_bridge(physical: str) -> str:
    """Return the name of the bridge by which a machine is itself what a physical network leads to."""
    return MACHINE_PREFIX + short(physical)


def owns_device(name: str, alias: str) -> bool:
    """Say whether a device is Floe's."""
    return alias.startswith(OWNER) or _OWN_NAME.fullmatch(name) is not None


def owns_namespace(name: str) -> bool:
    """Say whether a network namespace is Floe's."""
    return _OWN_NAMESPACE.fullmatch(name) is not None
