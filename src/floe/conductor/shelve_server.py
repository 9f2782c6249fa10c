"""Shelve a server: its guest is ended, and its root disk becomes an image that it can be made of anywhere.

A guest that runs is off before its disk is copied; one that stands still has its memory until the image
is there. Where it fails, the image goes and the server is what it was: one that was turned off for it is started.
"""

from __future__ import annotations

from typing import Any

import msgspec

from floe.cloud import shelving, snapshots, unmade_images
from floe.cloud.cloud import Cloud
from floe.conductor.failures import Failure
from floe.conductor.fleet import ConductorSettings
from floe.conductor.flow import Flow, Outcome, Work
from floe.conductor.forgotten import catch_up, told_anew
from floe.conductor.saga import Each, OnHost, Saga, Write
from floe.conductor.starting import STOP, is_ended, start_again
from floe.core.actions import SHELVE
from floe.core.given import ShelveGiven
from floe.core.messages import ChangePower, PowerChanged
from floe.core.servers import (
    SHELVED,
    SHELVING_IMAGE_PENDING,
    SHELVING_OFFLOADING,
    ServerFault,
)
from floe.core.snapshot_commands import SnapshotTaken, TakeSnapshot
from floe.store import actions, places
from floe.store import servers as rows
from floe.store.engine import Connection


class Running(msgspec.Struct, frozen=True):
    """A guest that is turned off before its disk is copied."""


class Standing(msgspec.Struct, frozen=True):
    """A guest that has memory, and does not run: it is ended once the image is there."""


class Put(msgspec.Struct, frozen=True):
    """It is shelved; the action that has it leave its host, if it does so at once."""

    offload: str = ""


class ShelveServer(msgspec.Struct, frozen=True):
    """The workflow `shelve`, with what it works on."""

    cloud: Cloud
    settings: ConductorSettings

    def saga(self) -> Saga:
        """Return its plan."""
        return Saga(
            begins=SHELVE,
            steps=(
                Each(
                    over=lambda flow: (Running(),) if flow.given(ShelveGiven).runs else (),
                    steps=(self._off(STOP), Write(name="stopped", do=self.note_stop)),
                ),
                OnHost(
                    name="snapshot",
                    at=self.host,
                    command=self.copy,
                    returns=SnapshotTaken,
                    seconds=self.settings.snapshot,
                    waits=self.settings.host_wait,
                    anew=self.copy_anew,
                ),
                Each(
                    over=lambda flow: (Standing(),) if flow.given(ShelveGiven).stands else (),
                    steps=(self._off("end"),),
                ),
                Write(name="shelved", do=self.settle, returns=Put, after=self.tell, last=True),
            ),
            fails=self.leave,
        )

    def _off(self, name: str) -> OnHost:
        return OnHost(
            name=name,
            at=self.host,
            command=self.end,
            returns=PowerChanged,
            seconds=self.settings.power,
            waits=self.settings.host_wait,
            anew=self.end_anew,
            behind=catch_up,
        )

    def host(self, flow: Flow) -> str:
        """Return the host that has the guest."""
        return flow.given(ShelveGiven).host

    async def end(self, flow: Flow) -> ChangePower:
        """Return what the host is told that is to end the guest; one that stands still cannot shut down by itself."""
        given = flow.given(ShelveGiven)
        return ChangePower(
            action_id=flow.action.id,
            server_id=flow.action.subject_id,
            wanted=given.wanted,
            patience=given.patience if given.runs else 0.0,
        )

    async def end_anew(self, flow: Flow) -> ChangePower:
        """Return the same for a host that has forgotten the guest."""
        return await told_anew(self.cloud, self.host(flow), await self.end(flow))

    def note_stop(self, flow: Flow) -> Work:
        """Say that the guest is off, and that its image is next."""
        server_id, now = flow.action.subject_id, self.cloud.clock.now()
        power = int(flow.result(PowerChanged).power_state)
        values: dict[str, Any] = {"power_state": power, "task_state": SHELVING_IMAGE_PENDING, "updated_at": now}
        return lambda conn: rows.change(conn, server_id, **values)

    async def copy(self, flow: Flow) -> TakeSnapshot:
        """Return what the host is told that is to copy the disk."""
        action, host = flow.action, self.host(flow)
        ticket = snapshots.ticket(self.cloud, host, action.id, seconds=self.settings.snapshot)
        return TakeSnapshot(action_id=action.id, server_id=action.subject_id, ticket=ticket)

    async def copy_anew(self, flow: Flow) -> TakeSnapshot:
        """Return the same for a host that has forgotten the guest."""
        return await told_anew(self.cloud, self.host(flow), await self.copy(flow))

    def settle(self, flow: Flow) -> Work:
        """Say that the server is shelved; where it does not stay on its host, that is the next action."""
        action, now, host = flow.action, self.cloud.clock.now(), self.host(flow)
        size, at_once = flow.result(SnapshotTaken).size, self.cloud.settings.shelved_offload_time == 0
        next_id = self.cloud.new_id() if at_once else ""
        ended = flow.known.get(PowerChanged)
        power: dict[str, Any] = {} if ended is None else {"power_state": int(ended.power_state)}

        def work(conn: Connection) -> Outcome:
            place, server = places.get(conn, host, now), rows.get(conn, action.subject_id)
            shelving.settle(conn, action, place.zone if place else "", now)
            rows.change(
                conn,
                action.subject_id,
                vm_state=SHELVED,
                task_state=SHELVING_OFFLOADING if at_once else None,
                fault=None,
                updated_at=now,
                **power,
            )
            if server is not None and at_once:
                actions.add(conn, shelving.offload_action(next_id, server, now, action.request_id))
            return Outcome(output=msgspec.to_builtins(Put(next_id)), remark=f"{size} bytes")

        return work

    async def tell(self, _flow: Flow, put: Put) -> None:
        """Have a conductor take up what is next."""
        if put.offload:
            await self.cloud.nudge(put.offload)

    def leave(self, flow: Flow, failure: Failure) -> Work:
        """Delete the image, leave the server what it was, and say why; start its guest if that was turned off."""
        action, given, now = flow.action, flow.given(ShelveGiven), self.cloud.clock.now()
        removal_id, start_id = self.cloud.new_id(), self.cloud.new_id()
        details = "\n".join(text for text in (f"host {failure.host or given.host}", failure.detail) if text)
        fault = ServerFault(code=500, message=failure.message, details=details, created_at=now)

        def work(conn: Connection) -> None:
            unmade_images.give_up(conn, action, now, (removal_id,))
            server = rows.get(conn, action.subject_id)
            if server is None:
                return
            if not is_ended(flow):
                rows.change(conn, server.id, task_state=None, fault=fault, updated_at=now)
                return
            rows.change(conn, server.id, fault=fault)
            start_again(conn, flow, server, given.host, now, start_id)

        return work
