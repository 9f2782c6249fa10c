"""/os-hosts, until 2.42: hosts by name with what is taken of them, before hypervisors and services told it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from floe.api.compute import services
from floe.api.kit.body import Body, Field
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import admin
from floe.api.kit.query import OPEN_QUERY, Param, Query
from floe.api.kit.routing import Route
from floe.cloud import hosts as cloud
from floe.core.errors import Invalid, NotSupported
from floe.core.hosts import Host
from floe.core.resources import Resources

UNTIL = (2, 42)
_PREFIX = "nova-"
_Toggle = Literal["enable", "disable"]
_UPDATE = Body(None, (Field("status", _Toggle), Field("maintenance_mode", _Toggle)))


async def index(call: Call) -> Reply:
    """GET: the services that are enabled, of one `zone` if it is given; those that run guests first."""
    zone = call.one("zone")
    found = [each for each in await services.every(call.cloud) if each.enabled and zone in {None, "", each.zone}]
    found.sort(key=lambda each: each.binary != services.COMPUTE)
    shown = ({"host_name": s.host, "service": s.binary.removeprefix(_PREFIX), "zone": s.zone} for s in found)
    return Reply(200, {"hosts": shown})


async def show(call: Call) -> Reply:
    """GET {host_name}: what there is, what is used, and who took it."""
    found = (await cloud.named(call.cloud, call.params["host_name"])).host
    taken = await cloud.taken(call.cloud, found.name)
    return Reply(200, {"host": [{"resource": each} for each in _resources(found, taken)]})


def _resources(host: Host, taken: dict[str, Resources]) -> Iterable[dict[str, Any]]:
    has = {name: host.inventory(name) for name in ("VCPU", "MEMORY_MB", "DISK_GB")}
    yield _resource(host, "(total)", *(each.total for each in has.values()))
    reserved = has["MEMORY_MB"].reserved  # as in the figures of its hypervisor
    yield _resource(host, "(used_now)", host.used.vcpus, host.used.memory_mib + reserved, host.used.disk_gib)
    most = sum(taken.values(), Resources())
    for project, used in {"(used_max)": most, **taken}.items():
        yield _resource(host, project, used.vcpus, used.memory_mib, used.disk_gib)


def _resource(host: Host, project: str, cpu: int, memory_mb: int, disk_gb: int) -> dict[str, Any]:
    return {"host": host.name, "project": project, "cpu": cpu, "memory_mb": memory_mb, "disk_gb": disk_gb}


async def update(call: Call) -> Reply:
    """PUT {host_name}."""
    if not _UPDATE.read(await call.raw(), call.version):
        raise Invalid("Nothing to change: give status, or maintenance_mode.")
    raise await _refused(call, "os-services enables and disables it.")


async def power(call: Call) -> Reply:
    """GET {host_name}/startup, shutdown, reboot."""
    raise await _refused(call, "machines are turned on and off by their administrator.")


async def _refused(call: Call, instead: str) -> NotSupported:
    found = await cloud.named(call.cloud, call.params["host_name"])
    return NotSupported(f"Nothing is done with the host {found.host.name} here: {instead}")


_PATH = "/v2.1/os-hosts"
_ONE = _PATH + "/{host_name}"
_RULE = "os_compute_api:os-hosts:"
_POWER = {"startup": "start", "shutdown": "shutdown", "reboot": "reboot"}

ROUTES = (
    Route("GET", _PATH, index, f"{_RULE}list", until=UNTIL, query=Query(Param("zone", many=True), closed=None)),
    Route("GET", _ONE, show, f"{_RULE}show", until=UNTIL, query=OPEN_QUERY),
    Route("PUT", _ONE, update, f"{_RULE}update", until=UNTIL),
    *(Route("GET", f"{_ONE}/{do}", power, _RULE + rule, until=UNTIL, query=OPEN_QUERY) for do, rule in _POWER.items()),
)

POLICIES = {_RULE + name: admin for name in ("list", "show", "update", *_POWER.values())}
