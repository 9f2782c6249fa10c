"""`/v2.0/floatingips`."""

from __future__ import annotations

from typing import Any

from floe.api.kit.resource import Fields, Resource, Use, Wire, constant
from floe.api.network.attributes import DESCRIPTION, ID, OWNER, REVISED, TAGS
from floe.api.network.converters import address, ident, lowered, malformed
from floe.api.network.dialect import NEUTRON
from floe.api.network.port_forwardings import exposed
from floe.cloud import floating_ips
from floe.core.floating_ips import FloatingIP


def _ident(value: Any, name: str) -> str | None:
    return None if value is None else ident(value, name)


def _unnamed(value: str, name: str) -> str:
    """Take no name: Neutron forgets it where there is no DNS service outside, and nobody would answer by it."""
    if value:
        raise malformed(
            f"Invalid input for {name}: floating IPs have no names, as there is no DNS service outside; leave it out"
            " (it is given to ports)."
        )
    return value


def _port_details(floating: FloatingIP) -> dict[str, Any] | None:
    port = floating.port
    if port is None:
        return None
    return {
        "name": port.name,
        "network_id": port.network_id,
        "mac_address": port.mac,
        "admin_state_up": port.up,
        "status": port.status,
        "device_id": port.device_id,
        "device_owner": port.device_owner,
    }


FLOATING_IP: Resource[FloatingIP] = Resource(
    name="floatingip",
    plural="floatingips",
    dialect=NEUTRON,
    fields=Fields(
        ID,
        DESCRIPTION,
        *OWNER,
        Wire("floating_network_id", "network_id", Use.CREATE | Use.LIST, check=ident, required=True),
        Wire("floating_ip_address", "address", Use.CREATE | Use.LIST, check=address),
        Wire("subnet_id", use=Use.CREATE, check=_ident, shown=False),
        Wire("port_id", use=Use.WRITE | Use.FILTER, check=_ident),
        Wire("fixed_ip_address", "fixed_address", Use.ALL, check=address),
        Wire("router_id", use=Use.LIST),
        Wire("status", use=Use.LIST),
        constant("dns_name", "", Use.CREATE, convert=lowered, check=_unnamed),
        constant("dns_domain", "", Use.CREATE, convert=lowered, check=_unnamed),
        Wire("port_details", shown=_port_details),
        Wire("port_forwardings", shown=lambda floating: list(map(exposed, floating.forwardings))),
        TAGS,
        *REVISED,
    ),
    create=floating_ips.create,
    find=floating_ips.find,
    show=floating_ips.show,
    update=floating_ips.update,
    delete=floating_ips.delete,
    retag=floating_ips.retag,
)
