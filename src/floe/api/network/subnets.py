"""`/v2.0/subnets`."""

from __future__ import annotations

from typing import Any

from floe.api.kit.resource import Fields, Resource, Use, Wire, constant
from floe.api.network.attributes import DESCRIPTION, ID, NAME, OWNER, REVISED, TAGS
from floe.api.network.converters import flag, ident, listed, number, one_of, pair, text
from floe.api.network.dialect import NEUTRON
from floe.cloud import subnets
from floe.core.addresses import text_of
from floe.core.errors import Invalid
from floe.core.subnets import Subnet

_VERSION = 4
_ADDRESS = text(64)
_MODES = one_of("dhcpv6-stateful", "dhcpv6-stateless", "slaac", None)


def ip_version(value: int, name: str) -> int:
    """Read a version of IP."""
    if one_of(4, 6)(value, name) != _VERSION:
        raise Invalid(f"Invalid input for {name}: {value} is not supported; only IPv4 ({_VERSION}) is.")
    return value


def _gateway(value: Any, name: str) -> str | None:
    return None if value is None else _ADDRESS(value, name)


def _none(value: Any, name: str) -> None:
    if value is not None:
        raise Invalid(f"Invalid input for {name}: it is not supported; leave it out, or null.")


def _mode(value: Any, name: str) -> None:
    return _none(_MODES(value, name), name)


def _pool(value: Any, name: str) -> str | None:
    return None if value is None else ident(value, name)


SUBNET: Resource[Subnet] = Resource(
    name="subnet",
    plural="subnets",
    dialect=NEUTRON,
    fields=Fields(
        ID,
        NAME,
        DESCRIPTION,
        *OWNER,
        Wire("network_id", use=Use.CREATE | Use.LIST, check=ident, required=True),
        constant("ip_version", _VERSION, Use.CREATE | Use.LIST, convert=number, check=ip_version, required=True),
        Wire("cidr", use=Use.CREATE | Use.LIST, check=_ADDRESS),
        Wire("gateway_ip", "gateway", Use.ALL, check=_gateway),
        Wire("enable_dhcp", "dhcp", Use.ALL, flag),
        Wire(
            "allocation_pools", "pools", Use.WRITE, check=listed(pair("start", "end"), distinct=False),
            shown=lambda s: [{"start": text_of(a), "end": text_of(b)} for a, b in s.pools],
        ),
        Wire("dns_nameservers", "nameservers", Use.WRITE, check=listed(_ADDRESS)),
        Wire(
            "host_routes", "routes", Use.WRITE, check=listed(pair("destination", "nexthop")),
            shown=lambda s: [{"destination": to, "nexthop": hop} for to, hop in s.routes],
        ),
        constant("ipv6_ra_mode", None, Use.CREATE | Use.LIST, check=_mode),
        constant("ipv6_address_mode", None, Use.CREATE | Use.LIST, check=_mode),
        Wire("subnetpool_id", "pool_id", Use.CREATE | Use.LIST, check=_pool),
        Wire("prefixlen", "length", Use.CREATE, number, shown=False),
        Wire("use_default_subnetpool", "default_pool", Use.CREATE, flag, shown=False),
        Wire("service_types", use=Use.WRITE, check=listed(text(255))),
        Wire("shared", use=Use.FILTER, convert=flag, shown=False),
        TAGS,
        *REVISED,
    ),
    create=subnets.create,
    find=subnets.find,
    show=subnets.show,
    update=subnets.update,
    delete=subnets.delete,
    retag=subnets.retag,
)  # fmt: skip
