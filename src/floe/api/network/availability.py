"""`/v2.0/network-ip-availabilities`."""

from __future__ import annotations

from typing import Any

from floe.api.kit import policy
from floe.api.kit.call import Call, Reply
from floe.api.kit.routing import Route
from floe.api.network.lists import Filters, chosen, listing_of
from floe.cloud import address_use
from floe.cloud.address_use import AddressUse
from floe.core.errors import Invalid
from floe.core.listing import Listing

FILTERS: Filters = {
    "network_id": ("id", str),
    "network_name": ("name", str),
    "project_id": ("project_id", str),
    "tenant_id": ("project_id", str),
}
_VERSION = frozenset({"ip_version"})


async def index(call: Call) -> Reply:
    """List the use of addresses by network. All addresses are of IP version 4."""
    listing = listing_of(call, FILTERS, besides=_VERSION)
    if listing.limit is not None or listing.marker is not None or listing.sort:
        raise Invalid("Invalid input for limit, marker and sort_key: this list comes whole and in no order.")
    versions = call.many("ip_version")
    found: list[AddressUse] = []
    if not versions or "4" in versions:
        found = await address_use.find(call.cloud, call.context, Listing(filters=listing.filters))
    return Reply(body={"network_ip_availabilities": [chosen(call, _show(use)) for use in found]})


async def show(call: Call) -> Reply:
    """Show the use of one network's addresses."""
    use = await address_use.show(call.cloud, call.context, call.params["network_id"])
    return Reply(body={"network_ip_availability": chosen(call, _show(use))})


def _show(use: AddressUse) -> dict[str, Any]:
    return {
        "network_id": use.network.id,
        "network_name": use.network.name,
        "project_id": use.network.project_id,
        "tenant_id": use.network.project_id,
        "total_ips": use.total,
        "used_ips": use.used,
        "subnet_ip_availability": [
            {
                "subnet_id": subnet.id,
                "subnet_name": subnet.name,
                "cidr": subnet.cidr,
                "ip_version": 4,
                "total_ips": total,
                "used_ips": used,
            }
            for subnet, total, used in use.subnets
        ],
    }


_ALL = "/v2.0/network-ip-availabilities"
ROUTES = (
    Route("GET", _ALL, index, "get_network_ip_availability"),
    Route("GET", _ALL + "/{network_id}", show, "get_network_ip_availability"),
)
POLICIES: policy.Policies = {"get_network_ip_availability": policy.admin}
