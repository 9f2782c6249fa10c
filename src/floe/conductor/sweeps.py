"""What is looked after without being asked: the safety net under nudges, events and leases."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

from floe.cloud import history, server_resize, shelving, soft_deletes
from floe.cloud.cloud import Cloud
from floe.conductor.fleet import Fleet
from floe.core.errors import HostFailure, Unavailable
from floe.core.messages import HostsCompared, Report
from floe.store import actions, conductors, hosts
from floe.store.engine import Connection, Isolation

log = logging.getLogger(__name__)


_REPORT_SECONDS = 2.0
_FRESH = timedelta(seconds=12)
"""What another conductor wrote of a host so shortly before is not written again: all hear the same heartbeats. With
the time between two writes, and between two heartbeats, it is well below what a host counts as up for."""
_AT_ONCE = 64
"""Hosts that are asked at a time whether they live."""
_LATE = 15.0
"""Seconds without a round after which something is the matter: longer than a write waits for a locked database."""


class Sweeps:
    """Rounds: leases; actions, silent hosts, stale networks; hosts that came back; their guests; what is over.

    `host` is the machine that this conductor runs on, and is known by; `owner` tells it from all others.

    Leases have a round of their own, and so has what asks a host something: nothing keeps them from being renewed.
    """

    def __init__(
        self,
        cloud: Cloud,
        fleet: Fleet,
        *,
        host: str,
        owner: str,
        sleep: Callable[[float], Awaitable[None]],
        actions: Callable[[], Awaitable[object]],
        renew: Callable[[], Awaitable[None]],
        networks: Callable[[], None],
        check: Callable[[str], Awaitable[None]],
    ) -> None:
        self._cloud, self._fleet, self._sleep = cloud, fleet, sleep
        self._host, self._owner = host, owner
        self._actions, self._renew, self._networks, self._check = actions, renew, networks, check
        self._tasks: list[asyncio.Task[None]] = []
        self._turned = 0.0

    async def start(self) -> None:
        """Begin all rounds."""
        await self._look_who_is_waited_for()
        settings = self._fleet.settings
        self._turned = self._cloud.clock.monotonic()
        rounds: tuple[tuple[Callable[[], Awaitable[None]], float], ...] = (
            (self._renew, settings.renew),
            (self.quick, settings.sweep),
            (self.returned, settings.sweep),
            (self.greet, settings.sweep),
            (self.write_seen, settings.write_seen),
            (self.slow, settings.slow_sweep),
            (self.purge, settings.purge),
            (self.reclaim, settings.reclaim),
        )
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(turning(work, seconds, self._sleep)) for work, seconds in rounds]
        self._tasks += [loop.create_task(self._end_of_grace()), loop.create_task(self._ask_expected())]

    async def stop(self) -> None:
        """End all rounds, and write what was last heard."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._write_seen(stays=False)

    async def quick(self) -> None:
        """Take up actions that wait, note hosts that fell silent, tell stale hosts."""
        for host in self._fleet.silent():
            log.warning("host %s has not been heard of for %g s: it is down", host, self._fleet.settings.host_down)
            self._fleet.lost(host)
        if self._fleet.dirty:
            await self._fleet.refresh()
        await self._actions()
        self._networks()
        if compared := self._fleet.compared.untold():
            await self._cloud.bus.publish(HostsCompared(by=self._owner, hosts=compared))
        self._turned = self._cloud.clock.monotonic()

    def late(self) -> float:
        """Return for how many seconds the quick round has not turned to its end, 0 while that is as it should be."""
        silent = self._cloud.clock.monotonic() - self._turned
        return silent if silent > max(_LATE, 10 * self._fleet.settings.sweep) else 0.0

    async def returned(self) -> None:
        """Look at hosts that came back: have what waited for them taken up, and clean up what was done without them."""
        for host in sorted(filter(self._fleet.alive, self._fleet.waited_for)):
            self._fleet.waited_for.discard(host)
            await self._cloud.db.write(partial(actions.back, host=host), Isolation.READ_COMMITTED)
            await self._actions()
        for host in sorted(filter(self._fleet.alive, self._fleet.owed)):
            self._fleet.owed.discard(host)
            await self._check(host)

    async def greet(self) -> None:
        """Ask hosts to tell of themselves that live and are unknown: they said so when no conductor was there."""
        for host in await self._fleet.strangers():
            await self._ask(host, Report())

    async def _ask_expected(self) -> None:
        """Ask each host that should be there whether it is: what waits for one need not wait for its heartbeat."""
        expected = self._fleet.expected()
        for first in range(0, len(expected), _AT_ONCE):
            some = [host for host in expected[first : first + _AT_ONCE] if self._fleet.awaited(host)]
            answered = await asyncio.gather(*(self._ask(host, Report(whole=False)) for host in some))
            for host in itertools.compress(some, answered):
                self._fleet.heard(host)

    async def _ask(self, host: str, report: Report) -> bool:
        try:
            await self._cloud.bus.request(host, report, timeout=_REPORT_SECONDS)
        except (HostFailure, Unavailable) as error:
            log.debug("host %s did not tell of itself: %s", host, error.message)
            return False
        return True

    async def write_seen(self) -> None:
        """Write when hosts were last heard of, and that this conductor lives: one commit for all of them.

        And have read what other conductors wrote of hosts, and which ones are waited for.
        """
        await self._write_seen(stays=True)
        self._fleet.dirty = True
        await self._look_who_is_waited_for()

    async def _look_who_is_waited_for(self) -> None:
        self._fleet.waited_for |= await self._cloud.db.read(partial(actions.waited_for, hosts=self._fleet.table.names))

    async def _write_seen(self, *, stays: bool) -> None:
        times, now = self._fleet.seen(), self._cloud.clock.now()

        def write(conn: Connection) -> None:
            hosts.seen(conn, times, _FRESH)
            conductors.seen(conn, self._host, now, connected=stays)

        await self._cloud.db.write(write, Isolation.READ_COMMITTED)

    async def slow(self) -> None:
        """Compare guests with rows, of hosts on which that was not done since; do what servers have waited for."""
        for host in self._fleet.uncompared():
            await self._check(host)
        await shelving.offload_due(self._cloud)
        if confirmed := await server_resize.confirm_old(self._cloud):
            log.info("%d resizes were confirmed that nobody had confirmed or reverted", confirmed)

    async def reclaim(self) -> None:
        """Delete soft-deleted servers whose time to be restored is over."""
        await soft_deletes.reclaim(self._cloud)

    async def purge(self) -> None:
        """Forget what is history by now."""
        made = await history.purge(self._cloud, history.horizon(self._cloud), pause=self._sleep)
        if made.rows:
            log.info("forgotten of what is over: %s", ", ".join(f"{n} {table}" for table, n in made.rows.items()))

    async def _end_of_grace(self) -> None:
        await self._sleep(self._fleet.settings.start_grace)
        self._fleet.stop_awaiting()


async def turning(
    work: Callable[[], Awaitable[None]], seconds: float, sleep: Callable[[float], Awaitable[None]]
) -> None:
    """Do something again and again, for ever, whatever happens."""
    while True:
        await sleep(seconds)
        try:
            await work()
        except Exception:
            log.exception("a sweep failed; the next one comes in %g s", seconds)
