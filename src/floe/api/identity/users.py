"""Users."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from floe.api.identity.dialect import Keystone, each, shown, unseen
from floe.api.identity.filters import Filters, called, expiry, flag, ident, never
from floe.api.identity.projects import PROJECT
from floe.api.identity.replies import Ident, LongName, Text
from floe.api.kit.body import Body, Field, at_most
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import Policies, authenticated, public
from floe.api.kit.resource import Fields, Resource, Use, Wire, constant
from floe.api.kit.routing import Route
from floe.cloud import identity, users
from floe.core.errors import Invalid
from floe.core.users import User

_Password = Annotated[str, Meta(min_length=1, max_length=1024)]
_NEW_PASSWORD = Body(
    "user", [Field("original_password", _Password, required=True), Field("password", _Password, required=True)]
)
_PROJECTS = Filters(ident("domain_id"), flag("enabled"), called(64))


def _federated(value: Any, _name: str) -> None:
    if value:
        raise Invalid("federated: this cloud knows no identity providers; leave it out.")


USER: Resource[User] = Resource(
    name="user",
    plural="users",
    dialect=Keystone(
        filters=Filters(
            ident("domain_id"),
            flag("enabled"),
            called(255),
            expiry("password_expires_at"),
            *(never(name) for name in ("idp_id", "protocol_id", "unique_id")),
            sorts=True,
        ),
        nullable=("email", "default_project_id", "password", "domain_id"),
        writes=identity.manages,
    ),
    fields=Fields(
        Wire("id"),
        Wire("name", use=Use.WRITE, type=LongName, required=True),
        Wire("domain_id", use=Use.WRITE, type=Ident),
        Wire("email", use=Use.WRITE, type=Annotated[str, Meta(max_length=255)] | None),
        Wire("description", use=Use.WRITE, type=Text),
        Wire("enabled", use=Use.WRITE, type=bool),
        Wire("default_project_id", use=Use.WRITE, type=Annotated[str, Meta(max_length=64)] | None),
        Wire("password", use=Use.WRITE, type=_Password | None, shown=False),
        constant("password_expires_at", None),
        constant("options", {}, Use.WRITE, type=at_most(dict[str, Any])),
        constant("federated", [], Use.WRITE, type=at_most(list[Any]), check=_federated, shown=False),
    ),
    create=each(users.create),
    find=users.find,
    show=users.show,
    update=unseen(users.update),
    delete=unseen(users.delete),
)  # fmt: skip


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
    return await _PROJECTS.listed(call, "projects", path, (shown(PROJECT, call, item) for item in found))


ROUTES = (
    *USER.routes,
    Route("POST", "/v3/users/{user_id}/password", change_password, "identity:change_password"),
    Route("GET", "/v3/users/{user_id}/projects", list_projects, "identity:list_user_projects"),
)
POLICIES: Policies = {
    **USER.policies,
    "identity:change_password": public,
    "identity:list_user_projects": authenticated,
}
