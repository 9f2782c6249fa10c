"""/servers/{server_id}/os-server-password, and the action changePassword."""

from __future__ import annotations

from floe.api.compute.dialect import ONCE_OPEN
from floe.api.kit.body import Body, Field
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import project_member, project_reader
from floe.api.kit.routing import Route
from floe.cloud import server_passwords as cloud


async def show(call: Call) -> Reply:
    """GET: what the guest posted."""
    return Reply(200, {"password": await cloud.show(call.cloud, call.context, call.params["server_id"])})


async def clear(call: Call) -> Reply:
    """DELETE: let it post another."""
    await cloud.clear(call.cloud, call.context, call.params["server_id"])
    return Reply(204)


async def change(call: Call) -> Reply:
    """changePassword: it is set once this is answered."""
    password = _CHANGE.read(await call.raw(), call.version)["adminPass"]
    await cloud.change(call.cloud, call.context, call.params["server_id"], password)
    return Reply(202)


_CHANGE = Body("changePassword", (Field("adminPass", str, required=True),))
_ACTION = "/v2.1/servers/{server_id}/action"
_PATH = "/v2.1/servers/{server_id}/os-server-password"

ROUTES = (
    Route("GET", _PATH, show, "os_compute_api:os-server-password:show", query=ONCE_OPEN),
    Route("DELETE", _PATH, clear, "os_compute_api:os-server-password:clear"),
    Route("POST", _ACTION, change, "os_compute_api:os-admin-password", action="changePassword"),
)

POLICIES = {
    "os_compute_api:os-server-password:show": project_reader,
    "os_compute_api:os-server-password:clear": project_member,
    "os_compute_api:os-admin-password": project_member,
}
