"""Create a server: choose a host and claim it, have it spawn the guest, note that it is active.

The rows are written in two transactions (the request itself was the first). When a host fails at it, the
guest is removed there and the next host is tried, unless the failure would be the same anywhere.
"""

from __future__ import annotations

from typing import Any

import msgspec

from floe.cloud import host_images, image_proofs, sealing, server_ports
from floe.cloud.cloud import Cloud
from floe.conductor.building import Building, tried
from floe.conductor.choices import Request
from floe.conductor.failures import Failure
from floe.conductor.fleet import ConductorSettings, Fleet
from floe.conductor.flow import Flow, Outcome, Work
from floe.conductor.guest_spec import guest_spec
from floe.conductor.placing import Placed, Placing
from floe.conductor.reservations import Reservations, made_together
from floe.conductor.saga import Saga, Write
from floe.core import server_states
from floe.core.actions import CREATE
from floe.core.errors import NotFound
from floe.core.given import CreateGiven, CreateSecrets
from floe.core.guests import MadeOf
from floe.core.messages import Spawn, Spawned
from floe.core.servers import BUILDING, ERROR, Server, ServerFault
from floe.store import allocations, server_disks
from floe.store import servers as rows
from floe.store.engine import Connection


class CreateServer(msgspec.Struct, frozen=True):
    """The workflow `create`, with what it works on."""

    cloud: Cloud
    fleet: Fleet
    settings: ConductorSettings
    placing: Placing
    reservations: Reservations

    def saga(self) -> Saga:
        """Return its plan."""
        building = Building(self.cloud, self.fleet, self.settings, self.settings.hosts_per_create)
        return Saga(
            begins=CREATE,
            steps=(
                building.steps(self.schedule, self.spawn),
                Write(name="active", do=self.activate, last=True),
            ),
            fails=self.give_back,
            after=self.forget,
            renamed={1: {}},
        )

    async def schedule(self, flow: Flow) -> Any:
        """Find a host and claim it. Raises FloeError when there is none."""
        failed = tried(flow)
        if not failed and made_together(flow) > 1:
            return await self.reservations.place(flow)
        return await self.placing.place(flow, failed)

    async def spawn(self, flow: Flow) -> Spawn:
        """Return what the chosen host is told."""
        server = flow.known.get(Server) or await self._server(flow)
        if server is None:
            raise NotFound("server", flow.action.subject_id)
        placed = flow.result(Placed)
        request = flow.known.get(Request)
        disks = (
            request.disks if request else await self.cloud.db.read(lambda conn: server_disks.of_server(conn, server))
        )
        given, secrets = flow.given(CreateGiven), sealing.opened(self.cloud, flow.action, CreateSecrets)
        made_of = MadeOf(image=given.image, kernel=given.kernel, ramdisk=given.ramdisk)
        guest = guest_spec(server, disks, made_of, secrets, placed.network, placed.zone)
        guest = await image_proofs.proven(self.cloud, guest, server.trusted_certificates, "image", "kernel", "ramdisk")
        tickets = host_images.tickets(self.cloud, placed.host, guest, seconds=self.settings.spawn)
        return Spawn(
            action_id=flow.action.id, guest=guest, network=placed.network, attempt=flow.attempt, tickets=tickets
        )

    def activate(self, flow: Flow) -> Work:
        """Make the server active, or what its guest has become meanwhile."""
        server_id, now = flow.action.subject_id, self.cloud.clock.now()
        power = self.fleet.power.get(server_id, flow.result(Spawned).power_state)
        values = {
            "vm_state": server_states.state_of(power),
            "task_state": None,
            "power_state": int(power),
            "fault": None,
            "launched_at": now,
            "updated_at": now,
        }

        def work(conn: Connection) -> Outcome:
            rows.change(conn, server_id, only_in=BUILDING, **values)
            server_ports.activate(conn, server_id)
            return Outcome(remark="the guest runs")

        return work

    def give_back(self, flow: Flow, failure: Failure) -> Work:
        """Give back claim, ports and addresses; the server is in ERROR with its cause.

        Servers that were to be placed together with it, and are not, share its fate.
        """
        server_id, now = flow.action.subject_id, self.cloud.clock.now()
        where = f"host {failure.host}" + (f", stage {failure.stage}" if failure.stage else "") if failure.host else ""
        details = "\n".join(text for text in (where, failure.detail) if text)
        fault = ServerFault(code=500, message=failure.message, details=details, created_at=now)

        def work(conn: Connection) -> None:
            server_ports.release(conn, server_id, now)
            allocations.release(conn, server_id, now)
            if made_together(flow) > 1:
                self.reservations.fail_others(conn, flow, fault)
            failed = {"vm_state": ERROR, "task_state": None, "power_state": 0, "host": None, "fault": fault}
            rows.change(conn, server_id, only_in=BUILDING, **failed, updated_at=now)

        return work

    def forget(self, flow: Flow) -> None:
        """Forget what was kept in memory while the guest was made; where it failed, something was given back."""
        self.fleet.power.pop(flow.action.subject_id, None)
        self.fleet.dirty = self.fleet.dirty or flow.undoing

    async def _server(self, flow: Flow) -> Server | None:
        return await self.cloud.db.read(lambda conn: rows.get(conn, flow.action.subject_id, deleted=True))
