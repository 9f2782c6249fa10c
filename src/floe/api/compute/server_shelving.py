"""POST /servers/{server_id}/action: shelve, shelveOffload, unshelve."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from floe.api.kit.body import Body, Field
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import admin, enforce, project_member
from floe.api.kit.routing import Route
from floe.cloud import shelving as cloud
from floe.core.errors import Invalid

_Named = Annotated[str, Meta(min_length=1, max_length=255)]
_UNSHELVE = Body(
    "unshelve",
    (
        Field("availability_zone", _Named, required=True, since=(2, 77), until=(2, 90)),
        Field("availability_zone", _Named | None, since=(2, 91)),
        Field("host", _Named, since=(2, 91)),
    ),
)
_TO_HOST = "os_compute_api:os-shelve:unshelve_to_host"


async def shelve(call: Call) -> Reply:
    """Shelve; nobody looks at what comes with it, as in Nova."""
    await cloud.shelve(call.cloud, call.context, call.params["server_id"])
    return Reply(202)


async def shelve_offload(call: Call) -> Reply:
    """shelveOffload: a shelved server leaves its host."""
    await cloud.offload(call.cloud, call.context, call.params["server_id"])
    return Reply(202)


async def unshelve(call: Call) -> Reply:
    """Unshelve, since 2.77 into a zone, since 2.91 on a host or without the zone that it was pinned to."""
    body: dict[str, Any] = {}
    if call.version >= (2, 77) and (await call.json())["unshelve"] is not None:
        body = _UNSHELVE.read(await call.raw(), call.version)
        if not body:
            raise Invalid(
                "Invalid input for field/attribute unshelve: name an availability_zone or a host, or give null."
            )
    if "host" in body:
        enforce(POLICIES, _TO_HOST, call.context)
    where = cloud.Destination(zone=body.get("availability_zone", msgspec.UNSET), host=body.get("host"))
    await cloud.unshelve(call.cloud, call.context, call.params["server_id"], where)
    return Reply(202)


_PATH = "/v2.1/servers/{server_id}/action"
ROUTES = (
    Route("POST", _PATH, shelve, "os_compute_api:os-shelve:shelve", action="shelve"),
    Route("POST", _PATH, shelve_offload, "os_compute_api:os-shelve:shelve_offload", action="shelveOffload"),
    Route("POST", _PATH, unshelve, "os_compute_api:os-shelve:unshelve", action="unshelve"),
)
POLICIES = {
    "os_compute_api:os-shelve:shelve": project_member,
    "os_compute_api:os-shelve:shelve_offload": admin,
    "os_compute_api:os-shelve:unshelve": project_member,
    _TO_HOST: admin,
}
