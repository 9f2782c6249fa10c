"""/servers/{server_id}/os-volume_attachments: a server has none while there are no volumes."""

from __future__ import annotations

from floe.api.kit.call import Call, Reply
from floe.api.kit.paging import window
from floe.api.kit.policy import project_reader
from floe.api.kit.query import OPEN_QUERY, Query
from floe.api.kit.routing import Route
from floe.cloud import servers
from floe.core.errors import NotFound


async def index(call: Call) -> Reply:
    """GET."""
    await servers.find(call.cloud, call.context, call.params["server_id"])
    return Reply(200, {"volumeAttachments": []})


async def show(call: Call) -> Reply:
    """GET {volume_id}."""
    server_id, ident = call.params["server_id"], call.params["volume_id"]
    await servers.find(call.cloud, call.context, server_id)
    raise NotFound("volume", ident, message=f"Server {server_id} has no volume {ident}.")


_LIST, _SHOW = "os_compute_api:os-volumes-attachments:index", "os_compute_api:os-volumes-attachments:show"
_PATH = "/v2.1/servers/{server_id}/os-volume_attachments"

ROUTES = (
    Route("GET", _PATH, index, _LIST, query=Query(*window(), closed=(2, 75))),
    Route("GET", _PATH + "/{volume_id}", show, _SHOW, query=OPEN_QUERY),
)

POLICIES = {_LIST: project_reader, _SHOW: project_reader}
