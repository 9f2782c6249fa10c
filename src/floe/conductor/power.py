"""Workflows that change one thing about a guest: its host is told what it should be, and the row says what it is then.

All kinds have the same two steps; what differs stands in `core.guest_actions`, and travels in the action's input.
Where it fails, the server is what it was, and what its guest has become its row follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from floe.cloud.cloud import Cloud
from floe.conductor.failures import Failure
from floe.conductor.fleet import ConductorSettings, Fleet
from floe.conductor.flow import Flow, Outcome, Work
from floe.conductor.forgotten import catch_up, told_anew
from floe.conductor.saga import OnHost, Saga, Write
from floe.core import server_states
from floe.core.given import PowerGiven
from floe.core.guest_actions import BY_KIND, DEFERRED, OnGuest
from floe.core.messages import ChangePower, PowerChanged
from floe.core.servers import SOFT_DELETED, ServerFault
from floe.store import servers as rows
from floe.store.engine import Connection

_GRACE_STEP = 0.1
_DEFERRED = frozenset(row.kind for row in DEFERRED)


class GuestActions(msgspec.Struct, frozen=True):
    """The workflows of `core.guest_actions`, with what they work on."""

    cloud: Cloud
    fleet: Fleet
    settings: ConductorSettings

    def sagas(self) -> Iterator[Saga]:
        """Return the plan of each kind."""
        return (self._saga(row) for row in BY_KIND.values())

    def _saga(self, row: OnGuest) -> Saga:
        return Saga(
            begins=row.begins,
            steps=(
                OnHost(
                    name=row.kind,
                    at=self.host,
                    command=self.command,
                    returns=PowerChanged,
                    seconds=self.settings.power,
                    waits=self.settings.host_wait,
                    anew=self.anew,
                    behind=catch_up,
                ),
                Write(name="settled", do=self.settle, last=True),
            ),
            fails=self.leave,
        )

    def host(self, flow: Flow) -> str:
        """Return the host that has the guest."""
        return flow.given(PowerGiven).host

    async def command(self, flow: Flow) -> ChangePower:
        """Return what the host is told; just after the start it has a while to speak up."""
        return await (self.anew(flow) if flow.given(PowerGiven).replug else self.plain(flow))

    async def plain(self, flow: Flow) -> ChangePower:
        """Return what a host is told that knows the guest and its ports."""
        host, waited = self.host(flow), 0.0
        while self.fleet.awaited(host) and waited < self.settings.start_grace:
            await flow.pause(_GRACE_STEP)
            waited += _GRACE_STEP
        return ChangePower(
            action_id=flow.action.id,
            server_id=flow.action.subject_id,
            wanted=flow.given(PowerGiven).wanted,
            patience=flow.given(PowerGiven).patience,
        )

    async def anew(self, flow: Flow) -> ChangePower:
        """Return the same for a host that has forgotten the guest: with all of it, as its create has it."""
        return await told_anew(self.cloud, self.host(flow), await self.plain(flow))

    def settle(self, flow: Flow) -> Work:
        """Say what the guest is now; that it was in ERROR is over."""
        server_id, now, power = flow.action.subject_id, self.cloud.clock.now(), flow.result(PowerChanged).power_state
        row = BY_KIND[flow.action.kind]
        if row.power is None:
            return lambda _conn: None
        more: dict[str, Any] = {"reclaim_at": flow.given(PowerGiven).reclaim_at} if row.settles else {}

        def work(conn: Connection) -> Outcome:
            server = rows.get(conn, server_id)
            rescued = server is not None and server.rescue is not None
            rows.change(
                conn,
                server_id,
                vm_state=row.settles or server_states.state_of(power, rescued=rescued),
                task_state=None,
                power_state=int(power),
                fault=None,
                updated_at=now,
                **more,
            )
            return Outcome(remark=f"the guest is {power.name.lower()}")

        return work

    def leave(self, flow: Flow, failure: Failure) -> Work:
        """Leave the server what it was, and say why; one whose guest an earlier action ended is off."""
        server_id, now = flow.action.subject_id, self.cloud.clock.now()
        if BY_KIND[flow.action.kind].power is None:
            return lambda _conn: None
        where = f"host {failure.host or self.host(flow)}"
        details = "\n".join(text for text in (where, failure.detail) if text)
        fault = ServerFault(code=500, message=failure.message, details=details, created_at=now)

        def work(conn: Connection) -> None:
            server = rows.get(conn, server_id)
            if server is None:
                return
            vm_state = server_states.follow(server.vm_state, server.power_state)
            rows.change(conn, server_id, vm_state=vm_state, task_state=None, fault=fault, updated_at=now)
            if flow.action.kind in _DEFERRED:
                rows.change(conn, server_id, only_in=SOFT_DELETED, reclaim_at=flow.given(PowerGiven).reclaim_at)

        return work
