"""Unshelve a server: start its guest where it still is; where it is nowhere, find a host and make it of its image.

The image goes with the end of it. Where it fails, the server is shelved as it was, and its image stays.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from floe.cloud import host_images, image_proofs, server_ports, shelved_images
from floe.cloud.cloud import Cloud
from floe.cloud.new_servers import made_of
from floe.conductor.building import Building, tried
from floe.conductor.failures import Failure
from floe.conductor.fleet import ConductorSettings, Fleet
from floe.conductor.flow import Flow, Outcome, Work
from floe.conductor.forgotten import catch_up, told_anew
from floe.conductor.guest_spec import guest_spec, made_of_own_disk
from floe.conductor.placing import Placed, Placing
from floe.conductor.saga import Each, OnHost, Saga, Write
from floe.core import server_states
from floe.core.actions import UNSHELVE
from floe.core.disks import Disk, Overlay
from floe.core.errors import NotFound
from floe.core.given import CreateSecrets, UnshelveGiven
from floe.core.guests import MadeOf, PowerState
from floe.core.messages import ChangePower, PowerChanged, Spawn, Spawned
from floe.core.servers import SHELVED, SHELVED_OFFLOADED, Server, ServerFault
from floe.store import allocations, server_disks
from floe.store import servers as rows
from floe.store.engine import Connection


class AtHome(msgspec.Struct, frozen=True):
    """A server whose host still has its guest."""


class Away(msgspec.Struct, frozen=True):
    """A server that no host has."""


class UnshelveServer(msgspec.Struct, frozen=True):
    """The workflow `unshelve`, with what it works on."""

    cloud: Cloud
    fleet: Fleet
    settings: ConductorSettings
    placing: Placing

    def saga(self) -> Saga:
        """Return its plan: one of two ways to a guest that runs."""
        building = Building(self.cloud, self.fleet, self.settings, self.settings.hosts_per_create)
        return Saga(
            begins=UNSHELVE,
            steps=(
                Each(
                    over=lambda flow: (AtHome(),) if flow.given(UnshelveGiven).host else (),
                    steps=(
                        OnHost(
                            name="start",
                            at=lambda flow: flow.given(UnshelveGiven).host,
                            command=self.start,
                            returns=PowerChanged,
                            seconds=self.settings.power,
                            waits=self.settings.host_wait,
                            anew=self.start_anew,
                            behind=catch_up,
                        ),
                    ),
                ),
                Each(
                    over=lambda flow: () if flow.given(UnshelveGiven).host else (Away(),),
                    steps=(building.steps(self.schedule, self.spawn),),
                ),
                Write(name="active", do=self.activate, last=True),
            ),
            fails=self.leave,
            after=self.forget,
        )

    # -- where its host still has it ------------------------------------------------------------------

    async def start(self, flow: Flow) -> ChangePower:
        """Return what the host is told that still has the guest."""
        wanted = flow.given(UnshelveGiven).wanted
        return ChangePower(action_id=flow.action.id, server_id=flow.action.subject_id, wanted=wanted)

    async def start_anew(self, flow: Flow) -> ChangePower:
        """Return the same for a host that has forgotten it."""
        return await told_anew(self.cloud, flow.given(UnshelveGiven).host, await self.start(flow))

    # -- where none has -------------------------------------------------------------------------------

    async def schedule(self, flow: Flow) -> Any:
        """Find a host and claim it. Raises FloeError when there is none."""
        return await self.placing.place(flow, tried(flow))

    async def spawn(self, flow: Flow) -> Spawn:
        """Return what the chosen host is told: the guest as it was made, of other disks."""
        placed, given, server_id = flow.result(Placed), flow.given(UnshelveGiven), flow.action.subject_id

        def read(conn: Connection) -> tuple[Server, tuple[Disk, ...], MadeOf]:
            server = rows.get(conn, server_id)
            if server is None:
                raise NotFound("server", server_id)
            return server, _disks(conn, server, given), _made_of(made_of(conn, server), given)

        server, disks, made = await self.cloud.db.read(read)
        guest = guest_spec(server, disks, made, CreateSecrets(), placed.network, placed.zone)
        # Its own disk, as this cloud kept it, is of nobody's signing.
        guest = await image_proofs.proven(self.cloud, guest, server.trusted_certificates, "kernel", "ramdisk")
        tickets = host_images.tickets(self.cloud, placed.host, guest, seconds=self.settings.spawn)
        return Spawn(
            action_id=flow.action.id, guest=guest, network=placed.network, attempt=flow.attempt, tickets=tickets
        )

    # -- how it ends ----------------------------------------------------------------------------------

    def activate(self, flow: Flow) -> Work:
        """Say what the guest is now, and of what it is made; the image that the server was kept in goes."""
        action, given, now = flow.action, flow.given(UnshelveGiven), self.cloud.clock.now()
        removal_id = self.cloud.new_id()
        power = flow.result(PowerChanged).power_state if given.host else flow.result(Spawned).power_state

        def work(conn: Connection) -> Outcome:
            server = rows.get(conn, action.subject_id)
            if server is None:
                raise NotFound("server", action.subject_id)
            anew: dict[str, Any] = {}
            if not given.host:
                server_disks.replace(conn, server.id, _disks(conn, server, given))
                # What its host is told next counts from the first boot of a guest that it has made.
                anew = {"made_of": _made_of(made_of(conn, server), given), "boots": given.wanted.boots}
                server_ports.activate(conn, server.id)
            rows.change(
                conn,
                server.id,
                vm_state=server_states.state_of(power),
                task_state=None,
                power_state=int(power),
                fault=None,
                updated_at=now,
                **anew,
            )
            gone = shelved_images.remove(conn, action, now, removal_id)
            return Outcome(remark="; ".join(text for text in (f"the guest is {power.name.lower()}", gone) if text))

        return work

    def leave(self, flow: Flow, failure: Failure) -> Work:
        """Leave the server shelved as it was, and say why."""
        given, server_id, now = flow.given(UnshelveGiven), flow.action.subject_id, self.cloud.clock.now()
        where = f"host {failure.host or given.host}" if failure.host or given.host else ""
        details = "\n".join(text for text in (where, failure.detail) if text)
        fault = ServerFault(code=500, message=failure.message, details=details, created_at=now)

        def work(conn: Connection) -> None:
            if given.host:
                rows.change(conn, server_id, vm_state=SHELVED, task_state=None, fault=fault, updated_at=now)
                return
            server_ports.unplug(conn, server_id, now, ahead=False)
            server_ports.unbind(conn, server_id, now)
            allocations.release(conn, server_id, now)
            rows.change(
                conn,
                server_id,
                only_in=SHELVED_OFFLOADED,
                task_state=None,
                power_state=int(PowerState.NOSTATE),
                host=None,
                fault=fault,
                updated_at=now,
                **given.was,
            )

        return work

    async def forget(self, flow: Flow) -> None:
        """Forget what was said of the guest; where it failed, something was given back, and a host hears of ports."""
        self.fleet.power.pop(flow.action.subject_id, None)
        self.fleet.dirty = self.fleet.dirty or flow.undoing
        if flow.undoing:
            await self.cloud.network_nudge()


def _disks(conn: Connection, server: Server, given: UnshelveGiven) -> tuple[Disk, ...]:
    """Return the disks that a server has from now on: the sizes that it had, and the root of its image."""
    image_id = given.image.image_id if given.image else ""
    return tuple(
        replace(disk, make=given.make, image_id=image_id)
        if isinstance(disk, Overlay)
        else replace(disk, make=given.make)
        for disk in server_disks.of_server(conn, server)
    )


def _made_of(before: MadeOf, given: UnshelveGiven) -> MadeOf:
    """Return what a guest is made of: the image that it was kept in, as the hardware that it had."""
    if given.image is None:
        return before
    return made_of_own_disk(before, given.image)
