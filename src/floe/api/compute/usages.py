"""/os-simple-tenant-usage: what projects used over a span of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from floe.api.kit.call import Call, Reply
from floe.api.kit.paging import Page, next_link, page_of, window
from floe.api.kit.policy import admin, project_reader
from floe.api.kit.query import Param, Query
from floe.api.kit.routing import Route
from floe.api.kit.values import moment
from floe.cloud import usages as cloud
from floe.core.clock import iso_micro
from floe.core.errors import Forbidden, Invalid
from floe.core.servers import DELETED
from floe.core.usages import ProjectUse, ServerUse, seconds_up

_PATH = "/v2.1/os-simple-tenant-usage"
_SPAN = timedelta(days=28)
_FIRST = datetime.min.replace(tzinfo=UTC)


async def index(call: Call) -> Reply:
    """GET: each project's use; with `detailed=1` server by server."""
    start, stop = _span(call)
    page = _page(call)
    found = await cloud.of_projects(call.cloud, None, start, stop, after=page.marker, limit=page.limit)
    detailed = call.one("detailed") == "1"
    body: dict[str, Any] = {"tenant_usages": [await _shown(call, use, detailed=detailed) for use in found]}
    _link(call, _PATH, page, found, body, "tenant_usages_links")
    return Reply(200, body)


async def show(call: Call) -> Reply:
    """GET {project_id}: one project's use, server by server."""
    project = call.params["project_id"]
    if not call.context.is_admin and not call.context.owns(project):
        raise Forbidden(f"Only administrators may see what another project ({project!r}) used.")
    start, stop = _span(call)
    page = _page(call)
    found = await cloud.of_projects(call.cloud, project, start, stop, after=page.marker, limit=page.limit)
    body: dict[str, Any] = {"tenant_usage": await _shown(call, found[0], detailed=True) if found else {}}
    _link(call, f"{_PATH}/{project}", page, found, body, "tenant_usage_links")
    return Reply(200, body)


def _page(call: Call) -> Page:
    """Read which page of servers is asked for; pages are known since 2.40."""
    return page_of(call) if call.version >= (2, 40) else Page(limit=-1)


def _link(call: Call, path: str, page: Page, found: list[ProjectUse], body: dict[str, Any], name: str) -> None:
    idents = sorted(use.server.id for project in found for use in project.servers)
    if page.limit > 0 and len(idents) == page.limit:
        body[name] = [{"rel": "next", "href": next_link(call, path, idents[-1])}]


def _span(call: Call) -> tuple[datetime, datetime]:
    now = call.cloud.clock.now()
    end, begin = call.one("end"), call.one("start")
    stop = moment(end, "end") if end else now
    start = moment(begin, "start") if begin else max(stop, _FIRST + _SPAN) - _SPAN
    if start >= stop:
        raise Invalid(f"start must be before end (they are {start.isoformat()} and {stop.isoformat()}).")
    return start, min(stop, now) if start < now else stop


async def _shown(call: Call, use: ProjectUse, *, detailed: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "tenant_id": use.project_id,
        "start": iso_micro(use.start),
        "stop": iso_micro(use.stop),
        "total_hours": use.hours,
        "total_vcpus_usage": use.vcpu_hours,
        "total_memory_mb_usage": use.memory_mib_hours,
        "total_local_gb_usage": use.disk_gib_hours,
    }
    if detailed:
        shown["server_usages"] = [_server(call, each) async for each in call.cloud.turns.each(use.servers)]
    return shown


def _server(call: Call, use: ServerUse) -> dict[str, Any]:
    server = use.server
    return {
        "instance_id": server.id,
        "name": server.name,
        "tenant_id": server.project_id,
        "flavor": server.flavor_name,
        "vcpus": server.vcpus,
        "memory_mb": server.memory_mib,
        "local_gb": server.disk_gib,
        "hours": use.hours,
        "started_at": iso_micro(server.launched_at),
        "ended_at": iso_micro(server.terminated_at),
        "state": "terminated" if server.vm_state == DELETED else server.vm_state,
        "uptime": seconds_up(server, call.cloud.clock.now()),
    }


_SPANS = (Param("start", many=True), Param("end", many=True), *window((2, 40)))
_ALL = Query(Param("detailed", many=True), *_SPANS, closed=(2, 75))
_ONE = Query(*_SPANS, closed=(2, 75))

ROUTES = (
    Route("GET", _PATH, index, "os_compute_api:os-simple-tenant-usage:list", query=_ALL),
    Route("GET", _PATH + "/{project_id}", show, "os_compute_api:os-simple-tenant-usage:show", query=_ONE),
)

POLICIES = {
    "os_compute_api:os-simple-tenant-usage:list": admin,
    "os_compute_api:os-simple-tenant-usage:show": project_reader,
}
