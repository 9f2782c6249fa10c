"""Find a host for a server and claim it: choose, claim, learn what was not so, and try again."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from floe.cloud import host_networks, server_ports
from floe.cloud.cloud import Cloud
from floe.conductor.failures import hosts_told
from floe.conductor.fleet import ConductorSettings, Fleet
from floe.conductor.flow import Begin, Flow, Outcome
from floe.core.aggregates import demands
from floe.core.errors import FloeError, HostFailure, NotFound, NoValidHost, Unavailable
from floe.core.given import CreateGiven
from floe.core.host_network import HostNetwork, HostPort
from floe.core.hosts import RUNNING, Allocation
from floe.core.messages import StepTime
from floe.core.resources import Resources
from floe.core.server_groups import ServerGroup
from floe.core.servers import BUILDING, SPAWNING, Server
from floe.scheduler.select import Selection, choose, explain
from floe.scheduler.spec import RequestSpec, hinted, resources_of, spec_of
from floe.store import aggregates, allocations, server_groups
from floe.store import servers as rows
from floe.store.engine import Connection

log = logging.getLogger(__name__)

TRIES = 5
"""How often stale knowledge of hosts may make a claim fail before it is given up."""
GRACE_STEP = 0.1


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a server was placed: recorded, so that a repeated spawn says the same as the first."""

    host: str
    zone: str
    network: HostNetwork


@dataclass(frozen=True, slots=True)
class Request:
    """A server to be placed, with what was read for it."""

    server: Server
    spec: RequestSpec
    group: ServerGroup | None


