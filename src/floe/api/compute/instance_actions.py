"""/servers/{server_id}/os-instance-actions: the journal of what was done with a server."""

from __future__ import annotations

from typing import Any

from floe.api.compute.dialect import ONCE_OPEN
from floe.api.compute.server_shapes import host_id_of
from floe.api.kit.call import Call, Reply
from floe.api.kit.paging import MAX_LIMIT, next_link, page_of, span, window
from floe.api.kit.policy import project_reader
from floe.api.kit.query import Param, Query
from floe.api.kit.routing import Route
from floe.api.kit.shape import Shape, Shown
from floe.api.kit.values import moment
from floe.cloud import actions as cloud
from floe.cloud.actions import ActionDetail
from floe.core.actions import DELETE, Step
from floe.core.clock import iso_micro
from floe.core.guest_actions import SOFT_DELETE

_CALLED = {SOFT_DELETE.kind: DELETE.kind}
"""A delete that is put off is called as one that is not, as in Nova."""

SHAPE: Shape[ActionDetail] = Shape(
    (
        Shown("action", lambda d: _CALLED.get(d.action.kind, d.action.kind)),
        Shown("instance_uuid", lambda d: d.action.subject_id),
        Shown("request_id", lambda d: d.action.request_id),
        Shown("user_id", lambda d: d.action.user_id),
        Shown("project_id", lambda d: d.action.project_id),
        Shown("start_time", lambda d: iso_micro(d.action.created_at)),
        Shown("message", lambda d: d.action.message),
        Shown("updated_at", lambda d: iso_micro(d.action.updated_at or d.action.created_at), since=(2, 58)),
    )
)

_RESULTS = {"done": "Success", "begun": None}


async def index(call: Call) -> Reply:
    """GET: the latest first; from 2.58 on in pages."""
    paged = call.version >= (2, 58)
    page = page_of(call) if paged else None
    since, before = span(call)
    found, more = await cloud.listed(
        call.cloud,
        call.context,
        call.params["server_id"],
        deleted=call.version >= (2, 21),
        since=since,
        before=before,
        limit=page.limit if page else MAX_LIMIT,
        marker=page.marker if page else None,
    )
    path = f"/v2.1/servers/{call.params['server_id']}/os-instance-actions"

    def links(taken: int) -> dict[str, Any]:
        if not (paged and taken and (more or taken < len(found))):
            return {}
        return {"links": [{"rel": "next", "href": next_link(call, path, found[taken - 1].action.request_id)}]}

    shown = (SHAPE.show(each, call.version) for each in found)
    return Reply(200, {"instanceActions": shown}, more=links if paged else None)


async def show(call: Call) -> Reply:
    """GET {request_id}: one action; its events for administrators, and for everybody from 2.51 on."""
    detail = await cloud.get(
        call.cloud,
        call.context,
        call.params["server_id"],
        call.params["request_id"],
        deleted=call.version >= (2, 21),
    )
    body = SHAPE.show(detail, call.version)
    if call.version >= (2, 51) or call.context.is_admin:
        body["events"] = [_event(call, detail, step) for step in detail.steps]
    return Reply(200, {"instanceAction": body})


def _event(call: Call, detail: ActionDetail, step: Step) -> dict[str, Any]:
    admin = call.context.is_admin
    event: dict[str, Any] = {
        "event": step.name,
        "start_time": iso_micro(step.started_at),
        "finish_time": iso_micro(step.finished_at),
        "result": _RESULTS.get(step.state, "Error"),
    }
    if admin or call.version < (2, 51):
        event["traceback"] = _cause(step)
    if call.version >= (2, 62):
        event["hostId"] = host_id_of(detail.server.project_id, step.host) if step.host else ""
        if admin:
            event["host"] = step.host or ""
    if call.version >= (2, 84) and admin:
        event["details"] = step.remark or None
    return event


def _cause(step: Step) -> str | None:
    """Return what administrators may see of a failure: programs' words, and the reasons by host."""
    if step.traceback:
        return step.traceback
    output = step.output if isinstance(step.output, dict) else {}
    return output.get("detail") or None if step.state in {"failed", "undone"} else None


_LIST, _SHOW = "os_compute_api:os-instance-actions:list", "os_compute_api:os-instance-actions:show"

_QUERY = Query(
    *window((2, 58), many=False),
    Param("changes-since", since=(2, 58), check=moment),
    Param("changes-before", since=(2, 66), check=moment),
    closed=(2, 58),
)

ROUTES = (
    Route("GET", "/v2.1/servers/{server_id}/os-instance-actions", index, _LIST, query=_QUERY),
    Route("GET", "/v2.1/servers/{server_id}/os-instance-actions/{request_id}", show, _SHOW, query=ONCE_OPEN),
)

POLICIES = {_LIST: project_reader, _SHOW: project_reader}
