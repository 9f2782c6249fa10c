"""`/v2.0/network-ip-availabilities`."""

from __future__ import annotations

from typing import Any

from floe.api.kit import policy
from floe.api.kit.call import Call, Reply
from floe.api.kit.resource import Fields, Use, Wire
from floe.api.kit.routing import Route
from floe.api.network.converters import number
from floe.api.network.lists import chosen, listing_of
from floe.api.network.rules import admin
from floe.cloud import address_use
from floe.cloud.address_use import AddressUse
from floe.core.errors import Invalid, NotFound
from floe.core.listing import Listing
from floe.core.subnets import Subnet

ADDRESS_USE: Fields[AddressUse] = Fields(
    Wire("network_id", "id", Use.FILTER, shown=lambda use: use.network.id),
    Wire("network_name", "name", Use.FILTER, shown=lambda use: use.network.name),
    Wire("project_id", use=Use.FILTER, shown=lambda use: use.network.project_id),
    Wire("tenant_id", "project_id", Use.FILTER, shown=lambda use: use.network.project_id),
    Wire("total_ips", "total"),
    Wire("used_ips", "used"),
    Wire("subnet_ip_availability", shown=lambda use: [_subnet(*each) for each in use.subnets]),
    Wire("ip_version", None, Use.FILTER, number, shown=False, constant=4),
)


async def index(call: Call) -> Reply:
    """List the use of addresses by network; to those who may not see it, there is none."""
    listing = listing_of(call, ADDRESS_USE)
    if listing is None or not admin(call.context):
        return Reply(body={"network_ip_availabilities": []})
    if call.one("limit") not in {None, "0"} or listing.marker is not None or listing.sort:
        raise Invalid("Invalid input for limit, marker and sort_key: this list comes whole and in no order.")
    found = await address_use.find(call.cloud, call.context, Listing(filters=listing.filters))
    shown = (chosen(call, ADDRESS_USE.shape.show(use)) for use in found)
    return Reply(body={"network_ip_availabilities": shown})


async def show(call: Call) -> Reply:
    """Show the use of one network's addresses."""
    if not admin(call.context):
        raise NotFound("network", call.params["network_id"])
    use = await address_use.show(call.cloud, call.context, call.params["network_id"])
    return Reply(body={"network_ip_availability": chosen(call, ADDRESS_USE.shape.show(use))})


def _subnet(subnet: Subnet, total: int, used: int) -> dict[str, Any]:
    return {
        "subnet_id": subnet.id,
        "subnet_name": subnet.name,
        "cidr": subnet.cidr,
        "ip_version": 4,
        "total_ips": total,
        "used_ips": used,
    }


_ALL = "/v2.0/network-ip-availabilities"
ROUTES = (
    Route("GET", _ALL, index, "get_network_ip_availability"),
    Route("GET", _ALL + "/{network_id}", show, "get_network_ip_availability"),
)
POLICIES: policy.Policies = {"get_network_ip_availability": policy.authenticated}
