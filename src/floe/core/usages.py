"""How much a project's servers took over a span of time, in hours."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from floe.core.servers import DELETED


class UsedServer(msgspec.Struct, frozen=True, kw_only=True):
    """What a report of use tells of a server, whether it is there, gone, or purged."""

    id: str
    project_id: str
    name: str
    flavor_name: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    """Its local disks: root and ephemeral."""
    launched_at: datetime | None
    terminated_at: datetime | None
    vm_state: str = DELETED


class ServerUse(msgspec.Struct, frozen=True, kw_only=True):
    """A server, and for how many hours of the span it was there."""

    server: UsedServer
    hours: float


class ProjectUse(msgspec.Struct, frozen=True, kw_only=True):
    """What the servers of a project took within a span of time."""

    project_id: str
    start: datetime
    stop: datetime
    servers: tuple[ServerUse, ...]
    hours: float
    vcpu_hours: float
    memory_mib_hours: float
    disk_gib_hours: float
    """Hours of all servers: plain, and each times its vCPUs, its memory in MiB, its local disks in GiB."""


def seconds_up(server: UsedServer, now: datetime) -> int:
    """Return for how long a server has been there, or was."""
    if server.launched_at is None:
        return 0
    return max(0, int(((server.terminated_at or now) - server.launched_at).total_seconds()))


def use_of(project_id: str, servers: Sequence[UsedServer], start: datetime, stop: datetime) -> ProjectUse:
    """Return what these servers of a project took from `start` to `stop`; those never launched took nothing."""
    uses = []
    for server in servers:
        if server.launched_at is None:
            continue
        begin, end = max(server.launched_at, start), min(server.terminated_at or stop, stop)
        if end >= begin:
            uses.append(ServerUse(server=server, hours=(end - begin).total_seconds() / 3600))
    return ProjectUse(
        project_id=project_id,
        start=start,
        stop=stop,
        servers=tuple(uses),
        hours=sum(use.hours for use in uses),
        vcpu_hours=sum(use.hours * use.server.vcpus for use in uses),
        memory_mib_hours=sum(use.hours * use.server.memory_mib for use in uses),
        disk_gib_hours=sum(use.hours * use.server.disk_gib for use in uses),
    )
