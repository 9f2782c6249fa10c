"""/resource_providers: each host is one, a tree of its own."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from floe.api.kit.call import Call, Reply
from floe.api.kit.encoding import Members
from floe.api.kit.policy import admin_or_service
from floe.api.kit.query import OPEN_QUERY, Param
from floe.api.kit.routing import Route
from floe.api.kit.shape import Shape, Shown
from floe.api.placement.query import in_aggregates, resources, table, traits, uuid
from floe.cloud import providers as cloud
from floe.cloud.providers import ProviderQuery
from floe.core.errors import NotFound
from floe.core.hosts import Host
from floe.core.resources import Inventory

_LINKS = (
    ("", "self", (1, 0)),
    ("/inventories", "inventories", (1, 0)),
    ("/usages", "usages", (1, 0)),
    ("/aggregates", "aggregates", (1, 1)),
    ("/traits", "traits", (1, 6)),
    ("/allocations", "allocations", (1, 11)),
)
_QUERY = table(
    Param("name", many=True),
    Param("uuid", many=True, check=uuid),
    Param("member_of", since=(1, 3), until=(1, 23)),
    Param("member_of", since=(1, 24), many=True),
    Param("resources", since=(1, 4), many=True),
    Param("in_tree", since=(1, 14), many=True, check=uuid),
    Param("required", since=(1, 18), many=True),
)

SHAPE: Shape[Host] = Shape(
    (
        Shown("uuid", lambda h: h.id),
        Shown("name", lambda h: h.name),
        Shown("generation", lambda h: h.generation),
        Shown("parent_provider_uuid", lambda _h: None, since=(1, 14)),
        Shown("root_provider_uuid", lambda h: h.id, since=(1, 14)),
    )
)


async def index(call: Call) -> Reply:
    """GET: those that fit all filters."""
    wanted, unwanted = in_aggregates(call, call.many("member_of"))
    query = traits(call, call.many("required"))
    ids = [uuid(value, name) for name in ("uuid", "in_tree") for value in call.many(name)]
    text = call.one("resources")
    query = replace(
        query,
        name=call.one("name"),
        ids=frozenset(ids) if len(set(ids)) == 1 else frozenset() if ids else None,
        resources=resources(text) if text is not None else {},
        member_of=wanted,
        not_member_of=unwanted,
    )
    if query.name is not None and query.ids is not None:
        query = (
            replace(query, ids=None) if cloud.provider_id(query.name) in query.ids else ProviderQuery(ids=frozenset())
        )
    found = await cloud.find(call.cloud, query)
    return Reply(200, {"resource_providers": (_provider(call, host) for host in found)})


async def show(call: Call) -> Reply:
    """GET {uuid}."""
    return Reply(200, _provider(call, await _host(call)))


async def inventories(call: Call) -> Reply:
    """GET {uuid}/inventories."""
    host = await _host(call)
    shown = {each.resource_class: _inventory(each) for each in host.inventories}
    return Reply(200, {"resource_provider_generation": host.generation, "inventories": shown})


async def inventory(call: Call) -> Reply:
    """GET {uuid}/inventories/{resource_class}."""
    host, name = await _host(call), call.params["resource_class"]
    for each in host.inventories:
        if each.resource_class == name:
            return Reply(200, {"resource_provider_generation": host.generation, **_inventory(each)})
    raise NotFound("inventory", name, message=f"No inventory of class {name} for {host.id}")


async def usages(call: Call) -> Reply:
    """GET {uuid}/usages."""
    host = await _host(call)
    taken = host.used.by_class()
    shown = {each.resource_class: taken.get(each.resource_class, 0) for each in host.inventories}
    return Reply(200, {"resource_provider_generation": host.generation, "usages": shown})


async def allocations(call: Call) -> Reply:
    """GET {uuid}/allocations."""
    host = await _host(call)
    consumer = {"consumer_generation": 1} if call.version >= (1, 28) else {}
    found = await cloud.allocations_of_host(call.cloud, host.name)
    shown = Members((each.server_id, {"resources": each.resources.by_class(), **consumer}) for each in found)
    return Reply(200, {"resource_provider_generation": host.generation, "allocations": shown})


async def aggregates(call: Call) -> Reply:
    """GET {uuid}/aggregates."""
    host = await _host(call)
    body: dict[str, Any] = {"aggregates": await cloud.aggregates_of(call.cloud, host)}
    if call.version >= (1, 19):
        body["resource_provider_generation"] = host.generation
    return Reply(200, body)


async def show_traits(call: Call) -> Reply:
    """GET {uuid}/traits."""
    host = await _host(call)
    return Reply(200, {"traits": list(host.traits), "resource_provider_generation": host.generation})


async def _host(call: Call) -> Host:
    return await cloud.get(call.cloud, call.params["uuid"])


def _provider(call: Call, host: Host) -> dict[str, Any]:
    path = call.url(f"/resource_providers/{host.id}")
    links = [{"rel": rel, "href": path + end} for end, rel, since in _LINKS if call.version >= since]
    return {**SHAPE.show(host, call.version), "links": links}


def _inventory(each: Inventory) -> dict[str, Any]:
    return {
        "total": each.total,
        "reserved": each.reserved,
        "min_unit": each.min_unit,
        "max_unit": each.max_unit,
        "step_size": each.step_size,
        "allocation_ratio": each.allocation_ratio,
    }


_P, _R = "/resource_providers/{uuid}", "placement:resource_providers:"

ROUTES = (
    Route("GET", "/resource_providers", index, _R + "list", query=_QUERY),
    Route("GET", _P, show, _R + "show", query=OPEN_QUERY),
    Route("GET", f"{_P}/inventories", inventories, _R + "inventories:list", query=OPEN_QUERY),
    Route("GET", f"{_P}/inventories/{{resource_class}}", inventory, _R + "inventories:show", query=OPEN_QUERY),
    Route("GET", f"{_P}/usages", usages, _R + "usages", query=OPEN_QUERY),
    Route("GET", f"{_P}/aggregates", aggregates, _R + "aggregates:list", since=(1, 1), query=OPEN_QUERY),
    Route("GET", f"{_P}/traits", show_traits, _R + "traits:list", since=(1, 6), query=OPEN_QUERY),
    Route("GET", f"{_P}/allocations", allocations, _R + "allocations:list", query=OPEN_QUERY),
)
POLICIES = {route.policy: admin_or_service for route in ROUTES}
