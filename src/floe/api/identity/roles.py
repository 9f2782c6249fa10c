"""Roles and implied roles."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from floe.api.identity.filters import Filters, called, ident
from floe.api.identity.replies import Ident, LongName, ShortText, with_link, with_properties
from floe.api.kit.body import Body, Field, at_most
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import Policies, authenticated
from floe.api.kit.routing import Route
from floe.api.kit.shape import Shape, Shown
from floe.cloud import identity, roles
from floe.core.errors import Invalid, NotFound
from floe.core.roles import Role

SHAPE: Shape[Role] = Shape(
    [
        Shown("id", lambda role: role.id),
        Shown("name", lambda role: role.name),
        Shown("domain_id", lambda _role: None),
        Shown("description", lambda role: role.description),
        Shown("options", lambda _role: {}),
    ]
)
_FIELDS = (Field("description", ShortText), Field("domain_id", Ident | None), Field("options", at_most(dict[str, Any])))
_CREATE = Body("role", [Field("name", LongName, required=True), *_FIELDS], strict=False)
_UPDATE = Body("role", [Field("name", LongName), *_FIELDS], strict=False)
_FILTERS = Filters(called(255), ident("domain_id"))


def shown(call: Call, role: Role) -> dict[str, Any]:
    """Return a role as it is on the wire."""
    return with_link(call, f"/v3/roles/{role.id}", {**role.properties, **SHAPE.show(role)})


async def index(call: Call) -> Reply:
    """List roles by name. A filter by domain finds none, since all roles are the whole cloud's."""
    found = await roles.find(call.cloud)
    return await _FILTERS.listed(call, "roles", "/v3/roles", (shown(call, role) for role in found))


async def show(call: Call) -> Reply:
    """Show a role."""
    return Reply(200, {"role": shown(call, await roles.show(call.cloud, call.context, call.params["role_id"]))})


async def create(call: Call) -> Reply:
    """Make a role."""
    fields = _fields(await with_properties(call, _CREATE, "domain_id"))
    return Reply(201, {"role": shown(call, await roles.create(call.cloud, fields))})


async def update(call: Call) -> Reply:
    """Change a role."""
    role_id = call.params["role_id"]
    fields = _fields(await with_properties(call, _UPDATE, "domain_id", own_id=role_id))
    return Reply(200, {"role": shown(call, await roles.update(call.cloud, role_id, fields))})


async def delete(call: Call) -> Reply:
    """Remove a role."""
    await roles.delete(call.cloud, call.params["role_id"])
    return Reply(204)


async def list_inferences(call: Call) -> Reply:
    """List all roles that imply others, with those."""
    known, implied = await roles.implications(call.cloud)
    inferences = (
        {"prior_role": _brief(call, known[prior]), "implies": _many(call, known, ids)}
        for prior, ids in sorted(implied.items())
    )
    return Reply(200, {"role_inferences": inferences, "links": _links(call, "/v3/role_inferences")})


async def list_implied(call: Call) -> Reply:
    """List the roles that one implies directly."""
    role = await roles.show(call.cloud, call.context, call.params["role_id"])
    known, implied = await roles.implications(call.cloud)
    inference = {
        "prior_role": _brief(call, role),
        "implies": _many(call, known, implied.get(role.id, frozenset())),
    }
    return Reply(200, {"role_inference": inference, "links": _links(call, f"/v3/roles/{role.id}/implies")})


async def show_implied(call: Call) -> Reply:
    """Say whether one role implies another directly."""
    prior_id, implied_id = call.params["role_id"], call.params["implied_id"]
    known, implied = await roles.implications(call.cloud)
    if implied_id not in implied.get(prior_id, frozenset()):
        raise NotFound("role", implied_id, message=f"Role {prior_id!r} does not imply role {implied_id!r}.")
    return _inference(call, 200, known[prior_id], known[implied_id])


async def check_implied(call: Call) -> Reply:
    """Say whether one role implies another directly, without showing them."""
    await show_implied(call)
    return Reply(204)


async def imply(call: Call) -> Reply:
    """Let one role imply another."""
    prior, implied = await roles.imply(call.cloud, call.params["role_id"], call.params["implied_id"])
    return _inference(call, 201, prior, implied)


async def stop_implying(call: Call) -> Reply:
    """Let one role no longer imply another."""
    await roles.stop_implying(call.cloud, call.params["role_id"], call.params["implied_id"])
    return Reply(204)


def _fields(fields: dict[str, Any]) -> dict[str, Any]:
    if fields.pop("domain_id", None) is not None:
        raise Invalid("domain_id: roles of one domain alone are not offered; leave it out for a role of the cloud.")
    return fields


def _inference(call: Call, status: int, prior: Role, implied: Role) -> Reply:
    inference = {"prior_role": _brief(call, prior), "implies": _brief(call, implied)}
    path = f"/v3/roles/{prior.id}/implies/{implied.id}"
    return Reply(status, {"role_inference": inference, "links": {"self": call.url(path)}})


def _many(call: Call, known: dict[str, Role], ids: Iterable[str]) -> list[dict[str, Any]]:
    return [_brief(call, known[role_id]) for role_id in sorted(ids)]


def _brief(call: Call, role: Role) -> dict[str, Any]:
    return with_link(call, f"/v3/roles/{role.id}", {"id": role.id, "name": role.name})


def _links(call: Call, path: str) -> dict[str, Any]:
    return {"self": call.url(path), "next": None, "previous": None}


_IMPLIED = "/v3/roles/{role_id}/implies/{implied_id}"
ROUTES = (
    Route("GET", "/v3/roles", index, "identity:list_roles"),
    Route("POST", "/v3/roles", create, "identity:create_role"),
    Route("GET", "/v3/roles/{role_id}", show, "identity:get_role"),
    Route("PATCH", "/v3/roles/{role_id}", update, "identity:update_role"),
    Route("DELETE", "/v3/roles/{role_id}", delete, "identity:delete_role"),
    Route("GET", "/v3/role_inferences", list_inferences, "identity:list_role_inference_rules"),
    Route("GET", "/v3/roles/{role_id}/implies", list_implied, "identity:list_implied_roles"),
    Route("GET", _IMPLIED, show_implied, "identity:get_implied_role"),
    Route("HEAD", _IMPLIED, check_implied, "identity:get_implied_role"),
    Route("PUT", _IMPLIED, imply, "identity:create_implied_role"),
    Route("DELETE", _IMPLIED, stop_implying, "identity:delete_implied_role"),
)
POLICIES: Policies = {
    "identity:list_roles": roles.may_list,
    "identity:get_role": authenticated,
    "identity:create_role": identity.administers_cloud,
    "identity:update_role": identity.administers_cloud,
    "identity:delete_role": identity.administers_cloud,
    "identity:list_role_inference_rules": identity.reads_cloud,
    "identity:list_implied_roles": identity.reads_cloud,
    "identity:get_implied_role": identity.reads_cloud,
    "identity:create_implied_role": identity.administers_cloud,
    "identity:delete_implied_role": identity.administers_cloud,
}
