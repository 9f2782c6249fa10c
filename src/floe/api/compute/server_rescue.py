"""POST /servers/{server_id}/action: rescue, unrescue."""

from __future__ import annotations

from floe.api.kit.body import Body, Field, Uuid
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import project_member
from floe.api.kit.routing import Route
from floe.cloud import server_rescue as cloud

_RESCUE = Body("rescue", (Field("adminPass", str), Field("rescue_image_ref", Uuid)))


async def rescue(call: Call) -> Reply:
    """Rescue; the answer is the password that the server is given meanwhile."""
    asked = {} if (await call.json())["rescue"] is None else _RESCUE.read(await call.raw(), call.version)
    password = await cloud.rescue(
        call.cloud,
        call.context,
        call.params["server_id"],
        image_id=asked.get("rescue_image_ref"),
        admin_password=asked.get("adminPass") or None,
    )
    return Reply(200, {"adminPass": password})


async def unrescue(call: Call) -> Reply:
    """Unrescue; nobody looks at what comes with it, as in Nova."""
    await cloud.unrescue(call.cloud, call.context, call.params["server_id"])
    return Reply(202)


_PATH = "/v2.1/servers/{server_id}/action"

ROUTES = (
    Route("POST", _PATH, rescue, "os_compute_api:os-rescue", action="rescue"),
    Route("POST", _PATH, unrescue, "os_compute_api:os-unrescue", action="unrescue"),
)

POLICIES = {"os_compute_api:os-rescue": project_member, "os_compute_api:os-unrescue": project_member}
