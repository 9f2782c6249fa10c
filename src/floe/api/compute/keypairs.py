"""/os-keypairs."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import Meta

from floe.api.kit.body import Body, Field, Name
from floe.api.kit.call import Call, Reply
from floe.api.kit.paging import MAX_LIMIT, linked, page_of, window
from floe.api.kit.policy import authenticated
from floe.api.kit.query import Param, Query
from floe.api.kit.routing import Route
from floe.api.kit.shape import Shape, Shown
from floe.cloud import keypairs as cloud
from floe.core.clock import iso_micro
from floe.core.errors import Forbidden, Invalid
from floe.core.keypairs import Keypair
from floe.core.versions import Version

_Key = Annotated[str, Meta(max_length=16384)]

CREATE = Body(
    "keypair",
    (
        Field("name", Name, required=True),
        Field("public_key", _Key, until=(2, 91)),
        Field("public_key", _Key, required=True, since=(2, 92)),
        Field("type", Literal["ssh", "x509"], since=(2, 2)),
        Field("user_id", Annotated[str, Meta(max_length=255)], since=(2, 10)),
    ),
)

_NAME = re.compile(r"[a-zA-Z0-9 _-]+")
_NAME_2_92 = re.compile(r"[a-zA-Z0-9 @._-]+")

SHORT: Shape[Keypair] = Shape(
    (
        Shown("name", lambda k: k.name),
        Shown("public_key", lambda k: k.public_key),
        Shown("fingerprint", lambda k: k.fingerprint),
        Shown("type", lambda k: k.type, since=(2, 2)),
    )
)
LONG: Shape[Keypair] = Shape(
    (
        *SHORT.fields,
        Shown("user_id", lambda k: k.user_id),
        Shown("id", lambda k: k.id),
        Shown("created_at", lambda k: iso_micro(k.created_at)),
        # A deleted keypair is gone, so what is shown never was deleted; nor can one be changed.
        Shown("deleted", lambda _k: False),
        Shown("deleted_at", lambda _k: None),
        Shown("updated_at", lambda _k: None),
    )
)


async def create(call: Call) -> Reply:
    """POST: import a key, or below 2.92 generate one."""
    body = CREATE.read(await call.raw(), call.version)
    name = _name(body["name"], call.version)
    if body.get("type", "ssh") != "ssh":
        raise Invalid("Keypair type 'x509' is not supported: guests here take SSH keys; use type 'ssh'.")
    keypair, private = await cloud.create(
        call.cloud, call.context, name, body.get("public_key"), user_id=_user(call, body.get("user_id"))
    )
    shown = {**SHORT.show(keypair, call.version), "user_id": keypair.user_id}
    if private is not None:
        shown["private_key"] = private
    return Reply(201 if call.version >= (2, 2) else 200, {"keypair": shown})


async def index(call: Call) -> Reply:
    """GET: all keypairs of the user; since 2.35 in pages."""
    page = page_of(call)
    paged = call.version >= (2, 35)
    found = await cloud.listed(
        call.cloud,
        call.context,
        user_id=_user(call, call.one("user_id")),
        marker=page.marker if paged else None,
        limit=page.limit if paged else MAX_LIMIT,
    )
    body = {"keypairs": ({"keypair": SHORT.show(keypair, call.version)} for keypair in found)}
    names = [keypair.name for keypair in found]
    more = linked(call, "/v2.1/os-keypairs", page, "keypairs_links", names) if paged else None
    return Reply(200, body, more=more)


async def show(call: Call) -> Reply:
    """GET {name}."""
    keypair = await cloud.get(call.cloud, call.context, call.params["name"], user_id=_user(call, call.one("user_id")))
    return Reply(200, {"keypair": LONG.show(keypair, call.version)})


async def delete(call: Call) -> Reply:
    """DELETE {name}."""
    await cloud.delete(call.cloud, call.context, call.params["name"], user_id=_user(call, call.one("user_id")))
    return Reply(202 if call.version < (2, 2) else 204)


def _user(call: Call, user_id: str | None) -> str | None:
    """Return whose keypairs are meant; another user's are for administrators, since 2.10."""
    if not user_id or call.version < (2, 10):
        return None
    if user_id != call.context.user_id and not call.context.is_admin:
        raise Forbidden(f"Only administrators may ask for the keypairs of another user (user_id {user_id!r}).")
    return user_id


def _name(name: str, version: Version) -> str:
    allowed = _NAME_2_92 if version >= (2, 92) else _NAME
    if not allowed.fullmatch(name):
        also = ", '@', '.'" if version >= (2, 92) else ""
        raise Invalid(
            f"Keypair data is invalid: name {name[:80]!r} may have letters, digits, spaces, '-', '_'{also} only."
        )
    return name


_USER = Param("user_id", since=(2, 10), many=True)
_ALL = Query(_USER, *window((2, 35)), closed=(2, 75))
_ONE = Query(_USER, closed=(2, 75))

ROUTES = (
    Route("GET", "/v2.1/os-keypairs", index, "os_compute_api:os-keypairs:index", query=_ALL),
    Route("POST", "/v2.1/os-keypairs", create, "os_compute_api:os-keypairs:create"),
    Route("GET", "/v2.1/os-keypairs/{name}", show, "os_compute_api:os-keypairs:show", query=_ONE),
    Route("DELETE", "/v2.1/os-keypairs/{name}", delete, "os_compute_api:os-keypairs:delete", query=_ONE),
)

POLICIES = {
    "os_compute_api:os-keypairs:index": authenticated,
    "os_compute_api:os-keypairs:create": authenticated,
    "os_compute_api:os-keypairs:show": authenticated,
    "os_compute_api:os-keypairs:delete": authenticated,
}
