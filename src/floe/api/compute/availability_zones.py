"""/os-availability-zone."""

from __future__ import annotations

from typing import Any

from floe.api.compute import services
from floe.api.compute.dialect import ONCE_OPEN
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import admin, authenticated
from floe.api.kit.routing import Route
from floe.cloud import hosts as cloud
from floe.cloud.hosts import Zone
from floe.core.clock import iso_micro


async def index(call: Call) -> Reply:
    """GET: the zones, without hosts."""
    found = await cloud.zones(call.cloud)
    return Reply(200, {"availabilityZoneInfo": [{**_zone(zone), "hosts": None} for zone in found]})


async def detail(call: Call) -> Reply:
    """GET detail: the zones with their hosts, and that of the roles which run no guests."""
    zones = [{**_zone(zone), "hosts": {}} for zone in await cloud.zones(call.cloud)]
    hosts: dict[str, dict[str, Any]] = {zone["zoneName"]: zone["hosts"] for zone in zones}
    async for service in call.cloud.turns.each(await services.every(call.cloud)):
        if service.zone == services.INTERNAL and services.INTERNAL not in hosts:
            hosts[services.INTERNAL] = {}
            shown = {"zoneName": services.INTERNAL, "zoneState": {"available": True}}
            zones.insert(0, {**shown, "hosts": hosts[services.INTERNAL]})
        hosts[service.zone].setdefault(service.host, {})[service.binary] = {
            "active": service.enabled,
            "available": service.up,
            "updated_at": iso_micro(service.last_seen),
        }
    return Reply(200, {"availabilityZoneInfo": zones})


def _zone(zone: Zone) -> dict[str, Any]:
    return {"zoneName": zone.name, "zoneState": {"available": zone.available}}


_LIST, _DETAIL = "os_compute_api:os-availability-zone:list", "os_compute_api:os-availability-zone:detail"

ROUTES = (
    Route("GET", "/v2.1/os-availability-zone", index, _LIST, query=ONCE_OPEN),
    Route("GET", "/v2.1/os-availability-zone/detail", detail, _DETAIL, query=ONCE_OPEN),
)

POLICIES = {_LIST: authenticated, _DETAIL: admin}
