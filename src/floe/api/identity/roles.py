"""Roles and implied roles."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from floe.api.identity.dialect import Keystone, each, unseen
from floe.api.identity.filters import Filters, called, ident
from floe.api.identity.replies import Ident, LongName, ShortText, with_link
from floe.api.kit.body import at_most
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import Policies
from floe.api.kit.resource import Fields, Resource, Use, Wire, constant
from floe.api.kit.routing import Route
from floe.cloud import identity, roles
from floe.core.errors import Invalid, NotFound
from floe.core.roles import Role


def _of_domain(value: str | None, name: str) -> None:
    if value is not None:
        raise Invalid(f"{name}: roles of one domain alone are not offered; leave it out for a role of the cloud.")


ROLE: Resource[Role] = Resource(
    name="role",
    plural="roles",
    dialect=Keystone(
        # All roles are the whole cloud's: a filter by domain finds none.
        filters=Filters(called(255), ident("domain_id")),
        nullable=("domain_id",),
        writes=identity.administers_cloud,
        lists=roles.may_list,
    ),
    fields=Fields(
        Wire("id"),
        Wire("name", use=Use.WRITE, type=LongName, required=True),
        constant("domain_id", None, Use.WRITE, type=Ident | None, check=_of_domain),
        Wire("description", use=Use.WRITE, type=ShortText),
        constant("options", {}, Use.WRITE, type=at_most(dict[str, Any])),
    ),
    create=each(roles.ROLES.create),
    find=roles.ROLES.find,
    show=roles.show,
    update=unseen(roles.ROLES.update),
    delete=unseen(roles.delete),
)


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
    *ROLE.routes,
    Route("GET", "/v3/role_inferences", list_inferences, "identity:list_role_inference_rules"),
    Route("GET", "/v3/roles/{role_id}/implies", list_implied, "identity:list_implied_roles"),
    Route("GET", _IMPLIED, show_implied, "identity:get_implied_role"),
    Route("HEAD", _IMPLIED, check_implied, "identity:get_implied_role"),
    Route("PUT", _IMPLIED, imply, "identity:create_implied_role"),
    Route("DELETE", _IMPLIED, stop_implying, "identity:delete_implied_role"),
)
POLICIES: Policies = {
    **ROLE.policies,
    "identity:list_role_inference_rules": identity.reads_cloud,
    "identity:list_implied_roles": identity.reads_cloud,
    "identity:get_implied_role": identity.reads_cloud,
    "identity:create_implied_role": identity.administers_cloud,
    "identity:delete_implied_role": identity.administers_cloud,
}
