"""`/v2.0/subnets`."""

from __future__ import annotations

from typing import Any

from floe.api.kit import policy
from floe.api.kit.body import Body, Description, Field, LooseName
from floe.api.kit.call import Call, Reply
from floe.api.kit.routing import Route
from floe.api.kit.shape import Shape, Shown
from floe.api.network.lists import (
    Filters,
    ProjectId,
    chosen,
    common,
    create_reply,
    created,
    flag,
    list_reply,
    listing_of,
    moment,
    renamed,
)
from floe.api.network.rules import writer
from floe.cloud import subnets
from floe.core.addresses import text_of
from floe.core.errors import Invalid
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
        Field("project_id", ProjectId),
        Field("tenant_id", ProjectId),
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
        Shown("project_id", lambda s: s.project_id),
        Shown("tenant_id", lambda s: s.project_id),
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
        Shown("created_at", lambda s: moment(s.created_at)),
        Shown("updated_at", lambda s: moment(s.updated_at)),
        Shown("revision_number", lambda s: s.revision),
    )
)

FILTERS: Filters = {
    **common("network_id", "cidr"),
    "gateway_ip": ("gateway", str),
    "enable_dhcp": ("dhcp", flag),
    "shared": ("shared", flag),
}
_VERSION = frozenset({"ip_version"})


async def create(call: Call) -> Reply:
    """Make one subnet or several."""
    sent, bulk = await created(call, CREATE, "subnets")
    made = await subnets.create(call.cloud, call.context, [_read(item) for item in sent])
    return create_reply([SHAPE.show(subnet) for subnet in made], "subnet", "subnets", bulk)


async def index(call: Call) -> Reply:
    """List subnets. All are of IP version 4."""
    listing = listing_of(call, FILTERS, besides=_VERSION)
    versions = call.many("ip_version")
    if versions and not any(int(text) == 4 for text in versions if text.isdecimal()):
        return list_reply(call, "subnets", [], listing)
    found = await subnets.find(call.cloud, call.context, listing)
    return list_reply(call, "subnets", [SHAPE.show(subnet) for subnet in found], listing)


async def show(call: Call) -> Reply:
    """Show a subnet."""
    subnet = await subnets.show(call.cloud, call.context, call.params["subnet_id"])
    return Reply(body={"subnet": chosen(call, SHAPE.show(subnet))})


async def update(call: Call) -> Reply:
    """Change a subnet."""
    asked = _read(UPDATE.read(await call.raw()))
    subnet = await subnets.update(call.cloud, call.context, call.params["subnet_id"], asked)
    return Reply(body={"subnet": SHAPE.show(subnet)})


async def delete(call: Call) -> Reply:
    """Remove a subnet."""
    await subnets.delete(call.cloud, call.context, call.params["subnet_id"])
    return Reply(204)


def _read(sent: dict[str, Any]) -> dict[str, Any]:
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


_ONE = "/v2.0/subnets/{subnet_id}"
ROUTES = (
    Route("GET", "/v2.0/subnets", index, "get_subnet"),
    Route("POST", "/v2.0/subnets", create, "create_subnet"),
    Route("GET", _ONE, show, "get_subnet"),
    Route("PUT", _ONE, update, "update_subnet"),
    Route("DELETE", _ONE, delete, "delete_subnet"),
)
POLICIES: policy.Policies = {
    "get_subnet": policy.project_reader,
    "create_subnet": writer,
    "update_subnet": writer,
    "delete_subnet": writer,
}
