"""Offload a shelved server: its host removes all of it, and its claim is given back; its ports stay its own.

It goes forward only: a host that is down owes the removal, as it does for a delete.
"""

from __future__ import annotations

from typing import Any

import msgspec

from floe.cloud import server_ports, server_removal
from floe.cloud.cloud import Cloud
from floe.cloud.server_removal import BEGIN, DESTROY, Target, Targets
from floe.conductor.failures import Failure
from floe.conductor.fleet import Fleet
from floe.conductor.flow import Begin, Flow, Outcome, Work
from floe.conductor.saga import Each, Remove, Saga, Write
from floe.core.actions import OFFLOAD
from floe.core.disks import ROOT
from floe.core.errors import FloeError
from floe.core.guests import PowerState
from floe.core.messages import Destroy
from floe.core.servers import SHELVED, SHELVED_OFFLOADED, ServerFault
from floe.store import allocations, places, server_disks
from floe.store import servers as rows
from floe.store.engine import Connection


class Unplugged(msgspec.Struct, frozen=True):
    """Where the guest may be, and which make of its root disk it is that goes."""

    targets: Targets
    make: int = 0


class OffloadServer(msgspec.Struct, frozen=True):
    """The workflow `shelveOffload`, with what it works on."""

    cloud: Cloud
    fleet: Fleet

    def saga(self) -> Saga:
        """Return its plan."""
        return Saga(
            begins=OFFLOAD,
            steps=(
                Write(name=BEGIN, do=self.unplug, returns=Unplugged, after=self.tell_members),
                Each(
                    over=lambda flow: flow.result(Unplugged).targets.hosts,
                    steps=(
                        Remove(
                            name=DESTROY,
                            at=lambda flow: flow.result(Target).host,
                            command=self.destroy,
                            shown=_bear,
                        ),
                    ),
                ),
                Write(name="offloaded", do=self.settle, last=True),
            ),
            fails=self.leave,
            after=self.forget,
        )

    def unplug(self, flow: Flow) -> Work:
        """Take the ports off the host, and note where the guest has to go."""
        server_id, now = flow.action.subject_id, self.cloud.clock.now()

        def work(conn: Connection) -> Outcome:
            server, targets = rows.get(conn, server_id), server_removal.unplug(conn, server_id, now)
            disks = () if server is None else server_disks.of_server(conn, server)
            make = next((disk.make for disk in disks if disk.role == ROOT), 0)
            output: Any = msgspec.to_builtins(Unplugged(targets, make))
            if not targets.hosts:
                return Outcome(output=output)
            host = targets.hosts[0].host
            return Outcome(output=output, host=host, begins=Begin(name=DESTROY, host=host))

        return work

    async def tell_members(self, _flow: Flow, unplugged: Unplugged) -> None:
        """Have hosts told whose rules name its groups."""
        if unplugged.targets.ports:
            await self.cloud.network_nudge(members=True)

    def destroy(self, flow: Flow) -> Destroy:
        """Return what a host is told; the same server may be built there again, by a later action."""
        found = flow.result(Unplugged)
        return Destroy(
            action_id=flow.action.id,
            server_id=flow.action.subject_id,
            guest_name=found.targets.guest_name,
            port_ids=found.targets.ports,
            generation=flow.result(Target).generation,
            final=False,
            attempt=flow.attempt,
            make=found.make,
        )

    def settle(self, flow: Flow) -> Work:
        """Give back the claim; the server is on no host, and its ports are plugged nowhere."""
        server_id, now = flow.action.subject_id, self.cloud.clock.now()

        def work(conn: Connection) -> Outcome:
            held = allocations.release(conn, server_id, now)
            server_ports.unbind(conn, server_id, now)
            rows.change(
                conn,
                server_id,
                vm_state=SHELVED_OFFLOADED,
                task_state=None,
                power_state=int(PowerState.NOSTATE),
                host=None,
                fault=None,
                updated_at=now,
            )
            given = ", ".join(f"{amount} {name}" for item in held for name, amount in item.resources.by_class().items())
            return Outcome(host=held[0].host if held else None, remark=f"given back: {given}" if given else "")

        return work

    def leave(self, flow: Flow, failure: Failure) -> Work:
        """Leave the server shelved on its host with its ports, to be offloaded once more, and say why."""
        server_id, now = flow.action.subject_id, self.cloud.clock.now()
        fault = ServerFault(code=500, message=failure.message, details=failure.detail, created_at=now)

        def work(conn: Connection) -> None:
            server = rows.get(conn, server_id)
            if server is None:
                return
            place = places.get(conn, server.host, now) if server.host else None
            if server.host and place:
                server_ports.bind(
                    conn,
                    now=now,
                    server_id=server_id,
                    project_id=server.project_id,
                    host=server.host,
                    zone=place.zone,
                    hostname=server.hostname,
                    planned=server.networks,
                )
            rows.change(conn, server_id, vm_state=SHELVED, task_state=None, fault=fault, updated_at=now)

        return work

    def forget(self, flow: Flow) -> None:
        """Forget what was said of its guest; something was given back."""
        self.fleet.power.pop(flow.action.subject_id, None)
        self.fleet.dirty = True


async def _bear(_flow: Flow, _error: FloeError, _waited: float) -> None:
    """Go on trying: the server stays shelved, and its task_state says what is being done."""
