"""/servers/{server_id}/metadata."""

from __future__ import annotations

from floe.api.compute.dialect import ONCE_OPEN
from floe.api.kit.body import Body, Field, Metadata
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import project_member, project_reader
from floe.api.kit.routing import Route
from floe.cloud import server_metadata as cloud
from floe.core.errors import Invalid

_ALL = Body(None, (Field("metadata", Metadata, required=True),))
_ONE = Body(None, (Field("meta", Metadata, required=True),))


async def index(call: Call) -> Reply:
    """GET: all items."""
    return Reply(200, {"metadata": await cloud.get(call.cloud, call.context, call.params["server_id"])})


async def show(call: Call) -> Reply:
    """GET {key}: one item."""
    key = call.params["key"]
    value = await cloud.item(call.cloud, call.context, call.params["server_id"], key)
    return Reply(200, {"meta": {key: value}})


async def merge(call: Call) -> Reply:
    """POST: add and replace items."""
    items = _ALL.read(await call.raw(), call.version)["metadata"]
    return Reply(200, {"metadata": await cloud.merge(call.cloud, call.context, call.params["server_id"], items)})


async def replace(call: Call) -> Reply:
    """PUT: make these all the items."""
    items = _ALL.read(await call.raw(), call.version)["metadata"]
    return Reply(200, {"metadata": await cloud.replace(call.cloud, call.context, call.params["server_id"], items)})


async def put(call: Call) -> Reply:
    """PUT {key}: one item."""
    key = call.params["key"]
    items = _ONE.read(await call.raw(), call.version)["meta"]
    if list(items) != [key]:
        raise Invalid(f"Request body and URI mismatch: meta must have the one key {key!r} (it has {list(items)!r}).")
    await cloud.merge(call.cloud, call.context, call.params["server_id"], items)
    return Reply(200, {"meta": items})


async def delete(call: Call) -> Reply:
    """DELETE {key}."""
    await cloud.delete(call.cloud, call.context, call.params["server_id"], call.params["key"])
    return Reply(204)


_PATH = "/v2.1/servers/{server_id}/metadata"

ROUTES = (
    Route("GET", _PATH, index, "os_compute_api:server-metadata:index", query=ONCE_OPEN),
    Route("POST", _PATH, merge, "os_compute_api:server-metadata:create"),
    Route("PUT", _PATH, replace, "os_compute_api:server-metadata:update_all"),
    Route("GET", _PATH + "/{key}", show, "os_compute_api:server-metadata:show", query=ONCE_OPEN),
    Route("PUT", _PATH + "/{key}", put, "os_compute_api:server-metadata:update"),
    Route("DELETE", _PATH + "/{key}", delete, "os_compute_api:server-metadata:delete"),
)

POLICIES = {
    "os_compute_api:server-metadata:index": project_reader,
    "os_compute_api:server-metadata:show": project_reader,
    "os_compute_api:server-metadata:create": project_member,
    "os_compute_api:server-metadata:update_all": project_member,
    "os_compute_api:server-metadata:update": project_member,
    "os_compute_api:server-metadata:delete": project_member,
}
