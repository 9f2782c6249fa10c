"""`/v2.0/quotas`."""

from __future__ import annotations

from typing import Any

from floe.api.kit import policy
from floe.api.kit.call import Call, Reply
from floe.api.kit.resource import Fields, Use, Wire
from floe.api.kit.routing import Route
from floe.api.network.converters import malformed, number
from floe.api.network.dialect import read_change, sent_object
from floe.api.network.rules import admin, of_project
from floe.cloud import network_quotas
from floe.core.quotas import NETWORK

_MOST = 2**31 - 1


def _limit(value: int, name: str) -> int:
    if not -1 <= value <= _MOST:
        raise malformed(f"Invalid input for {name}: {value} must be between -1 (no limit) and {_MOST}.")
    return value


QUOTA: Fields[Any] = Fields(*(Wire(name, use=Use.UPDATE, convert=number, check=_limit) for name in NETWORK))


async def index(call: Call) -> Reply:
    """List the projects that have limits of their own."""
    found = await network_quotas.every(call.cloud)
    return Reply(body={"quotas": ({**limits, "project_id": name, "tenant_id": name} for name, limits in found.items())})


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
    """Set a project's limits; one under what is used only by `force`."""
    sent = await sent_object(call, "quota")
    plain = {name: value for name, value in sent.items() if name not in {"force", "check_limit"}}
    limits = read_change(QUOTA, plain)
    found = await network_quotas.put(call.cloud, call.params["project_id"], limits, below_use=sent.get("force") is True)
    return Reply(body={"quota": found})


async def reset(call: Call) -> Reply:
    """Go back to the defaults."""
    await network_quotas.reset(call.cloud, call.params["project_id"])
    return Reply(204)


async def own_project(call: Call) -> Reply:
    """Show which project the token is of, as `tenant` or `project`."""
    word = call.route.path.rpartition("/")[2]
    return Reply(body={word: {f"{word}_id": call.context.project_id}})


_ALL = "/v2.0/quotas"
_ONE = _ALL + "/{project_id}"
ROUTES = (
    Route("GET", _ALL, index, "get_quotas"),
    Route("GET", _ALL + "/tenant", own_project, "get_quota"),
    Route("GET", _ALL + "/project", own_project, "get_quota"),
    Route("GET", _ONE, show, "get_quota"),
    Route("PUT", _ONE, update, "update_quota"),
    Route("DELETE", _ONE, reset, "delete_quota"),
    Route("GET", _ONE + "/default", defaults, "get_quota"),
    Route("GET", _ONE + "/details", details, "get_quota"),
)
POLICIES: policy.Policies = {
    "get_quotas": admin,
    "get_quota": of_project,
    "update_quota": admin,
    "delete_quota": admin,
}
