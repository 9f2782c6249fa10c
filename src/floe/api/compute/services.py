"""/os-services: the roles, as Nova's clients know them: the agents of hosts as `nova-compute`, conductors twice."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from floe.api.compute.fields import Flag, HostName, flag
from floe.api.kit.body import Body, Field, Name
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import admin
from floe.api.kit.query import Param, Query
from floe.api.kit.routing import Route
from floe.api.kit.shape import Of, Shape, Shown
from floe.api.kit.values import whole
from floe.cloud import conductors, hosts
from floe.cloud.cloud import Cloud
from floe.cloud.conductors import ConductorDetail
from floe.cloud.hosts import HostDetail
from floe.core.clock import iso_micro
from floe.core.errors import Invalid, NotFound
from floe.core.hosts import service_id
from floe.core.ids import is_uuid

COMPUTE = "nova-compute"
OF_CONDUCTOR = ("nova-scheduler", "nova-conductor")
"""What a conductor is to Nova's clients: it places servers, and carries out what is done with them."""
INTERNAL = "internal"
"""The zone that Nova gives to what runs no guests."""
_FIRST_NUMBER = 1 << 30
"""Above those of hosts, so that below 2.53 no two services have the same id."""

_Reason = Annotated[str, Meta(min_length=1, max_length=255)]


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A role on a host, as Nova's clients know it."""

    id: str
    number: int
    binary: str
    host: str
    zone: str
    up: bool
    last_seen: datetime
    enabled: bool = True
    disabled_reason: str | None = None
    forced_down: bool = False


SHAPE: Shape[Service] = Shape(
    (
        Shown("id", lambda s: s.number, until=(2, 52)),
        Shown("id", lambda s: s.id, since=(2, 53)),
        Shown("binary", lambda s: s.binary),
        Shown("host", lambda s: s.host),
        Shown("zone", lambda s: s.zone),
        Shown("status", lambda s: "enabled" if s.enabled else "disabled"),
        Shown("state", lambda s: "up" if s.up else "down"),
        Shown("updated_at", Of("last_seen", iso_micro)),
        Shown("disabled_reason", lambda s: s.disabled_reason),
        Shown("forced_down", lambda s: s.forced_down, since=(2, 11)),
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
        Field("host", HostName, required=True),
        Field("binary", Name, required=True),
        Field("disabled_reason", _Reason),
        Field("forced_down", Flag, since=(2, 11)),
    ),
)


async def index(call: Call) -> Reply:
    """GET, filtered by `host` and `binary`."""
    host, binary = call.one("host"), call.one("binary")
    found = await every(call.cloud)
    shown = (
        SHAPE.show(each, call.version)
        for each in found
        if (not host or host == each.host) and (not binary or binary == each.binary)
    )
    return Reply(200, {"services": shown})


async def every(cloud: Cloud) -> list[Service]:
    """Return all services: those of the conductors, then the agents of the hosts."""
    found = [
        _of_conductor(each, binary, _FIRST_NUMBER + 2 * each.role.number + index)
        for each in await conductors.listed(cloud)
        for index, binary in enumerate(OF_CONDUCTOR)
    ]
    return found + [_of_host(each) async for each in cloud.turns.each(await hosts.listed(cloud))]


def _of_host(each: HostDetail) -> Service:
    host = each.host
    return Service(
        id=each.service_id,
        number=host.number,
        binary=COMPUTE,
        host=host.name,
        zone=host.zone,
        up=each.up,
        last_seen=host.last_seen,
        enabled=host.enabled,
        disabled_reason=host.disabled_reason,
        forced_down=host.forced_down,
    )


def _of_conductor(each: ConductorDetail, binary: str, number: int) -> Service:
    role = each.role
    return Service(
        id=service_id(role.host, binary),
        number=number,
        binary=binary,
        host=role.host,
        zone=INTERNAL,
        up=each.up,
        last_seen=role.last_seen,
    )


async def update(call: Call) -> Reply:
    """PUT {service_id}: enable, disable with a reason, force down. Before 2.53 the path ends in what is to be done."""
    if call.version < (2, 53):
        return await _update_by_name(call, call.params["service_id"])
    body = UPDATE.read(await call.raw(), call.version)
    values = _changes(body)
    found = await _service(call)
    _demand_compute(found.binary)
    changed = await hosts.change(call.cloud, found.host, values)
    return Reply(200, {"service": SHAPE.show(_of_host(changed), call.version)})


async def delete(call: Call) -> Reply:
    """DELETE {service_id}: forget a host, or a conductor with both its services, that is gone for good."""
    found = await _service(call)
    if found.binary == COMPUTE:
        await hosts.remove(call.cloud, found.host)
    else:
        await conductors.remove(call.cloud, found.host)
    return Reply(204)


def _demand_compute(binary: str) -> None:
    if binary != COMPUTE:
        raise Invalid(
            f"Updating a {binary[:80]} service is not supported. Only {COMPUTE} services can be updated: "
            "they take servers, or do not."
        )


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
    _demand_compute(body["binary"])
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
    await hosts.change(call.cloud, body["host"], values)
    return Reply(200, {"service": shown})


async def _service(call: Call) -> Service:
    ident, by_uuid = call.params["service_id"], call.version >= (2, 53)
    if by_uuid and not is_uuid(ident):
        raise Invalid(f"Invalid uuid {ident}.")
    if not by_uuid:
        ident = str(whole(ident, "id"))
    for each in await every(call.cloud):
        if ident.lower() == (each.id if by_uuid else str(each.number)):
            return each
    raise NotFound("service", ident, message=f"Service {ident} could not be found.")


_LIST, _UPDATE = "os_compute_api:os-services:list", "os_compute_api:os-services:update"
_DELETE = "os_compute_api:os-services:delete"

_QUERY = Query(Param("host", many=True), Param("binary", many=True), closed=(2, 75))

ROUTES = (
    Route("GET", "/v2.1/os-services", index, _LIST, query=_QUERY),
    Route("PUT", "/v2.1/os-services/{service_id}", update, _UPDATE),
    Route("DELETE", "/v2.1/os-services/{service_id}", delete, _DELETE),
)

POLICIES = {_LIST: admin, _UPDATE: admin, _DELETE: admin}
