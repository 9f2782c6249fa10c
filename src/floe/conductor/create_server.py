"""Create a server: choose a host and claim it, have it spawn the guest, note that it is active.

The rows are written in two transactions (the request itself was the first). When a host fails at it, the
guest is removed there and the next host is tried, unless the failure would be the same anywhere.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from floe.cloud import host_networks, server_ports
from floe.cloud.cloud import Cloud
from floe.conductor.failures import Failure
from floe.conductor.fleet import ConductorSettings, Fleet
from floe.conductor.guest_spec import guest_spec
from floe.conductor.workflow import Begin, Flow, Outcome, Workflow
from floe.core import server_states
from floe.core.actions import Step
from floe.core.errors import FloeError, HostFailure, NotFound, NoValidHost, Unavailable
from floe.core.host_network import HostNetwork, HostPort
from floe.core.hosts import Allocation
from floe.core.messages import Destroy, Destroyed, Spawn, Spawned, StepTime
from floe.core.resources import Resources
from floe.core.server_groups import ServerGroup
from floe.core.servers import ERROR, SPAWNING, Server, ServerFault
from floe.scheduler.select import Selection, select
from floe.scheduler.spec import RequestSpec, hinted, resources_of, spec_of
from floe.store import allocations, server_groups
from floe.store import servers as rows
from floe.store.engine import Connection

log = logging.getLogger(__name__)

_SAME_ANYWHERE = frozenset({"not_found", "invalid"})
"""Causes that lie in what was asked for (an image that is gone, or broken): any other host would fail alike."""
_TRIES = 5
"""How often stale knowledge of hosts may make a claim fail before the database is read whole."""
_GRACE_STEP = 0.1
_UNDO_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a server was placed: recorded, so that a repeated spawn says the same as the first."""

    host: str
    zone: str
    network: HostNetwork


@dataclass(frozen=True, slots=True)
class _Request:
    server: Server
    spec: RequestSpec
    group: ServerGroup | None


