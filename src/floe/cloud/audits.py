"""The audit of a running cloud: its rows against each other and against what every host really has; and the mending.

What is being done is not judged: servers with an open action or with a command under way are left out, and what is
found counts only when a second look finds it again. An open action that nobody is at is told of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime, timedelta
from functools import partial
from operator import attrgetter

import msgspec
from msgspec import structs
from msgspec.structs import replace

from floe.cloud import host_networks
from floe.cloud.audit import HostView, Violation, check_host, check_images, check_rows, check_waiting
from floe.cloud.cloud import Cloud
from floe.core.errors import HostFailure, Unavailable
from floe.core.guests import PowerState
from floe.core.host_network import HostNetwork
from floe.core.messages import Inspect, Inspected
from floe.pools import alone
from floe.store import audit
from floe.store.audit import Rows
from floe.store.engine import Connection

ANSWER_SECONDS = 8.0
MOMENT_SECONDS = 1.0
"""Between two looks."""
UNTAKEN = timedelta(minutes=2)
"""An action that waits longer for somebody to take it up waits in vain: it is swept up within seconds, however often
it is tried again."""

SLICE = 250
"""Servers that are read and judged at once: some milliseconds of work."""
HOSTS_AT_ONCE = 16
"""Hosts that are asked at once: their answers are as large as what is on them."""
AT_ONCE = 2000
"""Things of one host that are compared on the event loop, in about a millisecond; more are in a thread of their own,
of which each costs a fifth of that."""

Pause = Callable[[float], Awaitable[None]]


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What one look saw: what no server has, what the hosts answered that something is amiss on, and what that is,
    in the rows and by host.
    """

    rows: Rows
    seen: dict[str, Inspected] = msgspec.field(default_factory=dict)
    in_rows: list[Violation] = msgspec.field(default_factory=list)
    on_hosts: dict[str, list[Violation]] = msgspec.field(default_factory=dict)

    @property
    def found(self) -> list[Violation]:
        """All of it, in a fixed order, each once."""
        every = {*self.in_rows, *(item for found in self.on_hosts.values() for item in found)}
        return sorted(every, key=attrgetter("rule", "subject", "text"))


async def run(cloud: Cloud, pause: Pause = asyncio.sleep) -> list[Violation]:
    """Look twice, a moment apart, and return what is not as it must be."""
    seen = await confirmed(cloud, pause)
    return await alone(lambda: seen.found)


async def confirmed(cloud: Cloud, pause: Pause) -> Look:
    """Return the second of two looks, less what the first one did not see; the first where it saw nothing."""
    first = await look(cloud)
    if not first.in_rows and not first.on_hosts:
        return first
    await pause(MOMENT_SECONDS)
    second = await look(cloud)
    return await alone(_in_both, first, second)


def _in_both(first: Look, second: Look) -> Look:
    before = set(first.found)
    return replace(
        second,
        in_rows=[item for item in second.in_rows if item in before],
        on_hosts={
            host: kept
            for host, found in second.on_hosts.items()
            if (kept := [item for item in found if item in before])
        },
    )


async def look(cloud: Cloud) -> Look:
    """Check the rows, then ask every known host what it has, and compare: a portion at a time, beside other work."""
    now, blobs = cloud.clock.now(), await cloud.blobs.find()
    rows, in_rows = await cloud.db.scan(lambda conn: _loose(conn, now, blobs))
    after: int | None = 0
    while after is not None:
        found, after = await cloud.db.scan(partial(_slice, after=after))
        in_rows += found
    seen: dict[str, Inspected] = {}
    on_hosts: dict[str, list[Violation]] = {}
    hosts = iter(sorted(rows.hosts))

    async def visit() -> None:
        for host in hosts:
            answer, found = await _compare(cloud, host)
            if found:
                on_hosts[host] = found
                if answer is not None:
                    seen[host] = answer

    await asyncio.gather(*(visit() for _ in range(HOSTS_AT_ONCE)))
    return Look(rows=rows, seen=seen, in_rows=in_rows, on_hosts=on_hosts)


def _loose(conn: Connection, now: datetime, blobs: Collection[str]) -> tuple[Rows, list[Violation]]:
    rows = audit.loose(conn)
    waiting = check_waiting(audit.untaken(conn, now, UNTAKEN))
    return rows, [*check_rows(rows, quiet=False), *waiting, *check_images(rows, blobs, quiet=False)]


def _slice(conn: Connection, after: int) -> tuple[list[Violation], int | None]:
    portion, last = audit.slice_after(conn, after, SLICE)
    return check_rows(portion, quiet=False), last


async def inspect(cloud: Cloud, host: str) -> Inspected | str:
    """Ask a host what it has; the reason where it does not answer."""
    try:
        answer = await cloud.bus.request(host, Inspect(), timeout=ANSWER_SECONDS)
    except (HostFailure, Unavailable) as error:
        return error.message
    return answer if isinstance(answer, Inspected) else f"It answered with {type(answer).__name__}."


async def _compare(cloud: Cloud, host: str) -> tuple[Inspected | None, list[Violation]]:
    """Compare a host with the rows as they were just before it was asked, as far as nothing is under way there."""

    def read(conn: Connection) -> tuple[Rows, HostNetwork]:
        return audit.of_host(conn, host), host_networks.whole(conn, host, cloud.settings.dns_domain)

    rows, wanted = await cloud.db.scan(read)
    answer = await inspect(cloud, host)
    if not isinstance(answer, Inspected):
        return None, [Violation("a host does not answer: not looked at", host, answer)]
    compare = partial(_differences, host, rows, wanted, answer)
    things = (rows.servers, wanted.ports, answer.guests, answer.folders, answer.network.ports)
    return answer, compare() if sum(map(len, things)) <= AT_ONCE else await alone(compare)


def _differences(host: str, rows: Rows, wanted: HostNetwork, answer: Inspected) -> list[Violation]:
    busy = rows.open.keys() | set(answer.busy)
    guests: dict[str, PowerState] = {guest.server_id: guest.power_state for guest in answer.guests}
    judged = replace(rows, servers={key: row for key, row in rows.servers.items() if key not in busy})
    whole, real = _judged(wanted, answer.network, busy)
    view = HostView(
        guests={key: state for key, state in guests.items() if key not in busy},
        network=real,
        folders=frozenset(answer.folders) - busy,
    )
    found = check_host(host, judged, whole, view)
    return found + [
        Violation("a host's network differs from what its agent wants", host, text) for text in answer.drift
    ]


def _judged(wanted: HostNetwork, real: HostNetwork, busy: set[str]) -> tuple[HostNetwork, HostNetwork]:
    """Leave out the ports of servers under way, and with them what may be theirs alone: segments, groups, routers.

    Members of groups change with servers elsewhere, so while any is under way groups are left out altogether.
    """
    if not busy:
        return wanted, real
    every = [port for side in (wanted, real) for port in side.ports]
    kept = {port.network_id for port in every if port.server_id not in busy}
    moving = {port.port_id for port in every if port.server_id in busy}

    def part(side: HostNetwork) -> HostNetwork:
        there = [router for router in side.routers if any(leg.network_id in kept for leg in router.interfaces)]
        routed = kept.union(leg.network_id for router in there for leg in router.legs)
        return structs.replace(
            side,
            ports=tuple(port for port in side.ports if port.server_id not in busy),
            segments=tuple(segment for segment in side.segments if segment.network_id in routed),
            groups=(),
            routers=tuple(
                structs.replace(router, floating=tuple(each for each in router.floating if each.port_id not in moving))
                for router in there
            ),
        )

    return part(wanted), part(real)
