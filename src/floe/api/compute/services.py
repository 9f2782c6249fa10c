"""/os-services: the agents of the hosts, which Nova's clients know as `nova-compute`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from floe.api.compute.fields import Flag, flag
from floe.api.kit.body import Body, Field, Name
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import admin
from floe.api.kit.query import Param, Query
from floe.api.kit.routing import Route
from floe.api.kit.shape import Shape, Shown
from floe.cloud import hosts as cloud
from floe.cloud.hosts import HostDetail
from floe.core.clock import iso_micro
from floe.core.errors import Invalid, NotFound
from floe.core.ids import is_uuid

BINARY = "nova-compute"

_Reason = Annotated[str, Meta(min_length=1, max_length=255)]

SHAPE: Shape[HostDetail] = Shape(
    (
        Shown("id", lambda d: d.host.number, until=(2, 52)),
        Shown("id", lambda d: d.service_id, since=(2, 53)),
        Shown("binary", lambda _d: BINARY),
        Shown("host", lambda d: d.host.name),
        Shown("zone", lambda d: d.host.availability_zone),
        Shown("status", lambda d: "enabled" if d.host.enabled else "disabled"),
        Shown("state", lambda d: "up" if d.up else "down"),
        Shown("updated_at", lambda d: iso_micro(d.host.last_seen)),
        Shown("disabled_reason", lambda d: d.host.disabled_reason),
        Shown("forced_down", lambda d: d.host.forced_down, since=(2, 11)),
    )
)

UPDATE = Body(
    None,
    (
        Field("status", Literal["enabled", "disabled"]),
        Field("disabled_reason", _Reason),
        Field("forced_down", Flag),
    ),
)
LEGACY = Body(
    None,
    (
        Field("host", Name, required=True),
        Field("binary", Name, required=True),
        Field("disabled_reason", _Reason),
        Field("forced_down", Flag, since=(2, 11)),
    ),
)


async def index(call: Call) -> Reply:
    """GET, filtered by `host` and `binary`."""
    host, binary = call.one("host"), call.one("binary")
    found = await cloud.listed(call.cloud) if binary in {None, BINARY} else []
    shown = [SHAPE.show(each, call.version) for each in found if host in {None, each.host.name}]
    return Reply(200, {"services": shown})


async def update(call: Call) -> Reply:
    """PUT {service_id}: enable, disable with a reason, force down. Before 2.53 the path ends in what is to be done."""
    if call.version < (2, 53):
        return await _update_by_name(call, call.params["service_id"])
    body = UPDATE.read(await call.raw(), call.version)
    values = _changes(body)
    found = await _service(call)
    return Reply(200, {"service": SHAPE.show(await cloud.change(call.cloud, found.host.name, values), call.version)})


async def delete(call: Call) -> Reply:
    """DELETE {service_id}: forget a host that is gone for good."""
    found = await _service(call)
    await cloud.remove(call.cloud, found.host.name)
    return Reply(204)


def _changes(body: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if "status" in body:
        values["enabled"] = body["status"] == "enabled"
        values["disabled_reason"] = body.get("disabled_reason")
    elif "disabled_reason" in body:
        raise Invalid("disabled_reason may be given only together with status 'disabled'.")
    if body.get("status") == "enabled" and "disabled_reason" in body:
        raise Invalid("disabled_reason may be given only together with status 'disabled'.")
    if "forced_down" in body:
        values["forced_down"] = flag(body["forced_down"], "forced_down")
    if not values:
        raise Invalid("Nothing to change: give status, or forced_down.")
    return values


async def _update_by_name(call: Call, what: str) -> Reply:
    known = {"enable", "disable", "disable-log-reason", *(["force-down"] if call.version >= (2, 11) else [])}
    if what not in known:
        raise NotFound("service action", what)
    body = LEGACY.read(await call.raw(), call.version)
    if body["binary"] != BINARY:
        raise NotFound("service", f"{body['binary']} on {body['host']}")
    values: dict[str, Any]
    shown: dict[str, Any] = {"host": body["host"], "binary": body["binary"]}
    if what == "force-down":
        if "forced_down" not in body:
            raise Invalid("Missing argument forced_down: true or false is needed.")
        values = {"forced_down": flag(body["forced_down"], "forced_down")}
        shown["forced_down"] = values["forced_down"]
    else:
        if what == "disable-log-reason" and "disabled_reason" not in body:
            raise Invalid("Missing argument disabled_reason.")
        reason = body.get("disabled_reason") if what == "disable-log-reason" else None
        values = {"enabled": what == "enable", "disabled_reason": reason}
        shown["status"] = "enabled" if what == "enable" else "disabled"
        if what == "disable-log-reason":
            shown["disabled_reason"] = reason
    await cloud.change(call.cloud, body["host"], values)
    return Reply(200, {"service": shown})


async def _service(call: Call) -> HostDetail:
    ident = call.params["service_id"]
    if call.version >= (2, 53) and not is_uuid(ident):
        raise Invalid(f"Invalid uuid {ident}.")
    found = await cloud.get(call.cloud, ident)
    if call.version >= (2, 53) and ident.lower() != found.service_id:
        raise NotFound("service", ident)
    return found


_LIST, _UPDATE = "os_compute_api:os-services:list", "os_compute_api:os-services:update"
_DELETE = "os_compute_api:os-services:delete"

_QUERY = Query(Param("host", many=True), Param("binary", many=True), closed=(2, 75))

ROUTES = (
    Route("GET", "/v2.1/os-services", index, _LIST, query=_QUERY),
    Route("PUT", "/v2.1/os-services/{service_id}", update, _UPDATE),
    Route("DELETE", "/v2.1/os-services/{service_id}", delete, _DELETE),
)

POLICIES = {_LIST: admin, _UPDATE: admin, _DELETE: admin}
