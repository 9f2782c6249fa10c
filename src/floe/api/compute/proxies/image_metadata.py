"""/images/{image_id}/metadata: the properties of an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace as changed

from floe.api.compute.proxies.images import of_path
from floe.api.compute.proxies.window import UNTIL_OF_IMAGE_METADATA as UNTIL
from floe.api.kit.body import Body, Field, Metadata
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import project_member, project_reader
from floe.api.kit.query import OPEN_QUERY
from floe.api.kit.routing import Route
from floe.cloud import compute_quotas, images
from floe.core.errors import Invalid, NotFound, OverQuota
from floe.core.images import Image

_ALL_ITEMS = Body(None, (Field("metadata", Metadata, required=True),))
_ONE_ITEM = Body(None, (Field("meta", Metadata, required=True),))
_LIMIT = "metadata_items"
Items = Mapping[str, str]


async def index(call: Call) -> Reply:
    """GET: all items."""
    return Reply(200, {"metadata": dict((await of_path(call)).properties)})


async def show(call: Call) -> Reply:
    """GET {key}: one item."""
    key, items = call.params["key"], (await of_path(call)).properties
    if key not in items:
        raise _no_item(key)
    return Reply(200, {"meta": {key: items[key]}})


async def merge(call: Call) -> Reply:
    """POST: add and replace items."""
    items = _ALL_ITEMS.read(await call.raw(), call.version)["metadata"]
    return Reply(200, {"metadata": await _change(call, lambda there: {**there, **items})})


async def replace(call: Call) -> Reply:
    """PUT: make these all the items."""
    items = _ALL_ITEMS.read(await call.raw(), call.version)["metadata"]
    return Reply(200, {"metadata": await _change(call, lambda _there: items)})


async def put(call: Call) -> Reply:
    """PUT {key}: one item."""
    key, items = call.params["key"], _ONE_ITEM.read(await call.raw(), call.version)["meta"]
    if list(items) != [key]:
        raise Invalid(f"Request body and URI mismatch: meta must have the one key {key!r} (it has {list(items)!r}).")
    await _change(call, lambda there: {**there, **items})
    return Reply(200, {"meta": items})


async def delete(call: Call) -> Reply:
    """DELETE {key}."""
    key = call.params["key"]

    def without(there: Items) -> Items:
        if key not in there:
            raise _no_item(key)
        return {name: value for name, value in there.items() if name != key}

    await _change(call, without)
    return Reply(204)


async def _change(call: Call, change: Callable[[Items], Items]) -> dict[str, str]:
    """Give an image other properties; return them all. Raises OverQuota for more than servers may have items."""
    image = await of_path(call)
    most = (await compute_quotas.usage(call.cloud, call.context.project_id or "")).limits[_LIMIT]

    def edit(old: Image) -> Image:
        items = dict(change(old.properties))
        if len(items) > len(old.properties) and 0 <= most < len(items):
            raise OverQuota(f"Image metadata limit exceeded: {len(items)} items, and {most} are the most.")
        return changed(old, properties=items)

    return dict((await images.update(call.cloud, call.context, image.id, edit)).properties)


def _no_item(key: str) -> NotFound:
    return NotFound("metadata item", key, message=f"Invalid metadata key: the image has no {key[:80]!r}.")


_ALL = "/v2.1/images/{image_id}/metadata"
_ONE = _ALL + "/{key}"
_RULE = "os_compute_api:image-metadata"

ROUTES = (
    Route("GET", _ALL, index, f"{_RULE}:index", until=UNTIL, query=OPEN_QUERY),
    Route("POST", _ALL, merge, f"{_RULE}:create", until=UNTIL),
    Route("PUT", _ALL, replace, f"{_RULE}:update_all", until=UNTIL),
    Route("GET", _ONE, show, f"{_RULE}:show", until=UNTIL, query=OPEN_QUERY),
    Route("PUT", _ONE, put, f"{_RULE}:update", until=UNTIL),
    Route("DELETE", _ONE, delete, f"{_RULE}:delete", until=UNTIL),
)

POLICIES = {
    f"{_RULE}:index": project_reader,
    f"{_RULE}:show": project_reader,
    **dict.fromkeys((f"{_RULE}:{what}" for what in ("create", "update_all", "update", "delete")), project_member),
}