@dataclass(frozen=True, slots=True)
class CreateServer:
    """The workflow `create`, with what it works on."""

    cloud: Cloud
    fleet: Fleet
    settings: ConductorSettings

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
                log.warning("server %s: host %s failed: %s", flow.action.server_id, placed.host, error.message)
                await flow.roll_back("spawn")
        self.fleet.table.note_failure(placed.host, False)
        await self._activate(flow, spawned)

    # -- schedule -------------------------------------------------------------------------------------

    async def _schedule(self, flow: Flow, tried: Mapping[str, FloeError]) -> tuple[Placed, Server | None]:
        """Return where the server is to be, and its row if that was read for it."""
        recorded = flow.recorded("schedule")
        if recorded is not None:
            return msgspec.convert(recorded, Placed), None
        placed, server = await self._place(flow, tried)
        return msgspec.convert(placed, Placed), server

    async def _place(self, flow: Flow, tried: Mapping[str, FloeError]) -> tuple[Any, Server]:
        """Select and claim until a claim holds; what the table knew wrongly it learns from the database."""
        for attempt in range(_TRIES):
            started, clock = self.cloud.clock.now(), self.cloud.clock.monotonic()
            request = self._read(flow, tried)
            try:
                selection = await self._select(flow, request)
            except NoValidHost as error:
                raise _with_causes(error, tried) from None
            seconds = self.cloud.clock.monotonic() - clock
            try:
                output = await flow.transaction(
                    "schedule",
                    lambda conn: self._claim(conn, flow, request, selection, started.timestamp(), seconds),  # noqa: B023
                    started=started,
                )
            except allocations.NotClaimed as refusal:
                log.info("server %s: claim refused: %s (try %d)", flow.action.server_id, refusal, attempt + 1)
                self.fleet.refresh()
                continue
            self.fleet.took(output["host"], resources_of(request.server))
            if request.server.networks:
                self.cloud.network_nudge()  # hosts whose rules name its groups
            return output, request.server
        raise Unavailable("Hosts were taken by others faster than they could be claimed; try again.")

    def _read(self, flow: Flow, tried: Mapping[str, FloeError]) -> _Request:
        def read(conn: Connection) -> _Request:
            server = rows.get(conn, flow.action.server_id)
            if server is None:
                raise NotFound("server", flow.action.server_id)
            group = server_groups.get(conn, server.group_id) if server.group_id else None
            hints = (*hinted(server, "same_host"), *hinted(server, "different_host"))
            spec = spec_of(
                server,
                group=group,
                group_hosts=allocations.members(conn, group.id, but=server.id) if group else None,
                hint_hosts=allocations.hosts_of(conn, hints) if hints else None,
                excluded={host: error.message for host, error in tried.items()},
            )
            return _Request(server, spec, group)

        return self.cloud.db.read_now(read)

    async def _select(self, flow: Flow, request: _Request) -> Selection:
        """Choose; when no host will do, read what changed, and just after the start wait for hosts to speak up."""
        seed = zlib.crc32(flow.action.id.encode())
        multipliers = self.settings.multipliers
        waited = 0.0
        while True:
            try:
                return select(request.spec, self.fleet.table, seed, multipliers=multipliers)
            except NoValidHost:
                if self.fleet.refresh():
                    try:
                        return select(request.spec, self.fleet.table, seed, multipliers=multipliers)
                    except NoValidHost:
                        pass
                if not self.fleet.awaited() or waited >= self.settings.start_grace:
                    raise
            await flow.pause(_GRACE_STEP)
            waited += _GRACE_STEP

    def _claim(
        self, conn: Connection, flow: Flow, request: _Request, selection: Selection, started: float, seconds: float
    ) -> Outcome:
        """Claim the first of the selected hosts that the database agrees to, and bind the ports there."""
        server, now, clock = request.server, self.cloud.clock.now(), self.cloud.clock.monotonic()
        if request.spec.excluded:
            allocations.release(conn, server.id, now)
        host = self._claimed(conn, flow, request, selection)
        zone_row = self.fleet.table.row(host)
        zone = self.fleet.table.text(int(self.fleet.table.zone[zone_row])) if zone_row is not None else ""
        bound = self._bind(conn, server, host, zone)
        network = HostNetwork()
        if bound:
            ids = [port.port_id for port in bound]
            network = host_networks.fragment(conn, host, ids, self.cloud.settings.dns_domain)
        rows.change(conn, server.id, host=host, task_state=SPAWNING, updated_at=now)
        claim_seconds = self.cloud.clock.monotonic() - clock
        considered = f"{selection.fitting} of {selection.considered} hosts looked at fit"
        return Outcome(
            output=msgspec.to_builtins(Placed(host, zone, network)),
            host=host,
            remark=considered,
            begins=Begin(name="spawn", host=host),
            steps=(
                StepTime(name="select", started=started, seconds=seconds, remark=considered),
                StepTime(
                    name="claim",
                    started=started + seconds,
                    seconds=claim_seconds,
                    remark=f"{_said(resources_of(server))}; {len(bound)} ports",
                ),
            ),
        )

    def _claimed(self, conn: Connection, flow: Flow, request: _Request, selection: Selection) -> str:
        refusal = allocations.NotClaimed("no host was selected")
        for host in (selection.host, *selection.alternates):
            wanted = Allocation(
                server_id=request.server.id,
                host=host,
                project_id=request.server.project_id,
                user_id=request.server.user_id,
                resources=resources_of(request.server),
                group_id=request.group.id if request.group else None,
                created_at=self.cloud.clock.now(),
            )
            try:
                allocations.claim(conn, wanted, group=request.group, forced=request.server.requested_host is not None)
            except allocations.NotClaimed as error:
                log.info("server %s: host %s not claimed: %s", flow.action.server_id, host, error)
                refusal = error
            else:
                return host
        raise refusal

    def _bind(self, conn: Connection, server: Server, host: str, zone: str) -> tuple[HostPort, ...]:
        return server_ports.bind(
            conn,
            self.cloud,
            server_id=server.id,
            project_id=server.project_id,
            host=host,
            zone=zone,
            hostname=server.hostname,
            planned=server.networks,
        )

    # -- spawn and activate ---------------------------------------------------------------------------

    async def _spawn(self, flow: Flow, placed: Placed, known: Server | None) -> Spawned:
        async def call() -> Spawned:
            server = known or self.cloud.db.read_now(lambda conn: rows.get(conn, flow.action.server_id))
            if server is None:
                raise NotFound("server", flow.action.server_id)
            guest = guest_spec(server, flow.action.input, placed.network, placed.zone)
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
        power = self.fleet.power.pop(flow.action.server_id, spawned.power_state)

        def activate(conn: Connection) -> Outcome:
            now = self.cloud.clock.now()
            rows.change(
                conn,
                flow.action.server_id,
                vm_state=server_states.state_of(power),
                task_state=None,
                power_state=int(power),
                fault=None,
                launched_at=now,
                updated_at=now,
            )
            server_ports.activate(conn, flow.action.server_id)
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
        name = self.cloud.db.read_now(lambda conn: rows.get(conn, flow.action.server_id, deleted=True))
        command = Destroy(
            action_id=flow.action.id,
            server_id=flow.action.server_id,
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
        """Give back claim, ports and addresses; the server is in ERROR with its cause."""
        now, server_id = self.cloud.clock.now(), flow.action.server_id
        self.fleet.power.pop(server_id, None)
        server_ports.release(conn, server_id)
        allocations.release(conn, server_id, now)
        self.fleet.dirty = True
        where = f"host {failure.host}" + (f", stage {failure.stage}" if failure.stage else "") if failure.host else ""
        details = "\n".join(text for text in (where, failure.detail) if text)
        fault = ServerFault(code=500, message=failure.message, details=details, created_at=now)
        rows.change(
            conn, server_id, vm_state=ERROR, task_state=None, power_state=0, host=None, fault=fault, updated_at=now
        )


def _with_causes(error: NoValidHost, tried: Mapping[str, FloeError]) -> FloeError:
    """When hosts were tried before none was left, what went wrong there is what the user has to know."""
    if not tried:
        return error
    cause = list(tried.values())[-1]
    message = cause.message
    if len(error.reasons) > len(tried):
        message = f"{message} No other host would do: {error.message}"
    details = [getattr(cause, "detail", ""), *(f"{host}: {why}" for host, why in sorted(error.reasons.items()))]
    stage = getattr(cause, "stage", "")
    return HostFailure(message, host=list(tried)[-1], stage=stage, detail="\n".join(text for text in details if text))


def _said(resources: Resources) -> str:
    return f"{resources.vcpus} vCPUs, {resources.memory_mib} MiB, {resources.disk_gib} GiB"
