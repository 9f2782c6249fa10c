"""/v1/servers/{server_id}/trace: what was done with a server, step by step, with what each step says to its user.

/v1/images/{image_id}/trace: likewise what was done with the bytes of an image.

The compute API shows a user that a step was done, and when; what it found is for administrators there.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    return _shown(call, await actions.history(call.cloud, call.context, call.params["server_id"], most=limit))


async def show_of_image(call: Call) -> Reply:
    """GET, for an image."""
    limit = whole(call.one("limit") or "1", "limit", 1, MAX_LIMIT, cut=True)
    return _shown(call, await actions.history_of_image(call.cloud, call.context, call.params["image_id"], most=limit))


def _shown(call: Call, found: Sequence[actions.Traced]) -> Reply:
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


_QUERY = Query(Param("limit"))
ROUTES = (
    Route("GET", "/v1/servers/{server_id}/trace", show, "floe:trace:show", query=_QUERY),
    Route("GET", "/v1/images/{image_id}/trace", show_of_image, "floe:trace:show_image", query=_QUERY),
)
POLICIES = {"floe:trace:show": in_project(project_reader), "floe:trace:show_image": in_project(project_reader)}
