"""Application credentials."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from floe.api.identity.filters import Filters, text
from floe.api.identity.replies import LongName, Text, with_link
from floe.api.kit.body import Body, Field, at_most
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import Policies, authenticated
from floe.api.kit.routing import Route
from floe.api.kit.values import moment
from floe.cloud import application_credentials
from floe.cloud.application_credentials import Found
from floe.core.clock import iso_micro
from floe.core.errors import Invalid
from floe.core.tokens import Named


class _Role(msgspec.Struct, forbid_unknown_fields=True):
    id: str | None = None
    name: str | None = None


_CREATE = Body(
    "application_credential",
    [
        Field("name", LongName, required=True),
        Field("description", Text),
        Field("secret", Annotated[str, Meta(min_length=1, max_length=1024)] | None),
        Field("unrestricted", bool | None),
        Field("expires_at", str | None),
        Field("roles", at_most(list[_Role])),
        Field("access_rules", at_most(list[Any])),
        Field("project_id", str | None),
    ],
)
_FILTERS = Filters(text("name"))


def shown(call: Call, found: Found) -> dict[str, Any]:
    """Return an application credential as it is on the wire, without its secret."""
    credential, roles, _ = found
    fields = {
        "id": credential.id,
        "name": credential.name,
        "description": credential.description,
        "user_id": credential.user_id,
        "project_id": credential.project_id,
        "system": None,
        "expires_at": iso_micro(credential.expires_at),
        "unrestricted": credential.unrestricted,
        "roles": [{"id": role.id, "name": role.name, "domain_id": None} for role in roles],
    }
    return with_link(call, f"/v3/users/{credential.user_id}/application_credentials/{credential.id}", fields)


async def index(call: Call) -> Reply:
    """List a user's application credentials, by name."""
    user_id = call.params["user_id"]
    found = await application_credentials.find(call.cloud, call.context, user_id)
    path = f"/v3/users/{user_id}/application_credentials"
    return await _FILTERS.listed(call, "application_credentials", path, (shown(call, item) for item in found))


async def show(call: Call) -> Reply:
    """Show an application credential."""
    user_id, ident = call.params["user_id"], call.params["credential_id"]
    found = await application_credentials.show(call.cloud, call.context, user_id, ident)
    return Reply(200, {"application_credential": shown(call, found)})


async def create(call: Call) -> Reply:
    """Make an application credential; only this reply shows its secret."""
    body = _CREATE.read(await call.raw())
    if body.get("access_rules"):
        raise Invalid("access_rules: credentials for some requests only are not offered; leave it out.")
    if body.get("project_id") not in (None, call.context.project_id):
        raise Invalid(f"project_id must be the token's project, {call.context.project_id!r}.")
    found, secret = await application_credentials.create(
        call.cloud,
        call.context,
        call.params["user_id"],
        name=body["name"],
        description=body.get("description"),
        secret=body.get("secret"),
        unrestricted=bool(body.get("unrestricted")),
        expires_at=moment(body["expires_at"], "expires_at") if body.get("expires_at") is not None else None,
        roles=[_named(role) for role in body["roles"]] if body.get("roles") else None,
    )
    return Reply(201, {"application_credential": {**shown(call, found), "secret": secret}})


async def delete(call: Call) -> Reply:
    """Remove an application credential."""
    user_id, ident = call.params["user_id"], call.params["credential_id"]
    await application_credentials.delete(call.cloud, call.context, user_id, ident)
    return Reply(204)


def _named(role: _Role) -> Named:
    if (role.id is None) == (role.name is None):
        raise Invalid("roles: each must have either an id or a name.")
    return Named(id=role.id, name=role.name)


_MANY = "/v3/users/{user_id}/application_credentials"
_ONE = "/v3/users/{user_id}/application_credentials/{credential_id}"
ROUTES = (
    Route("GET", _MANY, index, "identity:list_application_credentials"),
    Route("POST", _MANY, create, "identity:create_application_credential"),
    Route("GET", _ONE, show, "identity:get_application_credential"),
    Route("DELETE", _ONE, delete, "identity:delete_application_credential"),
)
POLICIES: Policies = {
    "identity:list_application_credentials": authenticated,
    "identity:create_application_credential": authenticated,
    "identity:get_application_credential": authenticated,
    "identity:delete_application_credential": authenticated,
}
