"""/servers/{server_id}/tags, since 2.26."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from floe.api.compute.server_bodies import Tag
from floe.api.kit.body import Body, Field
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import project_member, project_reader
from floe.api.kit.query import OPEN_QUERY
from floe.api.kit.routing import Route
from floe.cloud import server_tags as cloud
from floe.core.errors import Invalid, NotFound

_ALL = Body(None, (Field("tags", Annotated[list[Tag], Meta(max_length=cloud.MAX_TAGS)], required=True),))
SINCE = (2, 26)


async def index(call: Call) -> Reply:
    """GET: all tags."""
    return Reply(200, {"tags": await cloud.get(call.cloud, call.context, call.params["server_id"])})


async def replace(call: Call) -> Reply:
    """PUT: make these all the tags."""
    tags = _ALL.read(await call.raw(), call.version)["tags"]
    return Reply(200, {"tags": await cloud.replace(call.cloud, call.context, call.params["server_id"], tags)})


async def clear(call: Call) -> Reply:
    """DELETE: have no tags."""
    await cloud.replace(call.cloud, call.context, call.params["server_id"], ())
    return Reply(204)


async def show(call: Call) -> Reply:
    """GET {tag}: is it there?"""
    server_id, tag = call.params["server_id"], call.params["tag"]
    if tag not in await cloud.get(call.cloud, call.context, server_id):
        raise NotFound("tag", tag, message=f"Server {server_id} has no tag {tag!r}.")
    return Reply(204)


async def put(call: Call) -> Reply:
    """PUT {tag}."""
    server_id, tag = call.params["server_id"], call.params["tag"]
    try:
        msgspec.convert(tag, Tag)
    except msgspec.ValidationError as error:
        raise Invalid(f"Invalid input for tag {tag[:80]!r}: {error}.") from error
    if not await cloud.add(call.cloud, call.context, server_id, tag):
        return Reply(204)
    return Reply(201, None, {"location": call.url(f"/v2.1/servers/{server_id}/tags/{tag}")})


async def delete(call: Call) -> Reply:
    """DELETE {tag}."""
    await cloud.delete(call.cloud, call.context, call.params["server_id"], call.params["tag"])
    return Reply(204)


_PATH = "/v2.1/servers/{server_id}/tags"

ROUTES = (
    Route("GET", _PATH, index, "os_compute_api:os-server-tags:index", since=SINCE, query=OPEN_QUERY),
    Route("PUT", _PATH, replace, "os_compute_api:os-server-tags:update_all", since=SINCE),
    Route("DELETE", _PATH, clear, "os_compute_api:os-server-tags:delete_all", since=SINCE),
    Route("GET", _PATH + "/{tag}", show, "os_compute_api:os-server-tags:show", since=SINCE, query=OPEN_QUERY),
    Route("PUT", _PATH + "/{tag}", put, "os_compute_api:os-server-tags:update", since=SINCE),
    Route("DELETE", _PATH + "/{tag}", delete, "os_compute_api:os-server-tags:delete", since=SINCE),
)

POLICIES = {
    "os_compute_api:os-server-tags:index": project_reader,
    "os_compute_api:os-server-tags:show": project_reader,
    "os_compute_api:os-server-tags:update_all": project_member,
    "os_compute_api:os-server-tags:update": project_member,
    "os_compute_api:os-server-tags:delete_all": project_member,
    "os_compute_api:os-server-tags:delete": project_member,
}
