"""Build a guest on the first host that can: it is chosen and claimed, and told; where it fails, another is tried."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from floe.cloud.cloud import Cloud
from floe.conductor.fleet import ConductorSettings, Fleet
from floe.conductor.flow import Flow
from floe.conductor.placing import Placed
from floe.conductor.saga import Again, Choice, OnHost
from floe.core.actions import Step
from floe.core.errors import FloeError, HostFailure, Unavailable
from floe.core.messages import Destroy, Spawn, Spawned
from floe.store import servers as rows

log = logging.getLogger(__name__)

_SAME_ANYWHERE = frozenset({"not_found", "invalid"})
"""Causes that lie in what was asked for (an image that is gone, or broken): any other host would fail alike."""


class _Tried(msgspec.Struct, frozen=True):
    """The hosts that failed so far, and why."""

    hosts: dict[str, FloeError] = msgspec.field(default_factory=dict)


def tried(flow: Flow) -> dict[str, FloeError]:
    """Return the hosts that failed so far at what an action is to build, and why."""
    found: _Tried = flow.known.setdefault(_Tried, _Tried())
    return found.hosts


class Building(msgspec.Struct, frozen=True):
    """The part of a plan that builds a guest somewhere, on one of `most` hosts; its first step is called `place`."""

    cloud: Cloud
    fleet: Fleet
    settings: ConductorSettings
    most: int
    place: str = "schedule"

    def steps(self, schedule: Callable[[Flow], Awaitable[Any]], spawn: Callable[[Flow], Awaitable[Spawn]]) -> Again:
        """Return its steps: `schedule` finds a host and claims it, `spawn` makes what that is told."""
        return Again(
            steps=(
                Choice(name=self.place, by=schedule, returns=Placed),
                OnHost(
                    name="spawn",
                    at=lambda flow: flow.result(Placed).host,
                    command=spawn,
                    returns=Spawned,
                    seconds=self.settings.spawn,
                    undo=self.destroy,
                    after=lambda flow, _: self.fleet.table.note_failure(flow.result(Placed).host, False),
                ),
            ),
            other=self.other_host,
        )

    def other_host(self, flow: Flow, step: str, error: FloeError) -> bool:
        """Say whether another host may do better."""
        if step != "spawn" or not isinstance(error, HostFailure | Unavailable):
            return False
        failed, host = tried(flow), flow.result(Placed).host
        self.fleet.table.note_failure(host, True)
        failed[host] = error
        hopeless = isinstance(error, HostFailure) and error.cause in _SAME_ANYWHERE
        if hopeless or len(failed) >= self.most:
            return False
        log.warning("server %s: host %s failed: %s", flow.action.subject_id, host, error.message)
        return True

    async def destroy(self, flow: Flow, step: Step) -> Destroy:
        """Return what takes a spawn back; the same server may be built on that host again, by a later action."""
        placed = next(
            msgspec.convert(other.output, Placed)
            for other in reversed(flow.journal.steps)
            if other.name == self.place and other.host == step.host
        )
        server = await self.cloud.db.read(lambda conn: rows.get(conn, flow.action.subject_id, deleted=True))
        return Destroy(
            action_id=flow.action.id,
            server_id=flow.action.subject_id,
            guest_name=server.guest_name if server else "",
            port_ids=tuple(port.port_id for port in placed.network.ports),
            generation=placed.network.generation,
            final=False,
            attempt=flow.attempt,
        )
