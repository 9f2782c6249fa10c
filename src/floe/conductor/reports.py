"""What hosts report each minute: taken in when it or the rows are new, and taken as read when neither is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any

from floe.cloud import host_guests, host_networks, pins
from floe.cloud.cloud import Cloud
from floe.conductor.agreements import Agreements
from floe.conductor.fleet import Fleet
from floe.conductor.gathering import Gathering
from floe.conductor.metadata_resync import MetadataResync
from floe.core.counters import Count
from floe.core.guests import GuestState
from floe.core.hosts import Host
from floe.core.messages import HostUp
from floe.store import guests, host_stamps, hosts
from floe.store.engine import Connection
from floe.store.host_stamps import Stamp

log = logging.getLogger(__name__)

REPORTS = Count("floe_host_reports", "Reports of hosts on what they have, by whether they were new", ("said",))
NEW, SAME = "new", "same"

_LOOKED_AT = 256
"""Hosts whose rows are looked at together."""
_NEW_AT_ONCE = 16
"""Hosts that are taken in at a time: when all of a large cloud speak at once, other work has its turn between."""

CleanUp = Callable[[str, Iterable[GuestState], Iterable[str], Iterable[str]], Awaitable[bool]]
InTurn = Callable[[str, Callable[[], Awaitable[None]]], None]
Start = Callable[[Coroutine[Any, Any, Any]], object]


class Reports:
    """Takes in what hosts say that they are and have; of each host that waits to be, the latest.

    Who says again what was in order waits for others who do: their rows are looked at together.
    """

    def __init__(
        self,
        cloud: Cloud,
        fleet: Fleet,
        *,
        nudge_network: Callable[[], None],
        clean_up: CleanUp,
        check: Callable[[str], Coroutine[Any, Any, None]],
        in_turn: InTurn,
        start: Start,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._cloud, self._fleet = cloud, fleet
        self._nudge_network, self._clean_up, self._check = nudge_network, clean_up, check
        self._in_turn, self._start, self._sleep = in_turn, start, sleep
        self._metadata = MetadataResync(cloud)
        self._agreements = Agreements()
        self._stamps = Gathering[HostUp, Stamp]("host-stamps", self._look, most=_LOOKED_AT)
        self._places = asyncio.Semaphore(_NEW_AT_ONCE)
        self._waiting: dict[str, HostUp] = {}
        """By host, what it said last and was not begun to be taken in yet."""
        self._again: set[str] = set()
        """Those of them that wait for others."""

    def take(self, event: HostUp) -> None:
        """Have a report taken in after what the host said before."""
        waits = event.host in self._waiting and event.host not in self._again
        self._waiting[event.host] = event
        if waits:
            return  # whoever takes in the one before takes this one
        if self._fleet.alive(event.host) and self._agreements.says_again(event):
            if not self._again:
                self._start(self._take_again())
            self._again.add(event.host)
        else:
            self._again.discard(event.host)
            self._in_turn(event.host, partial(self._take_in, event.host))

    def withdraw(self, host: str) -> None:
        """Take in no more of what a host said that has said since that it stops."""
        self._waiting.pop(host, None)

    def ended(self, host: str) -> None:
        """Have the next report of a host that stopped compared, whatever it says."""
        self._agreements.drop(host)

    async def _take_again(self) -> None:
        await self._sleep(self._fleet.settings.company_of_reports)
        hosts_again, self._again = self._again, set()
        for host in sorted(hosts_again):
            self._in_turn(host, partial(self._take_in, host))

    async def _take_in(self, host: str) -> None:
        event = self._waiting.pop(host, None)
        if event is None:
            return
        stamp = await self._stamps.do(event)
        same = self._fleet.alive(host) and self._agreements.holds(event, stamp)
        self._cloud.counters.add(REPORTS, SAME if same else NEW)
        if same:
            self._fleet.heard(host)
            self._fleet.compared.note(host)
            return
        async with self._places:
            await self._compare(event, stamp)

    async def _look(self, events: Sequence[HostUp]) -> list[Stamp | Exception]:
        heard_of = {event.host: event.members_newest for event in events}
        found = await self._cloud.db.read(lambda conn: host_stamps.stamps(conn, heard_of))
        return [found[event.host] for event in events]

    async def _compare(self, event: HostUp, stamp: Stamp) -> None:
        await self._write(event)
        there = event.guests or event.files or event.told or stamp.held
        in_order = not there or await self._clean_up(event.host, event.guests, event.files, event.told)
        if await self._agrees(event):
            self._fleet.compared.note(event.host)
        else:
            in_order = False
            self._start(self._check(event.host))
        compare = partial(self._compare_metadata, event, stamp, in_order=in_order)
        self._fleet.once_settled(event.host, lambda: self._start(compare()))

    async def _write(self, event: HostUp) -> None:
        """Bring a host's own rows up to date with what it says of itself."""
        now = self._cloud.clock.now()
        host = Host(
            name=event.host,
            hypervisor_type=event.hypervisor_type,
            hypervisor_version=event.hypervisor_version,
            inventories=event.inventories,
            traits=event.traits,
            cpu_info=event.cpu_info,
            address=event.address,
            availability_zone=event.availability_zone,
            created_at=now,
            updated_at=now,
            started_at=now,
            last_seen=now,
        )

        def write(conn: Connection) -> Host:
            kept = hosts.put(conn, host)
            pins.host_came(conn, event.host)
            host_networks.answer_host(conn, event)
            return kept

        known = await self._cloud.db.read(partial(_is_known, host=host, event=event))
        if known and self._fleet.alive(event.host):
            self._fleet.heard(event.host)
        else:
            self._fleet.learn(await self._cloud.db.write(write))
            self._fleet.heard(event.host)
            log.info("host %s is up: %s, %d guests", event.host, event.hypervisor_type, len(event.guests))
            self._nudge_network()

    async def _compare_metadata(self, event: HostUp, stamp: Stamp, *, in_order: bool) -> None:
        """Compare what its guests were told, the last part of a report, and keep that all of it is in order."""
        if await self._metadata.compare(event) and in_order:
            self._agreements.note(event, stamp, self._cloud.clock.now())
        else:
            self._agreements.drop(event.host)

    async def _agrees(self, event: HostUp) -> bool:
        """Whether the rows say of a host's guests what it says itself: else it is asked, with the rows read before."""
        states = {guest.server_id: guest.power_state for guest in event.guests}
        return not any(
            (host_guests.settled(row) and host_guests.differs(row, states)) or host_guests.look_again(row, states)
            for row in await self._cloud.db.read(lambda conn: guests.on_host(conn, event.host))
        )


def _is_known(conn: Connection, host: Host, event: HostUp) -> bool:
    """Whether the rows have all that a host says, so that there is nothing to write."""
    return hosts.is_known(conn, host) and host_networks.is_at(conn, event)
