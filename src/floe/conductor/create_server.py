"""Create a server: choose a host and claim it, have it spawn the guest, note that it is active.

The rows are written in two transactions (the request itself was the first). When a host fails at it, the
guest is removed there and the next host is tried, unless the failure would be the same anywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from floe.cloud import sealing, server_ports
from floe.cloud.cloud import Cloud
from floe.conductor.failures import Failure
from floe.conductor.fleet import ConductorSettings, Fleet
from floe.conductor.guest_spec import guest_spec
from floe.conductor.placing import Placed, Placing
from floe.conductor.reservations import Reservations, made_together
from floe.conductor.workflow import Flow, Outcome, Workflow
from floe.core import server_states
from floe.core.actions import Step
from floe.core.errors import FloeError, HostFailure, NotFound, Unavailable
from floe.core.messages import Destroy, Destroyed, Spawn, Spawned
from floe.core.servers import ERROR, Server, ServerFault
from floe.store import allocations
from floe.store import servers as rows
from floe.store.engine import Connection

log = logging.getLogger(__name__)

_SAME_ANYWHERE = frozenset({"not_found", "invalid"})
"""Causes that lie in what was asked for (an image that is gone, or broken): any other host would fail alike."""
_UNDO_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class CreateServer:
    """The workflow `create`, with what it works on."""

    cloud: Cloud
    fleet: Fleet
    settings: ConductorSettings
    placing: Placing
    reservations: Reservations

    def workflow(self) -> Workflow:
        """Return its definition."""
        return Workflow(kind="create", run=self.run, undos={"spawn": self.undo_spawn}, failed=self.failed)

    async def run(self, flow: Flow) -> None:
        """Build the server. Raises FloeError when no host can."""
        tried: dict[str, FloeError] = {}
        while True:
            placed, server = await self._schedule(flow, tried)
            try:
                spawned = await self._spawn(flow, placed, server)
                break
            except (HostFailure, Unavailable) as error:
                self.fleet.table.note_failure(placed.host, True)
                tried[placed.host] = error
                last = len(tried) >= self.settings.hosts_per_create
                if last or (isinstance(error, HostFailure) and error.cause in _SAME_ANYWHERE):
                    raise
                log.warning("server %s: host %s failed: %s", flow.action.subject_id, placed.host, error.message)
                await flow.roll_back("spawn")
        self.fleet.table.note_failure(placed.host, False)
        await self._activate(flow, spawned)

    # -- schedule -------------------------------------------------------------------------------------

    async def _schedule(self, flow: Flow, tried: Mapping[str, FloeError]) -> tuple[Placed, Server | None]:
        """Return where the server is to be, and its row if that was read for it."""
        recorded = flow.recorded("schedule")
        if recorded is not None:
            return msgspec.convert(recorded, Placed), None
        if not tried and made_together(flow) > 1:
            placed, server = await self.reservations.place(flow)
        else:
            placed, server = await self.placing.place(flow, tried)
        return msgspec.convert(placed, Placed), server

    # -- spawn and activate ---------------------------------------------------------------------------

    async def _spawn(self, flow: Flow, placed: Placed, known: Server | None) -> Spawned:
        async def call() -> Spawned:
            server = known or self.cloud.db.read_now(lambda conn: rows.get(conn, flow.action.subject_id))
            if server is None:
                raise NotFound("server", flow.action.subject_id)
            guest = guest_spec(server, sealing.given(self.cloud, flow.action), placed.network, placed.zone)
            command = Spawn(action_id=flow.action.id, guest=guest, network=placed.network)
            return await self.fleet.command(
                placed.host,
                command,
                returns=Spawned,
                seconds=self.settings.spawn,
                pause=flow.pause,
                recovered=flow.recovered,
            )

        return await flow.effect("spawn", call, returns=Spawned, host=placed.host, steps=lambda spawned: spawned.steps)

    async def _activate(self, flow: Flow, spawned: Spawned) -> None:
        power = self.fleet.power.pop(flow.action.subject_id, spawned.power_state)

        def activate(conn: Connection) -> Outcome:
            now = self.cloud.clock.now()
            rows.change(
                conn,
                flow.action.subject_id,
                vm_state=server_states.state_of(power),
                task_state=None,
                power_state=int(power),
                fault=None,
                launched_at=now,
                updated_at=now,
            )
            server_ports.activate(conn, flow.action.subject_id)
            return Outcome(remark="the guest runs")

        await flow.transaction("active", activate, last=True)

    # -- undo -----------------------------------------------------------------------------------------

    async def undo_spawn(self, flow: Flow, step: Step) -> None:
        """Have the host remove all of the guest; one that is down is told when it comes back."""
        if step.host is None:
            return
        placed = next(
            msgspec.convert(other.output, Placed)
            for other in reversed(flow.steps)
            if other.name == "schedule" and other.host == step.host
        )
        name = self.cloud.db.read_now(lambda conn: rows.get(conn, flow.action.subject_id, deleted=True))
        command = Destroy(
            action_id=flow.action.id,
            server_id=flow.action.subject_id,
            guest_name=name.guest_name if name else "",
            port_ids=tuple(port.port_id for port in placed.network.ports),
            generation=placed.network.generation,
            final=False,
        )
        waited, wait = 0.0, 0.2
        while True:
            try:
                await self.fleet.command(
                    step.host, command, returns=Destroyed, seconds=self.settings.destroy, pause=flow.pause
                )
            except Unavailable as error:
                log.warning(
                    "server %s: cleaning host %s is left for its return: %s", command.server_id, step.host, error
                )
                self.fleet.owed.add(step.host)
                return
            except HostFailure as error:
                log.warning(
                    "server %s: cleaning host %s failed: %s", command.server_id, step.host, error.detail or error
                )
                if waited > _UNDO_SECONDS:
                    return  # the slow sweep goes on asking that host
                await flow.pause(wait)
                waited, wait = waited + wait, min(wait * 2, 10.0)
            else:
                return

    def failed(self, conn: Connection, flow: Flow, failure: Failure) -> None:
        """Give back claim, ports and addresses; the server is in ERROR with its cause.

        Servers that were to be placed together with it, and are not, share its fate.
        """
        now, server_id = self.cloud.clock.now(), flow.action.subject_id
        self.fleet.power.pop(server_id, None)
        server_ports.release(conn, server_id)
        allocations.release(conn, server_id, now)
        self.fleet.dirty = True
        where = f"host {failure.host}" + (f", stage {failure.stage}" if failure.stage else "") if failure.host else ""
        details = "\n".join(text for text in (where, failure.detail) if text)
        fault = ServerFault(code=500, message=failure.message, details=details, created_at=now)
        if made_together(flow) > 1:
            self.reservations.fail_others(conn, flow, fault)
        rows.change(
            conn, server_id, vm_state=ERROR, task_state=None, power_state=0, host=None, fault=fault, updated_at=now
        )
