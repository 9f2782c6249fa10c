"""POST /servers/{server_id}/action: resize, migrate, confirmResize and revertResize."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from floe.api.compute.server_bodies import DiskConfig
from floe.api.kit.body import Body, Field
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import admin, enforce, project_member
from floe.api.kit.routing import Route
from floe.cloud import server_resize as cloud
from floe.core.server_resize import Asked

_RESIZE = Body(
    "resize",
    (
        Field("flavorRef", Annotated[str, Meta(min_length=1, max_length=255)] | int, required=True),
        Field("OS-DCF:diskConfig", DiskConfig),
    ),
)
_MIGRATE = Body("migrate", (Field("host", Annotated[str, Meta(min_length=1, max_length=255)] | None),))


async def resize(call: Call) -> Reply:
    """Resize: the server is the one and the other until that is confirmed or reverted."""
    body = _RESIZE.read(await call.raw(), call.version)
    asked = Asked(flavor_id=str(body["flavorRef"]), disk_config=body.get("OS-DCF:diskConfig"))
    await cloud.resize(call.cloud, call.context, call.params["server_id"], asked)
    return Reply(202)


async def migrate(call: Call) -> Reply:
    """Migrate: the server goes to another host; since 2.56 to one that is named."""
    host = None
    if call.version >= (2, 56) and (await call.json())["migrate"] is not None:
        host = _MIGRATE.read(await call.raw(), call.version).get("host")
    if host is not None:
        enforce(POLICIES, _TO_HOST, call.context)
    await cloud.migrate(call.cloud, call.context, call.params["server_id"], host)
    return Reply(202)


async def confirm(call: Call) -> Reply:
    """confirmResize; nobody looks at what comes with it, as in Nova."""
    await cloud.confirm(call.cloud, call.context, call.params["server_id"])
    return Reply(204)


async def revert(call: Call) -> Reply:
    """revertResize; likewise."""
    await cloud.revert(call.cloud, call.context, call.params["server_id"])
    return Reply(202)


_PATH = "/v2.1/servers/{server_id}/action"
_RULE = "os_compute_api:servers:"
_MIGRATES, _TO_HOST = "os_compute_api:os-migrate-server:migrate", "os_compute_api:os-migrate-server:migrate:host"

ROUTES = (
    Route("POST", _PATH, resize, f"{_RULE}resize", action="resize"),
    Route("POST", _PATH, migrate, _MIGRATES, action="migrate"),
    Route("POST", _PATH, confirm, f"{_RULE}confirm_resize", action="confirmResize"),
    Route("POST", _PATH, revert, f"{_RULE}revert_resize", action="revertResize"),
)

POLICIES = {
    **{f"{_RULE}{name}": project_member for name in ("resize", "confirm_resize", "revert_resize")},
    _MIGRATES: admin,
    _TO_HOST: admin,
}