@dataclass(frozen=True, slots=True)
class Placing:
    """Places one server at a time. A host is the server's when the transaction that claims it has committed."""

    cloud: Cloud
    fleet: Fleet
    settings: ConductorSettings

    async def place(self, flow: Flow, tried: Mapping[str, FloeError]) -> Any:
        """Select and claim until a claim holds; what the table knew wrongly it learns from the database."""
        for attempt in range(TRIES):
            started, clock = self.cloud.clock.now(), self.cloud.clock.monotonic()
            request = await self._read(flow, tried)
            try:
                selection = await self._select(flow, request)
            except NoValidHost as error:
                raise _with_causes(error, tried) from None
            seconds = self.cloud.clock.monotonic() - clock
            chosen = StepTime(name="select", started=started.timestamp(), seconds=seconds, remark=considered(selection))
            claimed_at = self.cloud.clock.now()
            try:
                output = await flow.transaction(
                    "schedule",
                    lambda conn: self._claim(conn, flow, request, selection, chosen, claimed_at),  # noqa: B023
                    started=started,
                )
            except allocations.NotClaimed as refusal:
                log.info("server %s: claim refused: %s (try %d)", flow.action.subject_id, refusal, attempt + 1)
                await self.fleet.refresh((selection.host, *selection.alternates))
                continue
            self.fleet.took(output["host"], resources_of(request.server))
            if request.server.networks:
                await self.cloud.network_nudge()  # hosts whose rules name its groups
            flow.known[Server] = request.server
            return output
        raise Unavailable("Hosts were taken by others faster than they could be claimed; try again.")

    async def _read(self, flow: Flow, tried: Mapping[str, FloeError]) -> Request:
        excluded = {host: error.message for host, error in tried.items()}

        def read(conn: Connection) -> Request:
            server = rows.get(conn, flow.action.subject_id)
            if server is None:
                raise NotFound("server", flow.action.subject_id)
            return self.read(conn, server, excluded)

        return await self.cloud.db.read(read)

    def read(self, conn: Connection, server: Server, excluded: Mapping[str, str] | None = None) -> Request:
        """Return what a server asks of a host; `excluded` were tried already."""
        group = server_groups.get(conn, server.group_id) if server.group_id else None
        hints = (*hinted(server, "same_host"), *hinted(server, "different_host"))
        spec = spec_of(
            server,
            group=group,
            group_hosts=allocations.members(conn, group.id, but=server.id) if group else None,
            hint_hosts=allocations.hosts_of(conn, hints) if hints else None,
            aggregates=aggregates.described(conn) if demands(server.flavor.extra_specs) else (),
            excluded=excluded,
        )
        return Request(server, spec, group)

    async def _select(self, flow: Flow, request: Request) -> Selection:
        """Choose; when no host will do, read what changed, and just after the start wait for hosts to speak up."""
        seed = zlib.crc32(flow.action.id.encode())
        multipliers = self.settings.multipliers
        waited = 0.0
        while True:
            selection = choose(request.spec, self.fleet.table, seed, multipliers=multipliers)
            if selection is None and await self.fleet.refresh():
                selection = choose(request.spec, self.fleet.table, seed, multipliers=multipliers)
            if selection is not None:
                return selection
            if not self.fleet.awaited() or waited >= self.settings.start_grace:
                raise explain(request.spec, self.fleet.table)
            await flow.pause(GRACE_STEP)
            waited += GRACE_STEP

    def _claim(
        self,
        conn: Connection,
        flow: Flow,
        request: Request,
        selection: Selection,
        chosen: StepTime,
        now: datetime,
    ) -> Outcome:
        """Claim the first of the selected hosts that the database agrees to, and bind the ports there."""
        clock = self.cloud.clock.monotonic()
        if request.spec.excluded:
            allocations.release(conn, request.server.id, now, purpose=RUNNING)
        host = self.claim(conn, request, selection, now)
        bound = self.bind(conn, request.server, host, now)
        claim = StepTime(
            name="claim",
            started=chosen.started + chosen.seconds,
            seconds=self.cloud.clock.monotonic() - clock,
            remark=claimed(request.server, bound),
        )
        return self.outcome(conn, flow, request.server, host, bound, (chosen, claim), chosen.remark, now)

    def outcome(
        self,
        conn: Connection,
        flow: Flow,
        server: Server,
        host: str,
        bound: Sequence[HostPort],
        parts: Sequence[StepTime],
        remark: str,
        now: datetime,
    ) -> Outcome:
        """Return what the journal keeps of a server's place; its spawn begins with the same transaction."""
        network = HostNetwork()
        if bound:
            network = host_networks.fragment(conn, host, bound, self.cloud.settings.dns_domain)
        unheeded = flow.given(CreateGiven).warning
        if unheeded:
            parts = (*parts, StepTime(name="warning", started=now.timestamp(), seconds=0.0, remark=unheeded))
        return Outcome(
            output=msgspec.to_builtins(Placed(host, self.zone(host), network)),
            host=host,
            remark=remark,
            begins=Begin(name="spawn", host=host),
            steps=parts,
        )

    def claim(self, conn: Connection, request: Request, selection: Selection, now: datetime) -> str:
        """Claim the first of the selected hosts that the database agrees to, and return it. Raises NotClaimed."""
        refused, server = [], request.server
        for host in (selection.host, *selection.alternates):
            wanted = Allocation(
                server_id=server.id,
                host=host,
                project_id=server.project_id,
                user_id=server.user_id,
                resources=resources_of(server),
                group_id=request.group.id if request.group else None,
                created_at=now,
            )
            try:
                forced = server.requested_host is not None
                allocations.claim(conn, wanted, group=request.group, forced=forced, known=self._known(host))
            except allocations.NotClaimed as error:
                refused.append(f"{host}: {error}")
            else:
                rows.change(conn, server.id, only_in=BUILDING, host=host, task_state=SPAWNING, updated_at=now)
                return host
        raise allocations.NotClaimed("; ".join(refused))

    def bind(self, conn: Connection, server: Server, host: str, now: datetime) -> tuple[HostPort, ...]:
        """Give a server its ports on a host; those that it has there already it keeps."""
        return server_ports.bind(
            conn,
            now=now,
            server_id=server.id,
            project_id=server.project_id,
            host=host,
            zone=self.zone(host),
            hostname=server.hostname,
            planned=server.networks,
        )

    def _known(self, host: str) -> tuple[str, tuple[int, ...]] | None:
        """Return what the choice of a host was made by; a host that was forgotten since is not there to be claimed."""
        row = self.fleet.table.row(host)
        return None if row is None else (self.zone(host), self.fleet.table.aggregates(row))

    def zone(self, host: str) -> str:
        """Return the zone of a host, as far as it is known."""
        row = self.fleet.table.row(host)
        return self.fleet.table.text(int(self.fleet.table.zone[row])) if row is not None else ""


def considered(selection: Selection) -> str:
    """Say how many hosts were looked at."""
    return f"{selection.fitting} of {selection.considered} hosts looked at fit"


def claimed(server: Server, bound: Sequence[HostPort]) -> str:
    """Say what was claimed for a server."""
    resources: Resources = resources_of(server)
    amounts = f"{resources.vcpus} vCPUs, {resources.memory_mib} MiB, {resources.disk_gib} GiB"
    return f"{amounts}; {len(bound)} ports"


def _with_causes(error: NoValidHost, tried: Mapping[str, FloeError]) -> FloeError:
    """When hosts were tried before none was left, what went wrong there is what the user has to know."""
    if not tried:
        return error
    cause = list(tried.values())[-1]
    message = cause.message
    if error.others or len(error.reasons) > len(tried):
        message = f"{message} No other host would do: {error.message}"
    details = [getattr(cause, "detail", ""), hosts_told(error)]
    stage = getattr(cause, "stage", "")
    return HostFailure(message, host=list(tried)[-1], stage=stage, detail="\n".join(text for text in details if text))
