"""`/v2.0/service-providers`: who gives what is more than networks; clients ask it whether there are VPNs."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from floe.api.kit import policy
from floe.api.kit.call import Call, Reply
from floe.api.kit.resource import Fields, Use, Wire
from floe.api.kit.routing import Route
from floe.api.network.converters import flag
from floe.api.network.lists import cut, list_reply, listing_of, narrowed

PROVIDER: Fields[Any] = Fields(
    Wire("service_type", use=Use.LIST), Wire("name", use=Use.LIST), Wire("default", use=Use.LIST, convert=flag)
)
_ALL: tuple[dict[str, Any], ...] = ({"service_type": "L3_ROUTER_NAT", "name": "single_node", "default": True},)
"""A router that is no `dvr` and no `ha` one, by Neutron's name for that."""


async def index(call: Call) -> Reply:
    """List them; nothing of them can be chosen."""
    listing = listing_of(call, PROVIDER)
    found = [] if listing is None else narrowed(_ALL, listing, ident="name")
    return list_reply(
        call,
        "service_providers",
        found,
        lambda things, names: (cut(thing, names) for thing in things),
        listing,
        ident=itemgetter("name"),
    )


ROUTES = (Route("GET", "/v2.0/service-providers", index, "get_service_provider"),)
POLICIES: policy.Policies = {"get_service_provider": policy.authenticated}
