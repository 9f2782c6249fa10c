"""POST /servers/{server_id}/action: createImage and createBackup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta

from floe.api.compute.fields import printable
from floe.api.kit.body import Body, Field, Metadata, Name
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import project_member
from floe.api.kit.routing import Route
from floe.api.kit.values import Count, whole
from floe.cloud import snapshots

_IMAGE = Body("createImage", (Field("name", Name, required=True), Field("metadata", Metadata)))
_BACKUP = Body(
    "createBackup",
    (
        Field("name", Name, required=True),
        Field("backup_type", Annotated[str, Meta(max_length=255)], required=True),
        Field("rotation", Count, required=True),
        Field("metadata", Metadata),
    ),
)


async def create_image(call: Call) -> Reply:
    """createImage: up to 2.44 with a link to the image, since then with its id."""
    body = _IMAGE.read(await call.raw(), call.version)
    return await _create(call, snapshots.Asked(name=printable(body["name"], "name"), **_metadata(call, body)))


async def create_backup(call: Call) -> Reply:
    """createBackup: as createImage, and of its kind so many stay, the newest; no link where none does."""
    body = _BACKUP.read(await call.raw(), call.version)
    kind, rotation = printable(body["backup_type"], "backup_type"), whole(body["rotation"], "rotation")
    asked = snapshots.Asked(
        name=printable(body["name"], "name"), backup=kind, rotation=rotation, **_metadata(call, body)
    )
    return await _create(call, asked, linked=rotation > 0)


def _metadata(call: Call, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata, and whether it counts: since 2.39 it does not."""
    return {"metadata": body.get("metadata", {}), "counted": call.version < (2, 39)}


async def _create(call: Call, asked: snapshots.Asked, *, linked: bool = True) -> Reply:
    image_id = await snapshots.create(call.cloud, call.context, call.params["server_id"], asked)
    if call.version >= (2, 45):
        return Reply(202, {"image_id": image_id})
    link = f"{call.prefix.removesuffix('/compute')}/image/v2/images/{image_id}"
    return Reply(202, None, {"location": link} if linked else {})


_PATH = "/v2.1/servers/{server_id}/action"
ROUTES = (
    Route("POST", _PATH, create_image, "os_compute_api:servers:create_image", action="createImage"),
    Route("POST", _PATH, create_backup, "os_compute_api:os-create-backup", action="createBackup"),
)
POLICIES = {
    "os_compute_api:servers:create_image": project_member,
    "os_compute_api:os-create-backup": project_member,
}
