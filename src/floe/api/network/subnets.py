"""`/v2.0/subnets`."""

from __future__ import annotations

from typing import Any

from floe.api.kit.body import Body, Description, Field, LooseName
from floe.api.kit.call import Call
from floe.api.kit.shape import Shape, Shown
from floe.api.network.lists import Filters, common, flag
from floe.api.network.nouns import OWNER, SHOWN_OWNER, SHOWN_REVISION, Change, Noun, policies, renamed, routes
from floe.cloud import subnets
from floe.core.addresses import text_of
from floe.core.context import Context
from floe.core.errors import Invalid
from floe.core.listing import Listing
from floe.core.subnets import Subnet

_Objects = list[dict[str, str]] | None
_COMMON = (
    Field("name", LooseName),
    Field("description", Description),
    Field("gateway_ip", str | None),
    Field("enable_dhcp", bool),
    Field("allocation_pools", _Objects),
    Field("dns_nameservers", list[str] | None),
    Field("host_routes", _Objects),
)
CREATE = Body(
    "subnet",
    (
        *_COMMON,
        Field("network_id", str, required=True),
        Field("cidr", str, required=True),
        Field("ip_version", int),
        Field("ipv6_ra_mode", None),
        Field("ipv6_address_mode", None),
        Field("subnetpool_id", None),
        *OWNER,
    ),
)
UPDATE = Body("subnet", _COMMON)
_NAMES = {
    "name": "name",
    "description": "description",
    "network_id": "network_id",
    "cidr": "cidr",
    "gateway_ip": "gateway",
    "enable_dhcp": "dhcp",
    "dns_nameservers": "nameservers",
}

SHAPE: Shape[Subnet] = Shape(
    (
        Shown("id", lambda s: s.id),
        Shown("name", lambda s: s.name),
        Shown("description", lambda s: s.description),
        *SHOWN_OWNER,
        Shown("network_id", lambda s: s.network_id),
        Shown("ip_version", lambda _: 4),
        Shown("cidr", lambda s: s.cidr),
        Shown("gateway_ip", lambda s: s.gateway),
        Shown("enable_dhcp", lambda s: s.dhcp),
        Shown("allocation_pools", lambda s: [{"start": text_of(a), "end": text_of(b)} for a, b in s.pools]),
        Shown("dns_nameservers", lambda s: s.nameservers),
        Shown("host_routes", lambda s: [{"destination": to, "nexthop": hop} for to, hop in s.routes]),
        Shown("ipv6_ra_mode", lambda _: None),
        Shown("ipv6_address_mode", lambda _: None),
        Shown("subnetpool_id", lambda _: None),
        *SHOWN_REVISION,
    )
)

FILTERS: Filters = {
    **common("network_id", "cidr"),
    "gateway_ip": ("gateway", str),
    "enable_dhcp": ("dhcp", flag),
    "shared": ("shared", flag),
}


def _read(sent: dict[str, Any], _context: Context) -> dict[str, Any]:
    if sent.get("ip_version", 4) != 4:
        raise Invalid(f"Invalid input for ip_version: {sent['ip_version']} is not supported; only IPv4 (4) is.")
    asked = renamed(sent, _NAMES)
    if "allocation_pools" in sent:
        asked["pools"] = _pairs(sent["allocation_pools"], "allocation_pools", "start", "end")
    if "host_routes" in sent:
        asked["routes"] = _pairs(sent["host_routes"], "host_routes", "destination", "nexthop")
    return asked


def _pairs(items: list[dict[str, str]] | None, field: str, first: str, second: str) -> list[tuple[str, str]]:
    found = []
    for item in items or ():
        if set(item) != {first, second}:
            raise Invalid(f"Invalid input for {field}: each item needs {first} and {second}, and nothing else.")
        found.append((item[first], item[second]))
    return found


async def _find(call: Call, listing: Listing) -> list[Subnet]:
    """Find subnets. All are of IP version 4."""
    versions = call.many("ip_version")
    if versions and "4" not in versions:
        return []
    return await subnets.find(call.cloud, call.context, listing)


SUBNET = Noun(
    name="subnet",
    plural="subnets",
    shape=SHAPE,
    body=CREATE,
    read=_read,
    create=subnets.create,
    filters=FILTERS,
    besides=frozenset({"ip_version"}),
    find=_find,
    show=subnets.show,
    change=Change(body=UPDATE, apply=subnets.update),
    delete=subnets.delete,
)
ROUTES = routes(SUBNET)
POLICIES = policies(SUBNET)
