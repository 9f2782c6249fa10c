"""`/v2.0/subnets`."""

from __future__ import annotations

from typing import Any

from floe.api.kit.call import Call
from floe.api.network.attributes import DESCRIPTION, ID, NAME, OWNER, REVISED, Attribute, Attributes, Use, fixed
from floe.api.network.converters import flag, ident, listed, number, one_of, pair, text
from floe.api.network.nouns import Noun, policies, routes
from floe.cloud import subnets
from floe.core.addresses import text_of
from floe.core.context import Context
from floe.core.errors import Invalid
from floe.core.listing import Listing
from floe.core.subnets import Subnet

_VERSION = 4
_ADDRESS = text(64)
_MODES = one_of("dhcpv6-stateful", "dhcpv6-stateless", "slaac", None)


def _version(value: int, name: str) -> int:
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


def _prefix(_value: int, name: str) -> int:
    raise Invalid(f"Invalid input for {name}: there are no subnet pools to take a prefix from; name a cidr.")


ATTRIBUTES: Attributes[Subnet] = Attributes(
    ID,
    NAME,
    DESCRIPTION,
    *OWNER,
    Attribute("network_id", "network_id", lambda s: s.network_id, Use.CREATE | Use.LIST, check=ident, required=True),
    Attribute(
        "ip_version", "", lambda _: _VERSION, Use.CREATE | Use.LIST, number, _version, required=True, constant=_VERSION
    ),
    Attribute("cidr", "cidr", lambda s: s.cidr, Use.CREATE | Use.LIST, check=_ADDRESS, required=True),
    Attribute("gateway_ip", "gateway", lambda s: s.gateway, Use.ALL, check=_gateway),
    Attribute("enable_dhcp", "dhcp", lambda s: s.dhcp, Use.ALL, flag),
    Attribute(
        "allocation_pools", "pools", lambda s: [{"start": text_of(a), "end": text_of(b)} for a, b in s.pools],
        Use.WRITE, check=listed(pair("start", "end")),
    ),
    Attribute("dns_nameservers", "nameservers", lambda s: s.nameservers, Use.WRITE, check=listed(_ADDRESS)),
    Attribute(
        "host_routes", "routes", lambda s: [{"destination": to, "nexthop": hop} for to, hop in s.routes], Use.WRITE,
        check=listed(pair("destination", "nexthop")),
    ),
    fixed("ipv6_ra_mode", None, Use.CREATE | Use.LIST, check=_mode),
    fixed("ipv6_address_mode", None, Use.CREATE | Use.LIST, check=_mode),
    fixed("subnetpool_id", None, Use.CREATE | Use.LIST, check=_none),
    Attribute("prefixlen", use=Use.CREATE, convert=number, check=_prefix),
    Attribute("shared", "shared", use=Use.FILTER, convert=flag),
    *REVISED,
)  # fmt: skip


async def _find(call: Call, context: Context, listing: Listing) -> list[Subnet]:
    return await subnets.find(call.cloud, context, listing)


SUBNET: Noun[Any] = Noun(
    name="subnet",
    plural="subnets",
    attributes=ATTRIBUTES,
    create=subnets.create,
    find=_find,
    show=subnets.show,
    update=subnets.update,
    delete=subnets.delete,
)
ROUTES = routes(SUBNET)
POLICIES = policies(SUBNET)
