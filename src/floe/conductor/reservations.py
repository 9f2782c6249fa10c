"""Servers that one request makes together are placed together: as many as fit, and none below the least asked for.

Whoever's action comes first places them all in one transaction, and the others find their place made. Servers above
the least that find no room are gone with that transaction, having held nothing; where not even the least fit, all fail.
"""

from __future__ import annotations

import logging
import zlib
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from floe.cloud.cloud import Cloud
from floe.conductor.choices import GRACE_STEP, Request
from floe.conductor.demands import Met
from floe.conductor.fleet import ConductorSettings, Fleet
from floe.conductor.flow import Flow, Outcome
from floe.conductor.placing import TRIES, Placing, claimed
from floe.conductor.stops import Fenced
from floe.core.actions import CANCELLED, FAILED, Step
from floe.core.entries import DONE
from floe.core.errors import FloeError, NoValidHost, Unavailable
from floe.core.given import CreateGiven
from floe.core.servers import BUILDING, ERROR, Server, ServerFault
from floe.core.step_times import StepTime
from floe.scheduler.select import Selection, choose, explain
from floe.scheduler.spec import resources_of
from floe.store import actions, allocations, hosts
from floe.store import reservations as together
from floe.store import servers as rows
from floe.store.engine import Connection

log = logging.getLogger(__name__)

_WAIT = 0.05
"""Seconds between looks whether another action of the same request has placed this one's server."""
_BREATH = 32
"""Servers that a host is chosen for before others have their turn."""


def made_together(flow: Flow) -> int:
    """Return how many servers the request of this create made."""
    return flow.given(CreateGiven).together


class _Short(Exception):
    """After so many servers, the next one got no port; nothing was written."""

    def __init__(self, fit: int, error: FloeError) -> None:
        super().__init__(fit)
        self.fit, self.error = fit, error


class _Asked(msgspec.Struct, frozen=True):
    """The servers of a request that are still to be placed, in their order, and how many of them have to fit."""

    requests: tuple[Request, ...]
    least: int
    met: Met | None = None

    @property
    def idents(self) -> list[str]:
        """Their ids."""
        return [request.server.id for request in self.requests]


class _Choice(msgspec.Struct, frozen=True):
    """Where the first so many of the servers could go, and how the trace tells of it."""

    selections: tuple[Selection, ...]
    step: StepTime
    at: datetime
    """When the hosts are claimed."""


