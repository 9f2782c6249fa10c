"""`/v2.0/quotas`."""

from __future__ import annotations

from floe.api.kit import policy
from floe.api.kit.body import Body, Field
from floe.api.kit.call import Call, Reply
from floe.api.kit.routing import Route
from floe.api.kit.values import whole
from floe.cloud import network_quotas
from floe.core.errors import Invalid
from floe.core.quotas import NETWORK

UPDATE = Body(
    "quota",
    (*(Field(name, int | str) for name in NETWORK), Field("force", bool), Field("check_limit", bool)),
)


async def index(call: Call) -> Reply:
    """List the projects that have limits of their own."""
    found = await network_quotas.every(call.cloud)
    return Reply(body={"quotas": [{**limits, "project_id": name, "tenant_id": name} for name, limits in found.items()]})


async def show(call: Call) -> Reply:
    """Show a project's limits."""
    return Reply(body={"quota": await network_quotas.limits(call.cloud, call.context, call.params["project_id"])})


async def defaults(call: Call) -> Reply:
    """Show the limits of a project for which nothing was set."""
    return Reply(body={"quota": await network_quotas.defaults(call.cloud, call.context, call.params["project_id"])})


async def details(call: Call) -> Reply:
    """Show a project's limits and what it uses. Nothing is ever reserved ahead of its use."""
    found = await network_quotas.usage(call.cloud, call.context, call.params["project_id"])
    shown = {name: {"limit": limit, "used": used, "reserved": 0} for name, (limit, used) in found.items()}
    return Reply(body={"quota": shown})


async def update(call: Call) -> Reply:
    """Set a project's limits. With `check_limit` a limit under what is used is refused, as in Neutron."""
    asked = UPDATE.read(await call.raw())
    check = asked.pop("check_limit", False) and not asked.pop("force", False)
    asked.pop("force", None)
    limits = {name: whole(value, name, -(2**31)) for name, value in asked.items()}
    project_id = call.params["project_id"]
    if check:
        used = await network_quotas.usage(call.cloud, call.context, project_id)
        for name, limit in limits.items():
            if 0 <= limit < used[name][1]:
                raise Invalid(f"Invalid input for {name}: {limit} is less than what is used ({used[name][1]}).")
    return Reply(body={"quota": await network_quotas.put(call.cloud, project_id, limits)})


async def reset(call: Call) -> Reply:
    """Go back to the defaults."""
    await network_quotas.reset(call.cloud, call.params["project_id"])
    return Reply(204)


_ONE = "/v2.0/quotas/{project_id}"
ROUTES = (
    Route("GET", "/v2.0/quotas", index, "get_quotas"),
    Route("GET", _ONE, show, "get_quota"),
    Route("PUT", _ONE, update, "update_quota"),
    Route("DELETE", _ONE, reset, "delete_quota"),
    Route("GET", _ONE + "/default", defaults, "get_quota"),
    Route("GET", _ONE + "/default.json", defaults, "get_quota"),
    Route("GET", _ONE + "/details", details, "get_quota"),
    Route("GET", _ONE + "/details.json", details, "get_quota"),
)
POLICIES: policy.Policies = {
    "get_quotas": policy.admin,
    "get_quota": policy.project_reader,
    "update_quota": policy.admin,
    "delete_quota": policy.admin,
}
