"""Mending what the audit finds, as far as that is safe: what nobody can miss goes, and what runs is never touched."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec

from floe.cloud import audits, host_guests, host_networks, router_repair, server_ports, unmade_images
from floe.cloud.audit import Violation
from floe.cloud.audits import Look, Pause
from floe.cloud.cloud import Cloud
from floe.cloud.host_guests import Stray
from floe.cloud.image_blobs import adopt, remove_strays
from floe.core.errors import HostFailure, Unavailable
from floe.core.messages import Inspected
from floe.core.resources import Resources
from floe.store import actions, addresses, allocations, guests, image_usage, port_bindings, ports, quota_usages
from floe.store import hosts as host_rows
from floe.store.audit import Rows
from floe.store.engine import Connection
from floe.store.guests import Expected

log = logging.getLogger(__name__)

_DESTROY_SECONDS = 20.0
_TRIES, _TRY_SECONDS = 10, 0.3
_MOST_ACTIONS = 1000
_OF_NETWORK = ("a port is ", "a segment is ", "a group is ", "a router is ", "a host's network ")
"""How the rules begin that a host's network breaks."""


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, what is in order because of it, and what is left for an operator to see to."""

    done: tuple[str, ...]
    mended: tuple[Violation, ...]
    left: tuple[Violation, ...]


async def repair(cloud: Cloud, pause: Pause = asyncio.sleep) -> Repair:
    """Mend what is safe, and look again.

    Actions that wait are nudged; hosts whose network is amiss are sent their whole one; guests and files of
    servers that beyond doubt should not be there are destroyed; power states are taken over from the hosts; ports and
    allocations of servers that are gone, guest and all, are given back, and so are addresses of ports that are gone;
    what is claimed of hosts, used of images by projects, and counted of what quotas limit is summed up anew; images
    that servers had travelled as are deleted, and bytes that are no image's removed; what routers, floating IPs and
    their ports lack of each other is made whole, or let go.
    """
    seen = await audits.confirmed(cloud, pause)
    found = seen.found
    done = await _nudge(cloud)
    if found:
        done += await _on_each_host(cloud, seen, _destroy_strays)
        done += await _on_each_host(cloud, seen, _take_over_states)
        done += await _give_back(cloud, seen)
        now = cloud.clock.now()
        done += await cloud.db.write(lambda conn: _free_addresses(conn, seen.rows) + _sum_up(conn, now))
        done += await cloud.db.write(lambda conn: router_repair.mend(conn, now))
        done += await cloud.db.write(_count_anew) + await cloud.db.write(_bind_anew)
        done += await _send_networks(cloud, seen)
        done += await _mend_images(cloud)
    for text in done:
        log.warning("audit: %s", text)
    left = await _left(cloud, pause) if found else []
    return Repair(done=tuple(done), mended=tuple(item for item in found if item not in left), left=tuple(left))


async def _left(cloud: Cloud, pause: Pause) -> list[Violation]:
    """Look until all is in order; what is not after some tries is left."""
    before: list[Violation] = []
    found: list[Violation] = []
    for _ in range(_TRIES):
        before, found = found, (await audits.look(cloud)).found
        if not found:
            return []
        await pause(_TRY_SECONDS)
    return [item for item in found if item in before]


async def _nudge(cloud: Cloud) -> list[str]:
    now = cloud.clock.now()
    waiting = await cloud.db.read(lambda conn: actions.waiting(conn, now, _MOST_ACTIONS))
    for action_id in waiting:
        await cloud.nudge(action_id)
    return [f"action {action_id} waited and was nudged" for action_id in waiting]


async def _mend_images(cloud: Cloud) -> list[str]:
    left = await unmade_images.remove_travelled(cloud)
    counted, adopted = await cloud.db.write(image_usage.mend), await adopt(cloud)
    return [
        *(f"image {ident}, which a server had travelled as, was deleted" for ident in left),
        *(f"bytes of image {blob.image_id} that no action was at are seen to: {blob.id}" for blob in adopted),
        *(f"what project {owner} uses of images was counted anew" for owner in counted),
        *(f"bytes that were no image's data were removed: {ident}" for ident in await remove_strays(cloud)),
    ]


async def _send_networks(cloud: Cloud, seen: Look) -> list[str]:
    hosts = [
        host
        for host, found in sorted(seen.on_hosts.items())
        if host in seen.seen and any(item.rule.startswith(_OF_NETWORK) for item in found)
    ]

    def write(conn: Connection) -> None:
        for host in hosts:
            host_networks.request(conn, host)

    if hosts:
        await cloud.db.write(write)
    await cloud.network_nudge()
    return [f"host {host} is sent its whole network" for host in hosts]


async def _on_each_host(
    cloud: Cloud, seen: Look, mend: Callable[[Cloud, Look, str], Awaitable[list[str]]]
) -> list[str]:
    """Mend, one after the other, the hosts that answered and on which something is amiss."""
    return [done for host in sorted(seen.on_hosts.keys() & seen.seen.keys()) for done in await mend(cloud, seen, host)]


async def _destroy_strays(cloud: Cloud, seen: Look, host: str) -> list[str]:
    subjects = {item.subject for item in seen.on_hosts[host]}
    answer = seen.seen[host]
    there = {guest.server_id for guest in answer.guests} | set(answer.folders)
    strays, doubtful = await cloud.db.read(lambda conn: _strays(conn, host, sorted(there & subjects)))
    if doubtful:
        strays += (await host_guests.strays_in_doubt(cloud, host, doubtful))[0]
    return [await _destroy(cloud, host, stray) for stray in strays]


def _strays(conn: Connection, host: str, server_ids: list[str]) -> tuple[list[Stray], list[Expected]]:
    rows = guests.named(conn, server_ids).values()
    foreign = [row for row in rows if (row.deleted or row.host != host) and not _under_way(conn, row.server_id)]
    strays = [stray for row in foreign for stray in host_guests.strays(conn, host, row)]
    sure = {stray.server_id for stray in strays} | allocations.halves(conn, host)
    return strays, [row for row in foreign if row.server_id not in sure]


def _under_way(conn: Connection, server_id: str) -> bool:
    return bool(actions.find(conn, server_id, is_open=True, limit=1))


async def _destroy(cloud: Cloud, host: str, stray: Stray) -> str:
    try:
        await cloud.bus.request(host, host_guests.destroy(stray), timeout=_DESTROY_SECONDS)
    except (HostFailure, Unavailable) as error:
        return f"host {host} could not destroy what it has of server {stray.server_id}: {error.message}"
    now = cloud.clock.now()
    text = f"host {host} still had something of this server; the audit had it destroyed there"
    await cloud.db.write(lambda conn: host_guests.destroyed(conn, host, stray, (), now, text=text))
    return f"host {host} destroyed what it had of server {stray.server_id}"


async def _take_over_states(cloud: Cloud, seen: Look, host: str) -> list[str]:
    """Write the power states that a host tells; rows are read first, and one that changed since is left alone."""
    subjects = {item.subject for item in seen.on_hosts[host]}
    before = await cloud.db.read(lambda conn: guests.on_host(conn, host))
    answer = await audits.inspect(cloud, host)
    if not isinstance(answer, Inspected):
        return []
    states = {guest.server_id: guest.power_state for guest in answer.guests}
    judged = [row for row in before if row.server_id in subjects and row.server_id not in answer.busy]
    changed = [row for row in judged if host_guests.settled(row) and host_guests.differs(row, states)]
    if not changed:
        return []
    written = await host_guests.take_over(cloud, changed, states)
    return [f"server {ident} has the power state that host {host} tells" for ident in written]


async def _give_back(cloud: Cloud, seen: Look) -> list[str]:
    """Free what servers hold that are gone, where every host concerned answers that nothing is left of them there."""
    rows = seen.rows
    held = [(item.server_id, item.host) for item in rows.allocations]
    held += [(port.server_id, port.host) for port in rows.ports if port.server_id is not None]
    concerned: dict[str, set[str]] = {}
    for server_id, host in held:
        if server_id not in rows.servers and server_id not in rows.open:
            concerned.setdefault(server_id, set()).update({host} if host else ())
    hosts = sorted({host for named in concerned.values() for host in named if host in rows.hosts})
    answers = dict(zip(hosts, await asyncio.gather(*(audits.inspect(cloud, host) for host in hosts)), strict=True))

    def free(host: str, server_id: str) -> bool:
        if host not in rows.hosts:
            return True  # an operator removed it
        answer = answers[host]
        return isinstance(answer, Inspected) and server_id not in {
            *answer.busy,
            *answer.folders,
            *(guest.server_id for guest in answer.guests),
        }

    sure = [server_id for server_id, named in concerned.items() if all(free(host, server_id) for host in named)]
    now = cloud.clock.now()
    return await cloud.db.write(lambda conn: _free(conn, sure, now)) if sure else []


def _free(conn: Connection, server_ids: list[str], now: datetime) -> list[str]:
    done, known = [], guests.named(conn, server_ids)
    for server_id in server_ids:
        row = known.get(server_id)
        if (row is not None and not row.deleted) or _under_way(conn, server_id):
            continue
        given = allocations.release(conn, server_id, now)
        done += [f"what server {server_id}, which is gone, took of host {item.host} was given back" for item in given]
        freed = server_ports.release(conn, server_id, now)
        done += [f"port {ident} of server {server_id}, which is gone, was given back" for ident in freed]
    return done


def _free_addresses(conn: Connection, rows: Rows) -> list[str]:
    """Free the addresses of ports that are gone, which only somebody else at the database can leave behind."""
    lost = rows.addresses.keys() - {port.id for port in rows.ports}
    lost -= ports.many(conn, lost).keys()
    for port_id in lost:
        addresses.release(conn, port_id)
    return [f"the addresses of port {port_id}, which is gone, were given back" for port_id in sorted(lost)]


def _sum_up(conn: Connection, now: datetime) -> list[str]:
    """Make what is claimed of each host the sum of its allocations: they are what was really promised."""
    done = []
    for host in host_rows.every(conn):
        used = sum((item.resources for item in allocations.of_host(conn, host.name)), Resources())
        if used != host.used:
            host_rows.change(
                conn,
                host.name,
                now,
                vcpus_used=used.vcpus,
                memory_used=used.memory_mib,
                disk_used=used.disk_gib,
                generation=host.generation + 1,
            )
            done.append(f"what is claimed of host {host.name} was summed up from its allocations")
    return done


def _bind_anew(conn: Connection) -> list[str]:
    """Make the bindings of ports what their rows say."""
    return [f"port {port_id} was bound anew, as its row says" for port_id in port_bindings.mend(conn)]


def _count_anew(conn: Connection) -> list[str]:
    """Make the counts that quotas are held against what there is."""
    return [
        f"what {drift.owner} has of {drift.resource} was counted anew: {drift.there}, not {drift.counted}"
        for drift in quota_usages.count_anew(conn)
    ]
