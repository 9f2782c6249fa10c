"""/allocations/{consumer} and /usages: what servers and projects take."""

from __future__ import annotations

from typing import Any

from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import admin_or_service, project_reader
from floe.api.kit.query import OPEN_QUERY, Param, shaped
from floe.api.kit.routing import Route
from floe.api.placement.query import table, uuid
from floe.cloud import providers as cloud
from floe.core.context import Context
from floe.core.errors import Forbidden, Invalid

_TYPE = "INSTANCE"
"""The only type of consumer here: a server."""


async def show(call: Call) -> Reply:
    """GET /allocations/{consumer}: empty for one that takes nothing."""
    found = await cloud.allocations_of_consumer(call.cloud, uuid(call.params["consumer"], "consumer"))
    shown = {host.id: {"generation": host.generation, "resources": each.resources.by_class()} for each, host in found}
    body: dict[str, Any] = {"allocations": shown}
    if found and call.version >= (1, 12):
        first = found[0][0]
        body |= {"project_id": first.project_id, "user_id": first.user_id}
        if call.version >= (1, 28):
            body["consumer_generation"] = 1
        if call.version >= (1, 38):
            body["consumer_type"] = _TYPE
    return Reply(200, body)


async def usages(call: Call) -> Reply:
    """GET /usages?project_id=...&user_id=...: the caller's own project, or any for administrators."""
    project_id = call.one("project_id")
    if not project_id:
        raise Invalid("Invalid query string parameters: 'project_id' is a required property.")
    if not admin_or_service(call.context) and not call.context.owns(project_id):
        raise Forbidden(f"The usages of project {project_id} may be read by its members and by administrators.")
    found = await cloud.usage(call.cloud, project_id, call.one("user_id"))
    amounts = found.resources.by_class()
    if call.version < (1, 38):
        return Reply(200, {"usages": amounts})
    kind = call.one("consumer_type", "") or ""
    if not found.consumers or kind not in {"", "all", _TYPE}:
        return Reply(200, {"usages": {}})
    name = "all" if kind == "all" else _TYPE
    return Reply(200, {"usages": {name: {"consumer_count": found.consumers, **amounts}}})


_ID = shaped(r"(?s:.{1,255})", "an id of 1 to 255 characters")
_KIND = shaped(r"[A-Z0-9_]{1,255}|all|unknown", "a type of consumer, 'all' or 'unknown'")
_USAGES = table(
    Param("project_id", many=True, check=_ID),
    Param("user_id", many=True, check=_ID),
    Param("consumer_type", since=(1, 38), many=True, check=_KIND),
)


def _reads_usages(context: Context) -> bool:
    return admin_or_service(context) or project_reader(context)


ROUTES = (
    Route("GET", "/allocations/{consumer}", show, "placement:allocations:list", query=OPEN_QUERY),
    Route("GET", "/usages", usages, "placement:usages", since=(1, 9), query=_USAGES),
)
POLICIES = {"placement:allocations:list": admin_or_service, "placement:usages": _reads_usages}