class Reservations(msgspec.Struct, frozen=True):
    """Places the servers of one request."""

    cloud: Cloud
    fleet: Fleet
    settings: ConductorSettings
    placing: Placing
    under_way: set[str] = msgspec.field(default_factory=set)
    """Reservations that this conductor is placing: their other actions wait. The database decides all the same."""

    async def place(self, flow: Flow) -> Any:
        """Place the server of `flow` and all that were asked for with it.

        Raises NoValidHost where too few fit, and Fenced where there is no room for this one.
        """
        while True:
            server = await self._own(flow)
            if server.host is not None:
                flow.known[Server] = server
                return await self._take(flow, server, server.host)
            if not server.unplaced:
                return await self.placing.place(flow, {})
            if server.reservation_id not in self.under_way:
                break
            while server.reservation_id in self.under_way:
                await flow.pause(_WAIT)
        self.under_way.add(server.reservation_id)
        try:
            return await self._place(flow, server)
        finally:
            self.under_way.discard(server.reservation_id)

    def fail_others(self, conn: Connection, flow: Flow, fault: ServerFault) -> None:
        """A create failed: where it was to place others too, they fail with it."""
        server = rows.get(conn, flow.action.subject_id)
        if server is None or not server.unplaced:
            return
        for other in together.unplaced(conn, server.project_id, server.reservation_id):
            if other.id != server.id:
                self._end(conn, other, FAILED, fault.message, {"detail": fault.details}, fault.created_at)
                failed = {"vm_state": ERROR, "task_state": None, "fault": fault, "updated_at": fault.created_at}
                rows.change(conn, other.id, only_in=BUILDING, **failed)

    # -- inside ---------------------------------------------------------------------------------------

    async def _own(self, flow: Flow) -> Server:
        server = await self.cloud.db.read(lambda conn: rows.get(conn, flow.action.subject_id))
        if server is None:
            raise Fenced  # there was no room for it, or its user deleted it
        return server

    async def _take(self, flow: Flow, server: Server, host: str) -> Any:
        """Go on from the place that another action of the same request found."""
        now = self.cloud.clock.now()

        def take(conn: Connection) -> Outcome:
            row = hosts.get(conn, host)
            assert row is not None, "a host that servers are on is not removed"
            bound = self.placing.bind(conn, server, row.seen, now)
            remark = "placed together with the others of its request"
            return self.placing.outcome(conn, flow, server, row.seen, bound, (), remark, now)

        return await flow.transaction("schedule", take)

    async def _place(self, flow: Flow, server: Server) -> Any:
        most = made_together(flow)
        for attempt in range(TRIES):
            started, clock = self.cloud.clock.now(), self.cloud.clock.monotonic()
            asked = await self.cloud.db.read(lambda conn: self._read(conn, flow, server))
            self.placing.choices.keep(asked.met)
            if server.id not in asked.idents:
                raise Fenced  # its user deleted it
            selections = await self._choose(flow, asked, most)
            said = f"{len(selections)} servers of one request placed together"
            if len(selections) < len(asked.requests):
                said += f"; there was no room for the other {len(asked.requests) - len(selections)}"
            seconds = self.cloud.clock.monotonic() - clock
            step = StepTime(name="select", started=started.timestamp(), seconds=seconds, remark=said)
            claimed_of: dict[str, str] = {}
            choice = _Choice(selections, step, self.cloud.clock.now())
            try:
                output = await flow.transaction(
                    "schedule",
                    lambda conn: self._claim(conn, flow, asked, choice, claimed_of),  # noqa: B023
                    started=started,
                )
            except allocations.NotClaimed as refusal:
                log.info("servers with %s: claim refused: %s (try %d)", server.id, refusal, attempt + 1)
                await self.fleet.refresh({name for each in selections for name in each.names})
                continue
            except _Short as short:
                if short.fit < asked.least:
                    raise short.error from None
                most = short.fit
                continue
            for host in claimed_of.values():
                self.fleet.took(host, resources_of(server))
            if server.networks:
                await self.cloud.network_nudge()
            if flow.closed:
                raise Fenced  # there was no room for this very one
            flow.known[Server] = server
            return output
        raise Unavailable("Hosts were taken by others faster than they could be claimed; try again.")

    def _read(self, conn: Connection, flow: Flow, server: Server) -> _Asked:
        """Return what is to be placed; where its user left fewer than the least, all of that."""
        waiting = together.unplaced(conn, server.project_id, server.reservation_id)
        if not waiting:
            return _Asked((), 0)
        one, met = self.placing.choices.read(conn, waiting[0])  # they are alike but for their names
        least = min(flow.given(CreateGiven).least, len(waiting))
        return _Asked(tuple(replace(one, server=each) for each in waiting), least, met)

    async def _choose(self, flow: Flow, asked: _Asked, most: int) -> tuple[Selection, ...]:
        """Choose hosts for as many as fit; just after the start, wait for hosts to speak up where it is not all."""
        waited = 0.0
        while True:
            found, refusal = await self._fit(flow, asked, most)
            if refusal is not None and await self.fleet.refresh():
                found, refusal = await self._fit(flow, asked, most)
            if refusal is None or not self.fleet.awaited() or waited >= self.settings.start_grace:
                break
            await flow.pause(GRACE_STEP)
            waited += GRACE_STEP
        if refusal is not None and len(found) < asked.least:
            text = refusal.message.removeprefix("No valid host: ")
            raise NoValidHost(
                f"No valid host: {len(found)} of the {asked.least} servers needed at least would fit; then: {text}",
                refusal.reasons,
                refusal.others,
            )
        return tuple(found)

    async def _fit(self, flow: Flow, asked: _Asked, most: int) -> tuple[list[Selection], NoValidHost | None]:
        """Return where the servers could go, one after the other, and why the next one could not."""
        table = self.fleet.table.trial()
        found: list[Selection] = []
        members = dict(asked.requests[0].spec.group_hosts)
        spec = replace(asked.requests[0].spec, group_hosts=members)
        for request in asked.requests[:most]:
            seed = zlib.crc32(request.server.id.encode())
            selection = choose(spec, table, seed, multipliers=self.settings.multipliers)
            if selection is None:
                return found, explain(spec, table)
            found.append(selection)
            table.take(selection.host, spec.resources)
            if spec.group is not None:
                members[selection.host] = members.get(selection.host, 0) + 1
            if len(found) % _BREATH == 0:
                await flow.pause(0.0)
        return found, None

    def _claim(
        self, conn: Connection, flow: Flow, asked: _Asked, choice: _Choice, claimed_of: dict[str, str]
    ) -> Outcome:
        """Claim hosts and bind ports for all that fit, and remove those that do not.

        Raises NotClaimed where something is not as it was when the hosts were chosen, and _Short for want of ports.
        """
        first, clock = asked.requests[0].server, self.cloud.clock.monotonic()
        now_waiting = together.unplaced(conn, first.project_id, first.reservation_id)
        if [each.id for each in now_waiting] != asked.idents:
            raise allocations.NotClaimed("servers of the request were deleted meanwhile")
        claimed_of.clear()
        own: Outcome | None = None
        for fit, (request, selection) in enumerate(zip(asked.requests, choice.selections, strict=False)):
            host = self.placing.claim(conn, request, selection, choice.at)
            claimed_of[request.server.id] = host.name
            try:
                bound = self.placing.bind(conn, request.server, host, choice.at)
            except FloeError as error:
                raise _Short(fit, error) from error
            if request.server.id == flow.action.subject_id:
                claim = StepTime(
                    name="claim",
                    started=choice.step.started + choice.step.seconds,
                    seconds=self.cloud.clock.monotonic() - clock,
                    remark=claimed(request.server, bound),
                )
                own = self.placing.outcome(
                    conn, flow, request.server, host, bound, (choice.step, claim), choice.step.remark, choice.at
                )
        return self._remove(conn, flow, asked.requests[len(choice.selections) :], choice, own)

    def _remove(
        self, conn: Connection, flow: Flow, surplus: tuple[Request, ...], choice: _Choice, own: Outcome | None
    ) -> Outcome:
        """Take away the servers that there is no room for; none of them holds anything."""
        text = f"There was no room for this server: {choice.step.remark}."
        for request in surplus:
            if request.server.id != flow.action.subject_id:
                self._end(conn, request.server, CANCELLED, text, None, choice.at)
            rows.mark_deleted(conn, request.server.id, choice.at)
        return own or Outcome(remark=text, last=True)

    def _end(self, conn: Connection, server: Server, state: str, message: str, output: Any, now: datetime) -> None:
        """End the create of another server of the request."""
        for action in actions.find(conn, server.id, kind="create", is_open=True):
            actions.close(conn, action.id, state, message, now)
            step = Step(
                action_id=action.id,
                seq=0,
                name="failure" if state == FAILED else "schedule",
                state=FAILED if state == FAILED else DONE,
                remark=message,
                output=output,
                started_at=now,
                finished_at=now,
            )
            actions.note(conn, step)
