"""POST /servers/{server_id}/action: rebuild."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from floe.api.compute.fields import Flag, flag
from floe.api.compute.server_bodies import Certificates, DiskConfig, File
from floe.api.compute.servers import changed, narrow, single
from floe.api.kit.body import Body, Description, Field, Metadata, Name, Uuid, at_most
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import enforce, project_member
from floe.api.kit.routing import Route
from floe.cloud import server_rebuild as cloud
from floe.core.image_signatures import trusted_ids
from floe.core.seen_servers import SeenServer
from floe.core.server_rebuild import NewMake
from floe.core.versions import Version

REBUILD = Body(
    "rebuild",
    (
        Field("imageRef", Uuid, required=True),
        Field("name", Name),
        Field("adminPass", str),
        Field("metadata", Metadata),
        Field("preserve_ephemeral", Flag),
        Field("OS-DCF:diskConfig", DiskConfig),
        Field("accessIPv4", str),
        Field("accessIPv6", str),
        Field("personality", at_most(list[File]), until=(2, 56)),
        Field("description", Description | None, since=(2, 19)),
        Field("key_name", Annotated[str, Meta(min_length=1, max_length=255)] | None, since=(2, 54)),
        Field("user_data", str | None, since=(2, 57)),
        Field("trusted_image_certificates", Certificates | None, since=(2, 63)),
        Field("hostname", str, since=(2, 90)),
    ),
)


async def rebuild(call: Call) -> Reply:
    """Rebuild; the answer is the server as it is to be, with its password."""
    server_id = call.params["server_id"]
    body = REBUILD.read(await call.raw(), call.version)
    if "trusted_image_certificates" in body:
        enforce(POLICIES, _TRUSTING, call.context)
    asked = new_make(body, call.version)
    begun = await cloud.rebuild(call.cloud, call.context, server_id, asked)
    shown = _shown(call, begun.server) | {"adminPass": begun.admin_password}
    return Reply(202, {"server": shown}, {"location": call.url(f"/v2.1/servers/{server_id}")})


def new_make(body: dict[str, Any], version: Version) -> NewMake:
    """Turn what `REBUILD` read into a `NewMake`. Raises Invalid, naming the field."""
    trusted = body.get("trusted_image_certificates", msgspec.UNSET)
    told: dict[str, Any] = {name: body[name] for name in ("metadata", "user_data") if name in body}
    return NewMake(
        image_id=body["imageRef"],
        changes={**changed(body, version), **told},
        key_name=body.get("key_name", msgspec.UNSET),
        files=tuple((file.path, file.contents) for file in body.get("personality", ())),
        admin_password=body.get("adminPass") or None,
        trusted_certificates=trusted if trusted is msgspec.UNSET else trusted_ids(trusted),
        preserve_ephemeral=flag(body.get("preserve_ephemeral", False), "preserve_ephemeral"),
    )


def _shown(call: Call, server: SeenServer) -> dict[str, Any]:
    """Return a server as a rebuild answers it: up to 2.74 less of it than a GET does."""
    whole = call.version >= (2, 75)
    shown = single(call, server) if whole else narrow(call, server)
    if call.version >= (2, 54):
        shown["key_name"] = server.key_name
    if call.version >= (2, 57):
        shown["user_data"] = server.user_data
        shown.pop("OS-EXT-SRV-ATTR:user_data", None)  # as in Nova: an administrator reads it once
    return shown


_POLICY, _TRUSTING = "os_compute_api:servers:rebuild", "os_compute_api:servers:rebuild:trusted_certs"

ROUTES = (Route("POST", "/v2.1/servers/{server_id}/action", rebuild, _POLICY, action="rebuild"),)

POLICIES = {_POLICY: project_member, _TRUSTING: project_member}
