"""`/v2.0/floatingips`."""

from __future__ import annotations

from typing import Any

from floe.api.kit.resource import Fields, Resource, Use, Wire
from floe.api.network.attributes import DESCRIPTION, ID, OWNER, REVISED, TAGS
from floe.api.network.converters import ident, text
from floe.api.network.dialect import NEUTRON
from floe.cloud import floating_ips
from floe.core.addresses import number_of, text_of
from floe.core.floating_ips import FloatingIP

_TEXT = text(64)


def _address(value: Any, name: str) -> str | None:
    """Read an IPv4 address; null and the empty text are none."""
    return text_of(number_of(_TEXT(value, name), name)) if value not in {None, ""} else None


def _ident(value: Any, name: str) -> str | None:
    return None if value is None else ident(value, name)


FLOATING_IP: Resource[FloatingIP] = Resource(
    name="floatingip",
    plural="floatingips",
    dialect=NEUTRON,
    fields=Fields(
        ID,
        DESCRIPTION,
        *OWNER,
        Wire("floating_network_id", "network_id", Use.CREATE | Use.LIST, check=ident, required=True),
        Wire("floating_ip_address", "address", Use.CREATE | Use.LIST, check=_address),
        Wire("subnet_id", use=Use.CREATE, check=_ident, shown=False),
        Wire("port_id", use=Use.WRITE | Use.FILTER, check=_ident),
        Wire("fixed_ip_address", "fixed_address", Use.ALL, check=_address),
        Wire("router_id", use=Use.LIST),
        Wire("status", use=Use.LIST),
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
