"""What hosts say: that they are there, live, stop; that a guest changed; how far a build is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any

from floe.cloud import host_guests
from floe.cloud.cloud import Cloud
from floe.cloud.host_guests import Stray
from floe.conductor.fleet import Asking, Fleet
from floe.conductor.guest_passwords import GuestPasswords
from floe.conductor.removal import Patience, Removal
from floe.conductor.reports import Reports
from floe.core import server_states
from floe.core.errors import HostFailure, Unavailable
from floe.core.guest_passwords import PasswordPosted
from floe.core.guests import GuestState, PowerState
from floe.core.messages import (
    ForAll,
    GuestChanged,
    Guests,
    Heartbeat,
    HostDown,
    HostUp,
    ListGuests,
    Progress,
    Report,
)
from floe.core.servers import BUILDING
from floe.store import allocations, guests, hosts
from floe.store.engine import Connection
from floe.store.guests import Expected

log = logging.getLogger(__name__)

_SOON = 1.0
"""Seconds after which a host is looked at again on which a guest is not what is still being written of it."""
_ANSWER_SECONDS = 2.0
"""In which a host answers that is there."""
_ONCE = Patience(most=0.0)
"""A host that fails at it, or does not answer, is asked again by a sweep."""


class HostEvents:
    """Turns events into rows. `hear` and `take` return soon, and long work goes on beside them.

    All conductors hear which hosts live; what is to be done about the rest, one does: the others read it in the rows.
    """

    def __init__(
        self,
        cloud: Cloud,
        fleet: Fleet,
        *,
        owner: str,
        progress: Callable[[Progress], None],
        at_work_on: Callable[[str], bool],
        nudge_network: Callable[[], None],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._cloud, self._fleet = cloud, fleet
        self._owner = owner
        self._progress, self._at_work_on = progress, at_work_on
        self._sleep = sleep
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cleaning: set[tuple[str, str]] = set()
        self._soon: set[str] = set()
        self._unasked: dict[str, set[str]] = {}
        """By host that could not be asked what it has: the hosts that are looked at again when it is back."""
        self._turns: dict[str, asyncio.Task[None]] = {}
        self._passwords = GuestPasswords(cloud)
        self._removal = Removal(fleet, fleet.settings)
        self._reports = Reports(
            cloud,
            fleet,
            nudge_network=nudge_network,
            clean_up=self._clean_up,
            check=self.check,
            in_turn=self._in_turn,
            start=self._start,
            sleep=sleep,
        )

    async def hear(self, event: ForAll) -> None:
        """Note what every conductor is told."""
        if isinstance(event, Heartbeat):
            self._fleet.heard(event.host)
        elif isinstance(event, Progress):
            self._progress(event)
        elif event.by != self._owner:
            self._fleet.compared.note_elsewhere(event.hosts)

    async def take(self, event: HostUp | HostDown | GuestChanged | PasswordPosted) -> None:
        """Do what there is to be done about what a host said to one of the conductors."""
        if isinstance(event, GuestChanged):
            await self._guest_changed(event)
        elif isinstance(event, PasswordPosted):
            if self._passwords.expects(event):
                self._start(self._passwords.take(event.host, event.server_id))
        elif isinstance(event, HostUp):
            for other in sorted(self._unasked.pop(event.host, ())):
                self._start(self.check(other))
            self._reports.take(event)
        else:
            self._reports.withdraw(event.host)
            self._in_turn(event.host, partial(self._host_down, event))

    async def check(self, host: str) -> None:
        """Ask a host for its guests and compare: the safety net under the events.

        The rows are read first: what was settled before the host answered has to be in its answer.
        """
        before = await self._cloud.db.read(lambda conn: guests.on_host(conn, host))
        try:
            answer = await self._cloud.bus.request(host, ListGuests(), timeout=host_guests.LIST_SECONDS)
        except (HostFailure, Unavailable) as error:
            log.info("host %s did not list its guests: %s", host, error.message)
            return
        if isinstance(answer, Guests):
            await self._correct(host, before, answer.guests)
            await self._clean_up(host, answer.guests, answer.files)

    def look_soon(self, host: str) -> None:
        """Have a host looked at that did something which was given up meanwhile."""
        self._start(self._check_soon(host))

    async def _correct(self, host: str, before: list[Expected], found: Iterable[GuestState]) -> None:
        """Bring rows up to date with the guests found; those that changed since they were read are left alone."""
        states = {guest.server_id: guest.power_state for guest in found}
        changed = [row for row in before if host_guests.settled(row) and host_guests.differs(row, states)]
        if changed:
            await host_guests.take_over(self._cloud, changed, states)
        if any(host_guests.look_again(row, states) for row in before):
            self._start(self._check_soon(host))
        self._fleet.compared.note(host)

    async def _check_soon(self, host: str) -> None:
        """Look again at a host on which a guest is not what its row says while something is done with its server.

        It may have died while nobody listened, and its build may be about to end as if it ran.
        """
        if host not in self._soon:
            self._soon.add(host)
            await self._sleep(min(self._fleet.settings.sweep, _SOON))
            self._soon.discard(host)
            await self.check(host)

    async def _clean_up(
        self, host: str, found: Iterable[GuestState], files: Iterable[str], known: Iterable[str] = ()
    ) -> bool:
        """Have those guests destroyed that should not be on the host, and removed what is left of others, or may be.

        `known` are servers that the host remembers, be there anything of them or not. Return whether there was nothing
        of servers that belong elsewhere.
        """
        found_ids = [guest.server_id for guest in found]
        there = sorted({*found_ids, *files, *known})

        def look(conn: Connection) -> tuple[dict[str, Expected | None], list[Expected], list[Stray]]:
            others = guests.elsewhere(conn, host, there) if there else {}
            foreign = [row for row in others.values() if row is not None and (row.deleted or row.host != host)]
            strays = [stray for row in foreign for stray in host_guests.strays(conn, host, row)]
            seen = {stray.server_id for stray in strays}
            known = seen | allocations.halves(conn, host)
            doubtful = [row for row in foreign if row.server_id not in known]
            return others, doubtful, strays + [x for x in host_guests.owed(conn, host) if x.server_id not in seen]

        others, doubtful, strays = await self._cloud.db.read(look)
        for stray in strays:
            self._start(self._clean(host, stray))
        if doubtful:
            self._start(self._clean_doubtful(host, doubtful))
        for server_id in found_ids:
            if server_id in others and others[server_id] is None:
                log.warning("host %s has a guest of server %s, unknown here; it is left alone", host, server_id)
        return not others and not strays

    async def _clean_doubtful(self, host: str, doubtful: list[Expected]) -> None:
        """Ask the servers' own hosts before anything is destroyed; one that is not there is asked once it is back."""
        strays, silent = await host_guests.strays_in_doubt(self._cloud, host, doubtful)
        for home in silent:
            self._unasked.setdefault(home, set()).add(host)
        for stray in strays:
            await self._clean(host, stray)

    async def idle(self) -> None:
        """Wait until nothing goes on beside the events."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    async def stop(self) -> None:
        """Break off what goes on."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- hosts ----------------------------------------------------------------------------------------

    async def _host_down(self, event: HostDown) -> None:
        if await self._answers(event.host):
            log.info("host %s is there: that it stops it said before its last start", event.host)
            return
        now = self._cloud.clock.now()
        await self._cloud.db.write(lambda conn: hosts.change(conn, event.host, now, connected=False))
        self._fleet.lost(event.host)
        self._reports.ended(event.host)
        log.info("host %s stops", event.host)

    async def _answers(self, host: str) -> bool:
        """Ask a host whether it is there: one that stops answers nothing by when it says so, and news may be late."""
        try:
            await self._cloud.bus.request(host, Report(whole=False), timeout=_ANSWER_SECONDS)
        except Unavailable:
            return False
        except HostFailure:
            pass
        return True

    # -- guests ---------------------------------------------------------------------------------------

    async def _guest_changed(self, event: GuestChanged) -> None:
        row = (await self._cloud.db.read(lambda conn: guests.named(conn, [event.server_id]))).get(event.server_id)
        self._fleet.heard(event.host)
        if row is None:
            return
        if row.host == event.host and row.vm_state == BUILDING:
            self._fleet.told_power(event.server_id, event.power_state)
            died = server_states.died_while_built(row.vm_state, event.power_state)
            if died and not self._at_work_on(event.server_id):
                self._start(self._check_soon(event.host))  # another conductor builds it, and does not hear of this
            return
        if row.deleted or row.host != event.host:
            if event.power_state is PowerState.RUNNING:
                strays = await self._cloud.db.read(lambda conn: host_guests.strays(conn, event.host, row))
                for stray in strays:
                    self._start(self._clean(event.host, stray))
            return
        states = {event.server_id: event.power_state}
        if host_guests.look_again(row, states):
            self._start(self._check_soon(event.host))
        elif host_guests.settled(row) and host_guests.differs(row, states):
            await host_guests.take_over(self._cloud, [row], states)

    async def _clean(self, host: str, stray: Stray) -> None:
        """Have a host destroy a guest that should not be there; where it is down, or fails, that is done later."""
        if (host, stray.server_id) in self._cleaning:
            return
        self._cleaning.add((host, stray.server_id))
        if stray.seen:
            log.warning("host %s still has the guest of server %s; it is told to destroy it", host, stray.server_id)
        try:
            asking = Asking(pause=self._sleep, prove=self._fresh())
            done = await self._removal(host, host_guests.destroy(stray), asking=asking, patience=_ONCE)
            if not done.owed:
                now = self._cloud.clock.now()
                await self._cloud.db.write(lambda conn: host_guests.destroyed(conn, host, stray, done.steps, now))
        finally:
            self._cleaning.discard((host, stray.server_id))

    def _fresh(self) -> Callable[[], Awaitable[None]]:
        """Return what proves that it is not long since this was decided: a server may be built there meanwhile."""
        decided, clock = self._cloud.clock.monotonic(), self._cloud.clock

        async def prove() -> None:
            if clock.monotonic() - decided > self._fleet.settings.lease:
                raise Unavailable("It is long since that was decided; the next sweep looks again.")

        return prove

    def _in_turn(self, host: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do what a host said after what it said before, and beside what others say: their writes share commits."""
        before = self._turns.get(host)

        async def follow() -> None:
            if before is not None:
                await asyncio.wait({before})
            try:
                await work()
            except Exception:
                log.exception("what host %s said was not taken in; its next report makes up for it", host)

        task = self._turns[host] = self._start(follow())
        task.add_done_callback(lambda done: self._turns.pop(host) if self._turns.get(host) is done else None)

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name="stray")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
