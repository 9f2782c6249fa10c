"""Role assignments: the grants on each target, and the list of all."""

from __future__ import annotations

from typing import Any

from floe.api.identity.dialect import shown
from floe.api.identity.filters import Filters, ident
from floe.api.identity.roles import ROLE
from floe.api.kit.call import Call, Handler, Reply
from floe.api.kit.policy import Policies
from floe.api.kit.routing import Route
from floe.cloud import assignments, identity
from floe.cloud.assignments import Names
from floe.core.assignments import DOMAIN, GROUP, PROJECT, SYSTEM, USER, WHOLE_SYSTEM, Assignment
from floe.core.errors import Invalid

_ROLES = Filters()


def _asked(call: Call, target: str, actor: str) -> Assignment:
    return Assignment(
        role_id=call.params.get("role_id", ""),
        actor_kind=actor,
        actor_id=call.params["actor_id"],
        target_kind=target,
        target_id=call.params.get("target_id", WHOLE_SYSTEM),
    )


def _handlers(target: str, actor: str) -> tuple[Handler, Handler, Handler, Handler]:
    async def index(call: Call) -> Reply:
        found = await assignments.granted(call.cloud, call.context, _asked(call, target, actor))
        path = call.request.path.removeprefix("/identity")
        return await _ROLES.listed(call, "roles", path, (shown(ROLE, call, role) for role in found))

    async def check(call: Call) -> Reply:
        await assignments.demand(call.cloud, call.context, _asked(call, target, actor))
        return Reply(204)

    async def grant(call: Call) -> Reply:
        await assignments.grant(call.cloud, call.context, _asked(call, target, actor))
        return Reply(204)

    async def take_back(call: Call) -> Reply:
        await assignments.take_back(call.cloud, call.context, _asked(call, target, actor))
        return Reply(204)

    return index, check, grant, take_back


def _routes() -> list[Route]:
    routes = []
    for target in (PROJECT, DOMAIN, SYSTEM):
        for actor in (USER, GROUP):
            index, check, grant, take_back = _handlers(target, actor)
            start = "/v3/system" if target == SYSTEM else f"/v3/{target}s/{{target_id}}"
            many = f"{start}/{actor}s/{{actor_id}}/roles"
            one = f"{many}/{{role_id}}"
            rule = f"system_grant_for_{actor}" if target == SYSTEM else "grant"
            routes += [
                Route("GET", many, index, f"identity:list_{rule.replace('grant', 'grants')}"),
                Route("GET", one, check, f"identity:check_{rule}"),
                Route("PUT", one, grant, f"identity:create_{rule}"),
                Route("DELETE", one, take_back, f"identity:revoke_{rule}"),
            ]
    return routes


async def refuse_inherited(_call: Call) -> Reply:
    """Refuse assignments that projects would inherit: there is no tree of projects here."""
    raise Invalid("Inherited role assignments are not offered: give the role on each project.")


async def index(call: Call) -> Reply:
    """List role assignments by user, group, role and scope."""
    like = _filter(call)
    effective = _says(call, "effective")
    if effective and like.actor_kind == GROUP:
        raise Invalid("effective lists users in place of groups, so group.id cannot be combined with it.")
    inherited = _first(call, "scope.OS-INHERIT:inherited_to") == "projects"
    found = await assignments.find(call.cloud, call.context, like, effective=effective)
    names = await assignments.names(call.cloud) if _says(call, "include_names") else None
    links = {"self": call.url("/v3/role_assignments"), "next": None, "previous": None}
    shown = (_shown(call, item, names) for item in found if not inherited)
    return Reply(200, {"role_assignments": shown, "links": links})


def _first(call: Call, name: str) -> str | None:
    return next(iter(call.many(name)), None)


def _says(call: Call, name: str) -> bool:
    """Read a switch: it is on when it is there, but for 0."""
    return _first(call, name) not in {None, "0"}


def _id(call: Call, name: str) -> str:
    """Read the id of a filter, "" when it is not there. Raises Invalid for what can be no id."""
    given = _first(call, name)
    if given is not None:
        ident(name).test(given)
    return given or ""


