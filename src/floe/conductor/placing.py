"""Find a host for a server and claim it: choose, claim, learn what was not so, and try again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias

import msgspec

from floe.cloud import host_networks, server_ports
from floe.cloud.cloud import Cloud
from floe.conductor.choices import Choices, Moves, Request
from floe.conductor.failures import hosts_told
from floe.conductor.fleet import Fleet
from floe.conductor.flow import Begin, Flow, Outcome
from floe.core.actions import CREATE
from floe.core.errors import FloeError, HostFailure, NoValidHost, Unavailable
from floe.core.given import CreateGiven
from floe.core.host_network import HostNetwork, HostPort
from floe.core.hosts import RUNNING, Allocation, HostSeen
from floe.core.resources import Resources
from floe.core.servers import BUILDING, SHELVED_OFFLOADED, SPAWNING, Server
from floe.core.step_times import StepTime
from floe.scheduler.select import Selection
from floe.scheduler.spec import hinted, hinted_hosts, resources_of
from floe.store import aggregates, allocations
from floe.store import servers as rows
from floe.store.engine import Connection

log = logging.getLogger(__name__)

TRIES = 5
"""How often stale knowledge of hosts may make a claim fail before it is given up."""


class Placed(msgspec.Struct, frozen=True):
    """Where a server was placed: recorded, so that a repeated spawn says the same as the first."""

    host: str
    zone: str
    network: HostNetwork


Claim: TypeAlias = Callable[[Flow, Request, Selection, StepTime, datetime, Connection], Outcome]
"""Claims one of the hosts that were selected for a request, in a moment; told how they were."""


class Placing(msgspec.Struct, frozen=True):
    """Places one server at a time. A host is the server's when the transaction that claims it has committed."""

    cloud: Cloud
    fleet: Fleet
    choices: Choices

    async def place(self, flow: Flow, tried: Mapping[str, FloeError]) -> Any:
        """Choose and claim until a claim holds; what the table knew wrongly it learns from the database."""
        excluded = {host: error.message for host, error in tried.items()}
        try:
            request, output = await self.settle_on(flow, "schedule", self._claim, excluded)
        except NoValidHost as error:
            raise with_causes(error, tried) from None
        if request.server.networks:
            # For hosts whose rules name its groups; of a host that was tried before, ports may be taken back.
            await self.cloud.network_nudge(members=not tried)
        flow.known[Server], flow.known[Request] = request.server, request
        return output

    async def settle_on(
        self, flow: Flow, step: str, claim: Claim, excluded: Mapping[str, str], moves: Moves | None = None
    ) -> tuple[Request, Any]:
        """Do the step that claims what was chosen, until a claim holds. Raises NoValidHost, Unavailable."""
        for attempt in range(TRIES):
            started, clock = self.cloud.clock.now(), self.cloud.clock.monotonic()
            choice = await self.choices.choose(flow, excluded, moves)
            request, selection, host = choice.request, choice.selection, None
            try:
                seconds = self.cloud.clock.monotonic() - clock
                said = considered(selection)
                chosen = StepTime(name="select", started=started.timestamp(), seconds=seconds, remark=said)
                work = partial(claim, flow, request, selection, chosen, self.cloud.clock.now())
                output = await flow.transaction(step, work, started=started)
                host = output["host"]
            except allocations.NotClaimed as refusal:
                log.info("server %s: claim refused: %s (try %d)", flow.action.subject_id, refusal, attempt + 1)
            finally:
                self.fleet.settle(choice.promise, host)
            if host is not None:
                return request, output
            await self.fleet.refresh(selection.names)
        raise Unavailable("Hosts were taken by others faster than they could be claimed; try again.")

    def _claim(
        self,
        flow: Flow,
        request: Request,
        selection: Selection,
        chosen: StepTime,
        now: datetime,
        conn: Connection,
    ) -> Outcome:
        """Claim the first of the selected hosts that the database agrees to, and bind the ports there."""
        clock = self.cloud.clock.monotonic()
        if request.spec.excluded:
            allocations.release(conn, request.server.id, now, purpose=RUNNING)
        host = self.claim(conn, request, selection, now)
        is_new = flow.action.kind == CREATE.kind and not request.spec.excluded
        bound = self.bind(conn, request.server, host, now, first=is_new)
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
        host: HostSeen,
        bound: Sequence[HostPort],
        parts: Sequence[StepTime],
        remark: str,
        now: datetime,
    ) -> Outcome:
        """Return what the journal keeps of a server's place; its spawn begins with the same transaction."""
        network = HostNetwork()
        if bound:
            network = host_networks.fragment(conn, host.name, bound, self.cloud.settings.dns_domain, now)
        unheeded = flow.given(CreateGiven).warning if flow.action.kind == CREATE.kind else ""
        if unheeded:
            parts = (*parts, StepTime(name="warning", started=now.timestamp(), seconds=0.0, remark=unheeded))
        return Outcome(
            output=msgspec.to_builtins(Placed(host.name, host.zone, network)),
            host=host.name,
            remark=remark,
            begins=Begin(name="spawn", host=host.name),
            steps=parts,
        )

    def claim(self, conn: Connection, request: Request, selection: Selection, now: datetime) -> HostSeen:
        """Claim a host as `take` does, and have the server be on it."""
        server, host = request.server, self.take(conn, request, selection, now)
        waits = SHELVED_OFFLOADED if server.vm_state == SHELVED_OFFLOADED else BUILDING
        rows.change(conn, server.id, only_in=waits, host=host.name, task_state=SPAWNING, updated_at=now)
        return host

    def take(self, conn: Connection, request: Request, selection: Selection, now: datetime) -> HostSeen:
        """Claim the first of the selected hosts that the database agrees to, and return it. Raises NotClaimed.

        It agrees where all that the choice was made by is so still; the table may be newer than the choice.
        """
        refused, server = [], request.server
        if request.generation is not None and request.generation != aggregates.generation(conn):
            raise allocations.NotClaimed("the metadata of aggregates is not what it was when hosts were chosen by it")
        hints = hinted(server)
        together, apart = hinted_hosts(server, allocations.hosts_of(conn, hints) if hints else {})
        for host in selection.hosts:
            wanted = Allocation(
                server_id=server.id,
                host=host.name,
                project_id=server.project_id,
                user_id=server.user_id,
                resources=resources_of(server),
                group_id=request.group.id if request.group else None,
                created_at=now,
            )
            try:
                if host.name in apart or not (together is None or host.name in together):
                    raise allocations.NotClaimed("servers that its hints name came there, or left it")
                forced = server.requested_host is not None
                allocations.claim(conn, wanted, group=request.group, forced=forced, seen=host)
            except allocations.NotClaimed as error:
                refused.append(f"{host.name}: {error}")
            else:
                return host
        raise allocations.NotClaimed("; ".join(refused))

    def bind(
        self, conn: Connection, server: Server, host: HostSeen, now: datetime, *, first: bool = False
    ) -> tuple[HostPort, ...]:
        """Give a server its ports on a host; those that it has there already, if this is not its first, it keeps."""
        return server_ports.bind(
            conn,
            now=now,
            server_id=server.id,
            project_id=server.project_id,
            host=host.name,
            zone=host.zone,
            hostname=server.hostname,
            planned=server.networks,
            first=first,
        )


def considered(selection: Selection) -> str:
    """Say how many hosts were looked at, and what hints did with them."""
    return "; ".join((f"{selection.fitting} of {selection.considered} hosts looked at fit", *selection.heeded))


def claimed(server: Server, bound: Sequence[HostPort]) -> str:
    """Say what was claimed for a server."""
    resources: Resources = resources_of(server)
    amounts = f"{resources.vcpus} vCPUs, {resources.memory_mib} MiB, {resources.disk_gib} GiB"
    return f"{amounts}; {len(bound)} ports"


def with_causes(error: NoValidHost, tried: Mapping[str, FloeError]) -> FloeError:
    """Return what the user has to know: where hosts were tried before none was left, what went wrong there."""
    if not tried:
        return error
    cause = list(tried.values())[-1]
    message = cause.message
    if error.others or len(error.reasons) > len(tried):
        message = f"{message} No other host would do: {error.message}"
    details = [getattr(cause, "detail", ""), hosts_told(error)]
    stage = getattr(cause, "stage", "")
    return HostFailure(message, host=list(tried)[-1], stage=stage, detail="\n".join(text for text in details if text))
