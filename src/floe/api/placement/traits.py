"""/traits and /resource_classes: what hosts can have."""

from __future__ import annotations

from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import admin_or_service
from floe.api.kit.query import OPEN_QUERY, Param, items, shaped
from floe.api.kit.routing import Route
from floe.api.placement.query import table
from floe.cloud import providers as cloud
from floe.core.errors import Invalid, NotFound
from floe.core.hosts import CLASSES


async def index(call: Call) -> Reply:
    """GET /traits: those that hosts have, by `name=in:A,B` or `name=startswith:A`."""
    found = await cloud.known_traits(call.cloud)
    name = call.one("name")
    if name is not None:
        how, _, what = name.partition(":")
        if how == "in":
            asked = frozenset(items(what, "name"))
            found = [trait for trait in found if trait in asked]
        elif how == "startswith":
            found = [trait for trait in found if trait.startswith(what)]
        else:
            raise Invalid(f"Badly formatted name parameter: expected in:A,B or startswith:A; got {name[:80]!r}.")
    unused = (call.one("associated") or "").lower() == "false"
    return Reply(200, {"traits": [] if unused else found})


async def show(call: Call) -> Reply:
    """GET /traits/{name}: 204 if a host has it."""
    if call.params["name"] not in await cloud.known_traits(call.cloud):
        raise NotFound("trait", call.params["name"])
    return Reply(204)


async def classes(call: Call) -> Reply:
    """GET /resource_classes."""
    return Reply(200, {"resource_classes": [_class(call, name) for name in CLASSES]})


async def show_class(call: Call) -> Reply:
    """GET /resource_classes/{name}."""
    name = call.params["name"]
    if name not in CLASSES:
        raise NotFound("resource class", name, message=f"No such resource class {name}.")
    return Reply(200, _class(call, name))


def _class(call: Call, name: str) -> dict[str, object]:
    return {"name": name, "links": [{"rel": "self", "href": call.url(f"/resource_classes/{name}")}]}


_TRAITS = table(
    Param("name", many=True), Param("associated", many=True, check=shaped("(?i:true|false)", "'true' or 'false'"))
)
_CLASSES = "/resource_classes"

ROUTES = (
    Route("GET", "/traits", index, "placement:traits:list", since=(1, 6), query=_TRAITS),
    Route("GET", "/traits/{name}", show, "placement:traits:show", since=(1, 6), query=OPEN_QUERY),
    Route("GET", _CLASSES, classes, "placement:resource_classes:list", since=(1, 2), query=OPEN_QUERY),
    Route("GET", _CLASSES + "/{name}", show_class, "placement:resource_classes:show", since=(1, 2), query=OPEN_QUERY),
)
POLICIES = {route.policy: admin_or_service for route in ROUTES}
