"""/v1/servers/{server_id}/trace: what was done with a server, step by step, with what each step says to its user.

The compute API shows a user that a step was done, and when; what it found is for administrators there.
"""

from __future__ import annotations

from typing import Any

from floe.api.kit.call import Call, Reply, Route
from floe.api.kit.paging import MAX_LIMIT
from floe.api.kit.policy import in_project, project_reader
from floe.api.kit.query import Param, Query
from floe.api.kit.values import whole
from floe.cloud import actions
from floe.core.actions import Step
from floe.core.clock import iso_micro

_RESULTS = {"done": "Success", "begun": None}


async def show(call: Call) -> Reply:
    """GET: the latest `limit` actions (1 unless asked for more), the oldest of them first."""
    limit = whole(call.one("limit") or "1", "limit", 1, MAX_LIMIT, cut=True)
    found = await actions.history(call.cloud, call.context, call.params["server_id"], most=limit)
    shown = (
        {
            "action": each.action.kind,
            "request_id": each.action.request_id,
            "start_time": iso_micro(each.action.created_at),
            "message": each.action.message,
            "events": [_event(step, admin=call.context.is_admin) for step in each.steps],
        }
        for each in found
    )
    return Reply(200, {"actions": shown})


def _event(step: Step, *, admin: bool) -> dict[str, Any]:
    event: dict[str, Any] = {
        "event": step.name,
        "start_time": iso_micro(step.started_at),
        "finish_time": iso_micro(step.finished_at),
        "result": _RESULTS.get(step.state, "Error"),
        "details": step.remark or None,
    }
    if admin:
        event["host"] = step.host
    return event


ROUTES = (Route("GET", "/v1/servers/{server_id}/trace", show, "floe:trace:show", query=Query(Param("limit"))),)
POLICIES = {"floe:trace:show": in_project(project_reader)}