def _filter(call: Call) -> Assignment:
    user_id, group_id = _first(call, "user.id") or "", _id(call, "group.id")
    project_id, domain_id = _id(call, "scope.project.id"), _id(call, "scope.domain.id")
    system = _first(call, "scope.system")
    if user_id and group_id:
        raise Invalid("user.id and group.id cannot be combined.")
    if sum((bool(project_id), bool(domain_id), bool(system))) > 1:
        raise Invalid("Of scope.project.id, scope.domain.id and scope.system only one can be asked for.")
    if _first(call, "include_subtree") is not None and not project_id:
        raise Invalid("include_subtree is about the projects below scope.project.id, which is missing.")
    actor, target = ("", ""), ("", "")
    if user_id or group_id:
        actor = (USER, user_id) if user_id else (GROUP, group_id)
    if project_id:
        target = (PROJECT, project_id)
    elif domain_id:
        target = (DOMAIN, domain_id)
    elif system == WHOLE_SYSTEM:
        target = (SYSTEM, WHOLE_SYSTEM)
    return Assignment(
        role_id=_id(call, "role.id"),
        actor_kind=actor[0],
        actor_id=actor[1],
        target_kind=target[0],
        target_id=target[1],
    )


def _shown(call: Call, item: Assignment, names: Names | None) -> dict[str, Any]:
    start = "/v3/system" if item.target_kind == SYSTEM else f"/v3/{item.target_kind}s/{item.target_id}"
    granted_to = f"groups/{item.via_group}" if item.via_group else f"{item.actor_kind}s/{item.actor_id}"
    links = {"assignment": call.url(f"{start}/{granted_to}/roles/{item.via_role or item.role_id}")}
    if item.via_role:
        links["prior_role"] = call.url(f"/v3/roles/{item.via_role}")
    if item.via_group:
        links["membership"] = call.url(f"/v3/groups/{item.via_group}/users/{item.actor_id}")
    role, actor, target = {"id": item.role_id}, {"id": item.actor_id}, {"id": item.target_id}
    if names is not None:
        role, actor, target = _named(item, names)
    scope: dict[str, Any] = {"system": {"all": True}} if item.target_kind == SYSTEM else {item.target_kind: target}
    return {"role": role, item.actor_kind: actor, "scope": scope, "links": links}


def _named(item: Assignment, names: Names) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    known = names.roles.get(item.role_id)
    role: dict[str, Any] = {"id": item.role_id, "name": known.name if known else ""}
    actors = names.users if item.actor_kind == USER else names.groups
    actor = _in_domain(item.actor_id, actors.get(item.actor_id), names)
    if item.target_kind == PROJECT:
        return role, actor, _in_domain(item.target_id, names.projects.get(item.target_id), names)
    domain = names.domains.get(item.target_id)
    return role, actor, {"id": item.target_id, "name": domain.name if domain else ""}


def _in_domain(ident: str, thing: Any, names: Names) -> dict[str, Any]:
    if thing is None:
        return {"id": ident, "name": "", "domain": {}}
    domain = names.domains.get(thing.domain_id)
    return {
        "id": ident,
        "name": thing.name,
        "domain": {"id": thing.domain_id, "name": domain.name if domain else ""},
    }


_INHERITED = "/v3/OS-INHERIT/{target}/{target_id}/{actor}/{actor_id}/roles/{role_id}/inherited_to_projects"
ROUTES = (
    *_routes(),
    *(Route(verb, _INHERITED, refuse_inherited, "identity:create_grant") for verb in ("GET", "PUT", "DELETE")),
    Route("GET", "/v3/role_assignments", index, "identity:list_role_assignments"),
)
POLICIES: Policies = {
    "identity:list_grants": identity.lists,
    "identity:check_grant": identity.lists,
    "identity:create_grant": identity.manages,
    "identity:revoke_grant": identity.manages,
    **{
        f"identity:{verb}_for_{actor}": rule
        for actor in (USER, GROUP)
        for verb, rule in (
            ("list_system_grants", identity.reads_cloud),
            ("check_system_grant", identity.reads_cloud),
            ("create_system_grant", identity.administers_cloud),
            ("revoke_system_grant", identity.administers_cloud),
        )
    },
    "identity:list_role_assignments": identity.lists,
}
