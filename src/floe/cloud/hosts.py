"""Hosts as operators see them: what each has, what is taken, whether it is up; and what they may set."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from floe.cloud import host_networks, known_hosts
from floe.cloud.cloud import Cloud
from floe.core.errors import Conflict, HostFailure, NotFound, Unavailable
from floe.core.host_uptime import ReadUptime, Uptime
from floe.core.hosts import Host, service_id
from floe.core.resources import Resources
from floe.core.texts import shortened
from floe.store import allocations, guests, holdings, host_keys, port_bindings
from floe.store import hosts as rows
from floe.store.engine import Connection

_PORTION = 400
"""Hosts that are read at once: on the event loop, in less than what such a read may take (`store.readers`)."""

_ASKED_AT_ONCE, _UPTIME_SECONDS = 64, 5.0
"""Hosts that are asked for their uptime side by side, and for how long one is waited for."""


class HostDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A host, and whether it is up."""

    host: Host
    up: bool

    @property
    def id(self) -> str:
        """Its UUID."""
        return self.host.id

    @property
    def service_id(self) -> str:
        """The UUID of its service."""
        return service_id(self.host.name)


class Zone(msgspec.Struct, frozen=True, kw_only=True):
    """An availability zone: whether any host in it takes servers, and its hosts."""

    name: str
    available: bool
    hosts: Sequence[HostDetail] = msgspec.field(default_factory=tuple)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which hosts are wanted: those with `part` in their name, `after` the one of that number, `limit` at most."""

    part: str = ""
    after: int = 0
    limit: int | None = None


_ALL = Wanted()


async def listed(cloud: Cloud, wanted: Wanted = _ALL) -> list[HostDetail]:
    """Return hosts, the oldest first; read in portions, each of them short."""
    found: list[Host] = []
    while wanted.limit is None or len(found) < wanted.limit:
        most = _PORTION if wanted.limit is None else min(_PORTION, wanted.limit - len(found))
        after = found[-1].number if found else wanted.after
        portion = await cloud.db.read(partial(rows.find, most=most, after=after, part=wanted.part))
        found += portion
        if len(portion) < most:
            break
        await cloud.turns.turn()
    now = cloud.clock.now()
    return [HostDetail(host=host, up=host.is_up(now)) for host in found]


async def running(cloud: Cloud, details: Sequence[HostDetail]) -> Mapping[str, int]:
    """Return how many servers are on these hosts, by their names; a host without any is left out."""
    names = [each.host.name for each in details]
    return await cloud.db.read(lambda conn: guests.count(conn, names))


async def servers_on(cloud: Cloud, details: Sequence[HostDetail]) -> Mapping[str, Sequence[tuple[str, str]]]:
    """Return the servers on these hosts, (id, guest's name) by host; a host without any is left out."""
    names = [each.host.name for each in details]
    return await cloud.db.read(lambda conn: guests.by_host(conn, names))


async def uptimes(cloud: Cloud, details: Sequence[HostDetail]) -> Mapping[str, str]:
    """Return, by name, for how long the machines of these hosts have been up, as far as they say so soon."""
    places = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def ask(name: str) -> tuple[str, str | None]:
        async with places:
            try:
                answer = await cloud.bus.request(name, ReadUptime(), timeout=_UPTIME_SECONDS)
            except (HostFailure, Unavailable):
                return name, None
            return name, answer.text if isinstance(answer, Uptime) else None

    told = await asyncio.gather(*(ask(each.host.name) for each in details if each.up))
    return {name: text for name, text in told if text is not None}


async def get(cloud: Cloud, ident: str) -> HostDetail:
    """Return a host by its UUID, its service's UUID, or its number. Raises NotFound."""
    known = await known_hosts.current(cloud)
    found = known.by_id.get(ident) or known.by_service.get(ident) or known.by_number.get(ident)
    if found is None:
        raise NotFound("host", ident)
    return await named(cloud, found.name)


async def named(cloud: Cloud, name: str) -> HostDetail:
    """Return a host by its name. Raises NotFound."""
    found = await cloud.db.read(lambda conn: rows.get(conn, name))
    if found is None:
        raise NotFound("host", name)
    return HostDetail(host=found, up=found.is_up(cloud.clock.now()))


async def taken(cloud: Cloud, name: str) -> dict[str, Resources]:
    """Return what projects take of a host, by their ids."""
    found: dict[str, Resources] = {}
    async for each in cloud.turns.each(await cloud.db.read(lambda conn: allocations.of_host(conn, name))):
        found[each.project_id] = found.get(each.project_id, Resources()) + each.resources
    return found


async def change(cloud: Cloud, name: str, values: Mapping[str, Any]) -> HostDetail:
    """Set `enabled`, `disabled_reason` and `forced_down` of a host. Raises NotFound."""
    now = cloud.clock.now()
    if not await cloud.db.write(lambda conn: rows.change(conn, name, now, **values)):
        raise NotFound("host", name)
    return await named(cloud, name)


async def remove(cloud: Cloud, name: str) -> None:
    """Forget a host that is gone for good, and what its name is bound to: the bus lets that key in no more.

    Raises NotFound; Conflict while servers are on it or it is up.
    """

    now = cloud.clock.now()

    def work(conn: Connection) -> None:
        host = rows.get(conn, name)
        bound = host_keys.delete(conn, name)
        if host is None and bound:
            return  # it was to come, or has not been heard of yet
        if host is None:
            raise NotFound("host", name)
        there = guests.on_host(conn, name)
        if there:
            many = "1 server" if len(there) == 1 else f"{len(there)} servers"
            raise Conflict(
                f"Host {name} still has {many}; delete or move them first: `openstack server list --all-projects "
                f"--host {name}` names them."
            )
        if left := sorted({claim.server_id for claim in allocations.of_host(conn, name)}):
            raise Conflict(
                f"Host {name} is one that servers are moving to, or keeps what they were before that: "
                f"{shortened(', '.join(left), 400)}. Confirm or revert that first."
            )
        if host.is_up(now):
            raise Conflict(f"Host {name} is up; stop its agent first.")
        rows.remove(conn, name)
        port_bindings.forget_host(conn, name)
        host_networks.forget(conn, name)
        holdings.forget(conn, name)

    await cloud.db.write(work)


async def zones(cloud: Cloud) -> list[Zone]:
    """Return the availability zones, the default one among them though it has no host."""
    by_zone: dict[str, list[HostDetail]] = {cloud.settings.availability_zone: []}
    for detail in await listed(cloud):
        by_zone.setdefault(detail.host.zone, []).append(detail)
    return [
        Zone(name=name, available=any(each.up and each.host.enabled for each in found), hosts=tuple(found))
        for name, found in sorted(by_zone.items())
    ]
