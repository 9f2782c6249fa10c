"""Users."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from floe.api.identity.filters import Filters, called, expiry, flag, ident, never
from floe.api.identity.projects import shown as shown_project
from floe.api.identity.replies import Ident, LongName, Text, with_link, with_properties
from floe.api.kit.body import Body, Field, at_most
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import Policies, authenticated, public
from floe.api.kit.routing import Route
from floe.api.kit.shape import Shape, Shown
from floe.cloud import identity, users
from floe.core.errors import Invalid
from floe.core.users import User

SHAPE: Shape[User] = Shape(
    [
        Shown("id", lambda user: user.id),
        Shown("name", lambda user: user.name),
        Shown("domain_id", lambda user: user.domain_id),
        Shown("email", lambda user: user.email),
        Shown("description", lambda user: user.description),
        Shown("enabled", lambda user: user.enabled),
        Shown("default_project_id", lambda user: user.default_project_id),
        Shown("password_expires_at", lambda _user: None),
        Shown("options", lambda _user: {}),
    ]
)
_Password = Annotated[str, Meta(min_length=1, max_length=1024)]
_FIELDS = (
    Field("email", Annotated[str, Meta(max_length=255)] | None),
    Field("description", Text),
    Field("enabled", bool),
    Field("default_project_id", Annotated[str, Meta(max_length=64)] | None),
    Field("password", _Password | None),
    Field("options", at_most(dict[str, Any])),
    Field("federated", at_most(list[Any])),
)
_CREATE = Body("user", [Field("name", LongName, required=True), Field("domain_id", Ident), *_FIELDS], strict=False)
_UPDATE = Body("user", [Field("domain_id", Ident), Field("name", LongName), *_FIELDS], strict=False)
_NEW_PASSWORD = Body(
    "user", [Field("original_password", _Password, required=True), Field("password", _Password, required=True)]
)
FILTERS = Filters(
    ident("domain_id"),
    flag("enabled"),
    called(255),
    expiry("password_expires_at"),
    *(never(name) for name in ("idp_id", "protocol_id", "unique_id")),
    sorts=True,
)
_PROJECTS = Filters(ident("domain_id"), flag("enabled"), called(64))
_NULLABLE = ("email", "default_project_id", "password", "domain_id")


def shown(call: Call, user: User) -> dict[str, Any]:
    """Return a user as it is on the wire."""
    return with_link(call, f"/v3/users/{user.id}", {**user.properties, **SHAPE.show(user)})


async def index(call: Call) -> Reply:
    """List users by domain, name and whether they are enabled."""
    found = await users.find(call.cloud, call.context, domain_id=call.one("domain_id"), name=call.one("name"))
    return await FILTERS.listed(call, "users", "/v3/users", (shown(call, user) for user in found))


async def show(call: Call) -> Reply:
    """Show a user."""
    return Reply(200, {"user": shown(call, await users.show(call.cloud, call.context, call.params["user_id"]))})


async def create(call: Call) -> Reply:
    """Make a user."""
    fields = _fields(await with_properties(call, _CREATE, *_NULLABLE))
    password = fields.pop("password", None)
    fields["domain_id"] = fields.get("domain_id") or identity.own_domain(call.context)
    return Reply(201, {"user": shown(call, await users.create(call.cloud, call.context, fields, password))})


async def update(call: Call) -> Reply:
    """Change a user."""
    fields = _fields(await with_properties(call, _UPDATE, *_NULLABLE, own_id=call.params["user_id"]))
    password = fields.pop("password", None)
    found = await users.update(call.cloud, call.context, call.params["user_id"], fields, password)
    return Reply(200, {"user": shown(call, found)})


async def delete(call: Call) -> Reply:
    """Remove a user."""
    await users.delete(call.cloud, call.context, call.params["user_id"])
    return Reply(204)


async def change_password(call: Call) -> Reply:
    """Let a user who knows the old password set a new one; it needs no token, since the old password is the proof."""
    body = _NEW_PASSWORD.read(await call.raw())
    user_id, old, new = call.params["user_id"], body["original_password"], body["password"]
    await users.change_password(call.cloud, call.context, user_id, old, new, call.peer)
    return Reply(204)


async def list_projects(call: Call) -> Reply:
    """List the projects a user has a role on."""
    user_id = call.params["user_id"]
    found = await users.projects(call.cloud, call.context, user_id)
    path = f"/v3/users/{user_id}/projects"
    return await _PROJECTS.listed(call, "projects", path, (shown_project(call, item) for item in found))


def _fields(fields: dict[str, Any]) -> dict[str, Any]:
    if fields.pop("federated", None):
        raise Invalid("federated: this cloud knows no identity providers; leave it out.")
    return fields


ROUTES = (
    Route("GET", "/v3/users", index, "identity:list_users"),
    Route("POST", "/v3/users", create, "identity:create_user"),
    Route("GET", "/v3/users/{user_id}", show, "identity:get_user"),
    Route("PATCH", "/v3/users/{user_id}", update, "identity:update_user"),
    Route("DELETE", "/v3/users/{user_id}", delete, "identity:delete_user"),
    Route("POST", "/v3/users/{user_id}/password", change_password, "identity:change_password"),
    Route("GET", "/v3/users/{user_id}/projects", list_projects, "identity:list_user_projects"),
)
POLICIES: Policies = {
    "identity:list_users": authenticated,
    "identity:get_user": authenticated,
    "identity:create_user": identity.manages,
    "identity:update_user": identity.manages,
    "identity:delete_user": identity.manages,
    "identity:change_password": public,
    "identity:list_user_projects": authenticated,
}
