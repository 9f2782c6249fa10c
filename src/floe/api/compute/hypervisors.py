"""/os-hypervisors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from floe.api.compute.fields import flag
from floe.api.kit.call import Call, Reply
from floe.api.kit.paging import Page, next_link, page_of, window
from floe.api.kit.policy import admin
from floe.api.kit.query import OPEN_QUERY, Param, Query, shaped
from floe.api.kit.routing import Route
from floe.api.kit.shape import Shape, Shown
from floe.api.kit.values import is_digits
from floe.cloud import hosts as cloud
from floe.cloud.hosts import HostDetail, Wanted
from floe.core.errors import Invalid, NotFound
from floe.core.hosts import Host
from floe.core.ids import is_uuid

_PATH = "/v2.1/os-hypervisors"
_AMOUNTS_UNTIL = (2, 87)
_SUMMED = (
    "vcpus",
    "vcpus_used",
    "memory_mb",
    "memory_mb_used",
    "free_ram_mb",
    "local_gb",
    "local_gb_used",
    "free_disk_gb",
    "running_vms",
    "current_workload",
)


class Hypervisor(msgspec.Struct, frozen=True, kw_only=True):
    """A host as this API knows it, with what of its servers is shown."""

    detail: HostDetail
    running: int = 0
    servers: Sequence[tuple[str, str]] = ()
    uptime: str | None = None
    """None where the host is down, or does not say."""

    @property
    def host(self) -> Host:
        return self.detail.host


BRIEF: tuple[Shown[Hypervisor], ...] = (
    Shown("id", lambda d: d.host.number, until=(2, 52)),
    Shown("id", lambda d: d.host.id, since=(2, 53)),
    Shown("hypervisor_hostname", lambda d: d.host.name),
    Shown("state", lambda d: "up" if d.detail.up else "down"),
    Shown("status", lambda d: "enabled" if d.host.enabled else "disabled"),
)
SHAPE: Shape[Hypervisor] = Shape(BRIEF)
DETAIL: Shape[Hypervisor] = Shape(
    (
        *BRIEF,
        Shown("hypervisor_type", lambda d: d.host.hypervisor_type),
        Shown("hypervisor_version", lambda d: d.host.hypervisor_version),
        Shown("host_ip", lambda d: d.host.address),
        Shown("service", lambda d: _service(d, d.host.number), until=(2, 52)),
        Shown("service", lambda d: _service(d, d.detail.service_id), since=(2, 53)),
        Shown("vcpus", lambda d: _total(d.host, "VCPU"), until=_AMOUNTS_UNTIL),
        Shown("vcpus_used", lambda d: d.host.used.vcpus, until=_AMOUNTS_UNTIL),
        Shown("memory_mb", lambda d: _total(d.host, "MEMORY_MB"), until=_AMOUNTS_UNTIL),
        Shown("memory_mb_used", lambda d: _memory_used(d.host), until=_AMOUNTS_UNTIL),
        Shown("free_ram_mb", lambda d: _total(d.host, "MEMORY_MB") - _memory_used(d.host), until=_AMOUNTS_UNTIL),
        Shown("local_gb", lambda d: _total(d.host, "DISK_GB"), until=_AMOUNTS_UNTIL),
        Shown("local_gb_used", lambda d: d.host.used.disk_gib, until=_AMOUNTS_UNTIL),
        Shown("free_disk_gb", lambda d: _total(d.host, "DISK_GB") - d.host.used.disk_gib, until=_AMOUNTS_UNTIL),
        Shown("disk_available_least", lambda _d: None, until=_AMOUNTS_UNTIL),  # not measured
        Shown("running_vms", lambda d: d.running, until=_AMOUNTS_UNTIL),
        # Nova counts builds in progress here; nobody reads it, and below 2.88 the key has to be there.
        Shown("current_workload", lambda _d: 0, until=_AMOUNTS_UNTIL),
        Shown("cpu_info", lambda d: _cpu_text(d.host), until=(2, 27)),
        Shown("cpu_info", lambda d: _cpu(d.host), since=(2, 28), until=_AMOUNTS_UNTIL),
        Shown("uptime", lambda d: d.uptime, since=(2, 88)),
    )
)


async def index(call: Call) -> Reply:
    """GET."""
    return await _listed(call, SHAPE, _PATH)


async def detail(call: Call) -> Reply:
    """GET detail."""
    return await _listed(call, DETAIL, f"{_PATH}/detail")


async def show(call: Call) -> Reply:
    """GET {hypervisor_id}."""
    (found,) = await _seen(call, [await _host(call)], DETAIL, listed=_with_servers(call))
    return Reply(200, {"hypervisor": _view(call, found, DETAIL, listed=_with_servers(call))})


async def uptime(call: Call) -> Reply:
    """GET {hypervisor_id}/uptime; from 2.88 on `show` has it."""
    host = await _host(call)
    told = (await cloud.uptimes(call.cloud, [host])).get(host.host.name)
    if told is None:
        raise Invalid(f"Compute service of {host.host.name} is unavailable at this time.")
    return Reply(200, {"hypervisor": SHAPE.show(Hypervisor(detail=host), call.version) | {"uptime": told}})


async def statistics(call: Call) -> Reply:
    """GET statistics: sums over all hosts that are enabled."""
    enabled = [each for each in await cloud.listed(call.cloud) if each.host.enabled]
    sums = dict.fromkeys(_SUMMED, 0)
    async for each in call.cloud.turns.each(await _seen(call, enabled, DETAIL)):
        shown = DETAIL.show(each, (2, 28))
        for name in _SUMMED:
            sums[name] += shown[name]
    return Reply(200, {"hypervisor_statistics": {"count": len(enabled), "disk_available_least": 0, **sums}})


async def search(call: Call) -> Reply:
    """GET {pattern}/search: hosts with a name that contains it."""
    found = await _matching(call, call.params["hypervisor_id"])
    return Reply(200, {"hypervisors": (SHAPE.show(Hypervisor(detail=each), call.version) for each in found)})


async def servers(call: Call) -> Reply:
    """GET {pattern}/servers: likewise, with their servers."""
    found = await _seen(call, await _matching(call, call.params["hypervisor_id"]), SHAPE, listed=True)
    return Reply(200, {"hypervisors": (_view(call, each, SHAPE, listed=True) for each in found)})


async def _host(call: Call) -> HostDetail:
    ident = call.params["hypervisor_id"]
    if call.version >= (2, 53) and not is_uuid(ident):
        raise Invalid(f"Invalid uuid {ident}.")
    if call.version < (2, 53) and not is_digits(ident):
        raise NotFound("hypervisor", ident, message=f"Compute host {ident} could not be found.")
    return await cloud.get(call.cloud, ident)


async def _listed(call: Call, shape: Shape[Hypervisor], path: str) -> Reply:
    pattern = call.one("hypervisor_hostname_pattern")
    if pattern is not None and (call.one("limit") or call.one("marker")):
        raise Invalid("hypervisor_hostname_pattern cannot be used together with limit or marker.")
    page = page_of(call) if call.version >= (2, 33) else Page(limit=0)
    if pattern is not None:
        hosts = await _matching(call, pattern)
    else:
        wanted = Wanted(after=await _after(call, page.marker), limit=page.limit + 1 if page.limit else None)
        hosts = await cloud.listed(call.cloud, wanted)
    rest = len(hosts) > page.limit > 0
    hosts = hosts[: page.limit] if rest else hosts
    listed = _with_servers(call)
    found = await _seen(call, hosts, shape, listed=listed)

    def links(taken: int) -> dict[str, Any]:
        if not taken or not (rest or taken < len(found)):
            return {}
        href = next_link(call, path, _ident(call, found[taken - 1].detail))
        return {"hypervisors_links": [{"rel": "next", "href": href}]}

    shown = (_view(call, each, shape, listed=listed) for each in found)
    return Reply(200, {"hypervisors": shown}, more=links if call.version >= (2, 33) else None)


async def _after(call: Call, marker: str | None) -> int:
    """Return the number of the host that a marker names. Raises Invalid."""
    if marker is None:
        return 0
    try:
        found = await cloud.get(call.cloud, marker)
    except NotFound:
        found = None
    if found is None or marker != _ident(call, found):
        raise Invalid(f"Invalid input for query parameter marker: hypervisor {marker!r} was not found.")
    return found.host.number


async def _matching(call: Call, pattern: str) -> list[HostDetail]:
    found = await cloud.listed(call.cloud, Wanted(part=pattern))
    if not found:
        raise NotFound("hypervisor", pattern, message=f"No hypervisor matching '{pattern}' could be found.")
    return found


async def _seen(
    call: Call, hosts: Sequence[HostDetail], shape: Shape[Hypervisor], *, listed: bool = False
) -> list[Hypervisor]:
    """Add what is shown of the servers on these hosts: how many, and with `listed` which."""
    there = await cloud.servers_on(call.cloud, hosts) if listed else {}
    counted = shape is DETAIL and call.version <= _AMOUNTS_UNTIL
    running = await cloud.running(call.cloud, hosts) if counted else {}
    up = await cloud.uptimes(call.cloud, hosts) if shape is DETAIL and not counted else {}
    return [
        Hypervisor(
            detail=each,
            running=running.get(each.host.name, 0),
            servers=there.get(each.host.name, ()),
            uptime=up.get(each.host.name),
        )
        for each in hosts
    ]


def _view(call: Call, each: Hypervisor, shape: Shape[Hypervisor], *, listed: bool) -> dict[str, Any]:
    shown = shape.show(each, call.version)
    return shown | _servers(call, each) if listed else shown


def _ident(call: Call, each: HostDetail) -> str:
    return each.id if call.version >= (2, 53) else str(each.host.number)


def _servers(call: Call, each: Hypervisor) -> dict[str, Any]:
    if not each.servers and call.version < (2, 75):
        return {}
    return {"servers": [{"uuid": ident, "name": name} for ident, name in each.servers]}


def _service(each: Hypervisor, ident: int | str) -> dict[str, Any]:
    return {"host": each.host.name, "id": ident, "disabled_reason": each.host.disabled_reason}


def _total(host: Host, resource_class: str) -> int:
    return host.inventory(resource_class).total


def _memory_used(host: Host) -> int:
    return host.used.memory_mib + host.inventory("MEMORY_MB").reserved


def _cpu(host: Host) -> dict[str, Any]:
    info: dict[str, Any] = dict(host.cpu_info)
    info["features"] = info.get("features", "").split()
    return info


def _cpu_text(host: Host) -> str:
    return msgspec.json.encode(_cpu(host)).decode()


def _with_servers(call: Call) -> bool:
    text = call.one("with_servers")
    return text is not None and flag(text, "with_servers")


_RULE = "os_compute_api:os-hypervisors:"

_WITH_SERVERS = Param("with_servers", since=(2, 53), check=shaped("(?i:true|1|on|yes|false|0|off|no)", "true or false"))
_MANY = Query(
    *window((2, 33), (2, 52)),
    *window((2, 53), many=False),
    Param("hypervisor_hostname_pattern", since=(2, 53), check=shaped("[a-zA-Z0-9._-]{1,255}", "part of a host's name")),
    _WITH_SERVERS,
    closed=(2, 53),
)
_ONE = Query(_WITH_SERVERS, closed=(2, 53))

ROUTES = (
    Route("GET", _PATH, index, _RULE + "list", query=_MANY),
    Route("GET", f"{_PATH}/detail", detail, _RULE + "list-detail", query=_MANY),
    Route("GET", f"{_PATH}/statistics", statistics, _RULE + "statistics", until=_AMOUNTS_UNTIL, query=OPEN_QUERY),
    Route("GET", f"{_PATH}/{{hypervisor_id}}", show, _RULE + "show", query=_ONE),
    Route("GET", f"{_PATH}/{{hypervisor_id}}/uptime", uptime, _RULE + "uptime", until=_AMOUNTS_UNTIL, query=OPEN_QUERY),
    Route("GET", f"{_PATH}/{{hypervisor_id}}/search", search, _RULE + "search", until=(2, 52), query=OPEN_QUERY),
    Route("GET", f"{_PATH}/{{hypervisor_id}}/servers", servers, _RULE + "servers", until=(2, 52), query=OPEN_QUERY),
)

POLICIES = {route.policy: admin for route in ROUTES}
