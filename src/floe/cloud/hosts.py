"""Hosts as operators see them: what each has, what is taken, whether it is up; and what they may set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from floe.cloud import host_networks
from floe.cloud.cloud import Cloud
from floe.core.errors import Conflict, NotFound
from floe.core.hosts import Host, host_id, service_id
from floe.store import guests
from floe.store import hosts as rows
from floe.store.engine import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class HostDetail:
    """A host, whether it is up, and the servers on it: (id, guest's name)."""

    host: Host
    up: bool
    servers: Sequence[tuple[str, str]] = ()

    @property
    def id(self) -> str:
        """Its UUID."""
        return self.host.id

    @property
    def service_id(self) -> str:
        """The UUID of its service."""
        return service_id(self.host.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """An availability zone: whether any host in it takes servers, and its hosts."""

    name: str
    available: bool
    hosts: Sequence[HostDetail] = field(default_factory=tuple)


async def listed(cloud: Cloud) -> list[HostDetail]:
    """Return all hosts, the oldest first."""
    return await cloud.db.read(lambda conn: _details(conn, cloud))


async def get(cloud: Cloud, ident: str) -> HostDetail:
    """Return a host by its UUID, its service's UUID, or its number. Raises NotFound."""
    for detail in await listed(cloud):
        if ident in {detail.id, detail.service_id, str(detail.host.number)}:
            return detail
    raise NotFound("host", ident)


async def named(cloud: Cloud, name: str) -> HostDetail:
    """Return a host by its name. Raises NotFound."""
    found = await cloud.db.read(lambda conn: rows.get(conn, name))
    if found is None:
        raise NotFound("host", name)
    return await get(cloud, host_id(name))


async def change(cloud: Cloud, name: str, values: Mapping[str, Any]) -> HostDetail:
    """Set `enabled`, `disabled_reason` and `forced_down` of a host. Raises NotFound."""
    now = cloud.clock.now()
    if not await cloud.db.write(lambda conn: rows.change(conn, name, now, **values)):
        raise NotFound("host", name)
    return await named(cloud, name)


async def remove(cloud: Cloud, name: str) -> None:
    """Forget a host that is gone for good. Raises NotFound; Conflict while servers are on it or it is up."""

    def work(conn: Connection) -> None:
        host = rows.get(conn, name)
        if host is None:
            raise NotFound("host", name)
        there = guests.on_host(conn, name)
        if there:
            raise Conflict(f"Host {name} still has {len(there)} servers; delete or move them first.")
        if host.is_up(cloud.clock.now()):
            raise Conflict(f"Host {name} is up; stop its agent first.")
        rows.remove(conn, name)
        host_networks.forget(conn, name)

    await cloud.db.write(work)


async def zones(cloud: Cloud) -> list[Zone]:
    """Return the availability zones, the default one among them though it has no host."""
    by_zone: dict[str, list[HostDetail]] = {cloud.settings.availability_zone: []}
    for detail in await listed(cloud):
        by_zone.setdefault(detail.host.availability_zone, []).append(detail)
    return [
        Zone(name=name, available=any(each.up and each.host.enabled for each in found), hosts=tuple(found))
        for name, found in sorted(by_zone.items())
    ]


def _details(conn: Connection, cloud: Cloud) -> list[HostDetail]:
    now = cloud.clock.now()
    by_host = guests.by_host(conn)
    return [
        HostDetail(host=host, up=host.is_up(now), servers=tuple(by_host.get(host.name, ())))
        for host in rows.every(conn)
    ]
