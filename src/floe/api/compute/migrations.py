"""/os-migrations and /servers/{server_id}/migrations: servers do not move here, so that nothing is ever in them."""

from __future__ import annotations

from floe.api.compute.dialect import ONCE_OPEN
from floe.api.kit.call import Call, Reply
from floe.api.kit.paging import window
from floe.api.kit.policy import admin, project_manager
from floe.api.kit.query import Param, Query
from floe.api.kit.routing import Route
from floe.api.kit.values import moment
from floe.cloud import servers
from floe.core.errors import Forbidden, Invalid, NotFound


async def index(call: Call) -> Reply:
    """GET os-migrations."""
    if not call.context.is_admin and not call.context.owns(call.one("project_id")):
        raise Forbidden("Only administrators may list the migrations of all projects: ask for your own by project_id.")
    if (marker := call.one("marker")) is not None:
        raise Invalid(f"Marker {marker[:80]!r} could not be found: there are no migrations.")
    return Reply(200, {"migrations": []})


async def of_server(call: Call) -> Reply:
    """GET migrations of a server."""
    await servers.find(call.cloud, call.context, call.params["server_id"])
    return Reply(200, {"migrations": []})


async def show(call: Call) -> Reply:
    """GET migrations/{migration_id} of a server."""
    server_id, ident = call.params["server_id"], call.params["migration_id"]
    await servers.find(call.cloud, call.context, server_id)
    raise NotFound("migration", ident, message=f"Migration {ident} of server {server_id} could not be found.")


# fmt: off
QUERY = Query(
    *(Param(name, many=True) for name in (
        "host", "hidden", "instance_uuid", "source_compute", "status", "migration_type",
    )),
    *window(since=(2, 59)),
    Param("changes-since", since=(2, 59), many=True, check=moment),
    Param("changes-before", since=(2, 66), many=True, check=moment),
    *(Param(name, since=(2, 80), many=True) for name in ("user_id", "project_id")),
    closed=(2, 59),
)
# fmt: on

_LIST = "os_compute_api:os-migrations:index"
_OF_SERVER, _SHOW = "os_compute_api:servers:migrations:index", "os_compute_api:servers:migrations:show"

ROUTES = (
    Route("GET", "/v2.1/os-migrations", index, _LIST, query=QUERY),
    Route("GET", "/v2.1/servers/{server_id}/migrations", of_server, _OF_SERVER, since=(2, 23), query=ONCE_OPEN),
    Route("GET", "/v2.1/servers/{server_id}/migrations/{migration_id}", show, _SHOW, since=(2, 23), query=ONCE_OPEN),
)

POLICIES = {_LIST: project_manager, _OF_SERVER: project_manager, _SHOW: admin}
