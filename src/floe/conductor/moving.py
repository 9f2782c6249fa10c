"""Move a server to another host, and back: what is on its disks travels as images, and what it was stays there.

The host that it leaves ends the guest and sends the disks; another one makes the guest of that. Until the move is
confirmed or reverted both hosts have a half, and both are claimed. Nobody sees the images, and they go with the move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from floe.cloud import host_images, host_networks, image_proofs, server_ports, server_resize, snapshots, unmade_images
from floe.cloud.cloud import Cloud
from floe.cloud.new_servers import made_of
from floe.conductor.building import Building, tried
from floe.conductor.choices import Moves, Request
from floe.conductor.fleet import ConductorSettings, Fleet
from floe.conductor.flow import Begin, Flow, Outcome, Work
from floe.conductor.forgotten import catch_up, guest_as_made
from floe.conductor.guest_spec import guest_spec, made_of_own_disk
from floe.conductor.placing import Placed, Placing, claimed, with_causes
from floe.conductor.saga import Each, Node, OnHost
from floe.conductor.starting import STOP, start_again
from floe.core.disks import ROOT, Disk, Overlay
from floe.core.errors import FloeError, NotFound, NoValidHost, Unavailable
from floe.core.given import CreateSecrets, ResizeGiven
from floe.core.guests import GuestImage, MadeOf
from floe.core.hosts import FORMER, RUNNING
from floe.core.images import ACTIVE as WHOLE
from floe.core.images import MOVED_BY, PRIVATE, Image, guest_image
from floe.core.messages import ChangePower, PowerChanged, Spawn
from floe.core.power import Power, Wanted
from floe.core.server_migrations import MIGRATING
from floe.core.servers import RESIZE_FINISH, RESIZE_MIGRATING, STOPPED, Server, ServerFault
from floe.core.snapshot_commands import SnapshotTaken, TakeSnapshot
from floe.core.step_times import StepTime
from floe.scheduler.select import Selection
from floe.store import allocations, images, server_disks, server_migrations
from floe.store import servers as rows
from floe.store.engine import Connection

_HOSTS = 2
"""On which a guest is tried, one after the other: it is off meanwhile, and is to be back soon."""
C = TypeVar("C", ChangePower, TakeSnapshot)


class Travels(msgspec.Struct, frozen=True):
    """A disk that travels beside the root disk."""

    role: str


class Moving(msgspec.Struct, frozen=True):
    """What moves servers, for the workflows that do."""

    cloud: Cloud
    fleet: Fleet
    settings: ConductorSettings
    placing: Placing

    # -- there ----------------------------------------------------------------------------------------

    async def claim(self, flow: Flow, stays: Mapping[str, str]) -> Any:
        """Choose another host than those that it `stays` away from, and claim it.

        Raises NoValidHost; Unavailable where its own is down, which was up when this was asked for: nothing is held
        elsewhere for one that can send nothing.
        """
        home, moves = _home(flow), Moves(flow.given(ResizeGiven).to)
        if not self.fleet.alive(home) and not self.fleet.awaited(home):
            raise Unavailable(f"Host {home!r} is down, so the server cannot leave it.")
        return (await self.placing.settle_on(flow, "claim", self._claim, stays, moves))[1]

    def _claim(
        self, flow: Flow, request: Request, selection: Selection, chosen: StepTime, now: datetime, conn: Connection
    ) -> Outcome:
        given, server_id = flow.given(ResizeGiven), flow.action.subject_id
        allocations.repurpose(conn, server_id, RUNNING, FORMER)
        host = self.placing.take(conn, request, selection, now)
        rows.change(conn, server_id, task_state=RESIZE_MIGRATING, updated_at=now)
        server_migrations.note(conn, server_id, MIGRATING, now, target=host.name)
        for image_id in given.images.values():
            images.insert(conn, _image(image_id, server_id, flow.action.id, now))
        return Outcome(
            output={"host": host.name, "zone": host.zone},
            host=host.name,
            remark=f"{claimed(request.server, ())}, beside what it has on host {given.host}",
            begins=Begin(name=STOP, host=given.host),
            steps=(chosen,),
        )

    def there(self) -> tuple[Node, ...]:
        """Return the steps that bring a server to the host that was claimed."""
        return (
            OnHost(
                name=STOP,
                at=_home,
                command=self.stop,
                returns=PowerChanged,
                seconds=self.settings.power,
                waits=self.settings.host_wait,
                anew=self.stop_anew,
                behind=catch_up,
            ),
            OnHost(
                name="send",
                at=_home,
                command=self.send,
                returns=SnapshotTaken,
                seconds=self.settings.snapshot,
                waits=self.settings.host_wait,
                anew=self.send_anew,
            ),
            Each(
                over=lambda flow: [Travels(role) for role in flow.given(ResizeGiven).others],
                steps=(
                    OnHost(
                        name="send-ephemeral",
                        at=_home,
                        command=self.send_other,
                        returns=SnapshotTaken,
                        seconds=self.settings.snapshot,
                        waits=self.settings.host_wait,
                        anew=self.send_other_anew,
                    ),
                ),
            ),
            Building(self.cloud, self.fleet, self.settings, _HOSTS, "move").steps(self.bind, self.spawn),
        )

    async def stop(self, flow: Flow) -> ChangePower:
        """Return what the host is told that is to end the guest."""
        given = flow.given(ResizeGiven)
        wanted = Wanted(power=Power.STOPPED, generation=given.wanted.generation)
        return ChangePower(
            action_id=flow.action.id, server_id=flow.action.subject_id, wanted=wanted, patience=given.patience
        )

    async def stop_anew(self, flow: Flow) -> ChangePower:
        """Return the same for a host that has forgotten the guest."""
        return await self._anew(flow, await self.stop(flow))

    async def send(self, flow: Flow) -> TakeSnapshot:
        """Return what the host is told that is to send the root disk."""
        return self._send(flow, ROOT)

    async def send_anew(self, flow: Flow) -> TakeSnapshot:
        """Return the same for a host that has forgotten the guest."""
        return await self._anew(flow, await self.send(flow))

    async def send_other(self, flow: Flow) -> TakeSnapshot:
        """Return what the host is told that is to send another disk."""
        return self._send(flow, flow.result(Travels).role)

    async def send_other_anew(self, flow: Flow) -> TakeSnapshot:
        """Return the same for a host that has forgotten the guest."""
        return await self._anew(flow, await self.send_other(flow))

    def _send(self, flow: Flow, role: str) -> TakeSnapshot:
        action, host = flow.action, _home(flow)
        ticket = snapshots.ticket(self.cloud, host, action.id, role=role, seconds=self.settings.snapshot)
        return TakeSnapshot(action_id=action.id, server_id=action.subject_id, ticket=ticket, role=role)

    async def _anew(self, flow: Flow, command: C) -> C:
        """Return a command with all of the guest, as it was before it was to move."""
        now, domain = self.cloud.clock.now(), self.cloud.settings.dns_domain
        server_id, host = flow.action.subject_id, _home(flow)
        guest, network = await self.cloud.db.read(
            lambda conn: guest_as_made(conn, server_id, host, domain, now, former=True)
        )
        return replace(command, guest=guest, network=network)

    async def bind(self, flow: Flow) -> Any:
        """Have the server and its ports be on the host that was claimed; or on another one, where that failed.

        Raises FloeError where there is none.
        """
        failed = tried(flow)
        output = await (self._choose_another(flow, failed) if failed else flow.transaction("move", self._bind(flow)))
        if output["network"]["ports"]:  # hosts have rules that name its groups
            await self.cloud.network_nudge(members=True)
        return output

    def _bind(self, flow: Flow) -> Work:
        now, (host, zone) = self.cloud.clock.now(), _claimed(flow)

        def work(conn: Connection) -> Outcome:
            return self._go_to(conn, flow, host, zone, now)

        return work

    async def _choose_another(self, flow: Flow, failed: Mapping[str, FloeError]) -> Any:
        """Choose another host than those that failed, in place of what was claimed there."""
        ((_, error),) = failed.items()
        if flow.given(ResizeGiven).to is not None:
            raise error
        stays = {_home(flow): "the server is to leave it", **{host: each.message for host, each in failed.items()}}
        claim = partial(self._claim_another, ", ".join(failed))
        try:
            return (await self.placing.settle_on(flow, "move", claim, stays, Moves()))[1]
        except NoValidHost as none:
            raise with_causes(none, {_home(flow): none, **failed}) from None

    def _claim_another(
        self,
        failed: str,
        flow: Flow,
        request: Request,
        selection: Selection,
        chosen: StepTime,
        now: datetime,
        conn: Connection,
    ) -> Outcome:
        server_id = flow.action.subject_id
        allocations.release(conn, server_id, now, purpose=RUNNING)
        host = self.placing.take(conn, request, selection, now)
        server_migrations.note(conn, server_id, MIGRATING, now, target=host.name)
        moved = self._go_to(conn, flow, host.name, host.zone, now)
        return replace(moved, remark=f"in place of {failed}, which failed", steps=(chosen,))

    def _go_to(self, conn: Connection, flow: Flow, host: str, zone: str, now: datetime) -> Outcome:
        server_id = flow.action.subject_id
        server = rows.get(conn, server_id)
        if server is None:
            raise NotFound("server", server_id)
        bound = server_resize.bind(conn, server, host, zone, now)
        rows.change(conn, server_id, host=host, task_state=RESIZE_FINISH, updated_at=now)
        network = host_networks.fragment(conn, host, bound, self.cloud.settings.dns_domain, now)
        placed: Any = msgspec.to_builtins(Placed(host, zone, network))
        return Outcome(output=placed, host=host, begins=Begin(name="spawn", host=host))

    async def spawn(self, flow: Flow) -> Spawn:
        """Return what the host is told that makes the guest of what was sent."""
        placed, given, server_id = flow.result(Placed), flow.given(ResizeGiven), flow.action.subject_id

        def read(conn: Connection) -> tuple[Server, MadeOf, dict[str, GuestImage]]:
            server = rows.get(conn, server_id)
            if server is None:
                raise NotFound("server", server_id)
            sent = {role: _sent(conn, image_id) for role, image_id in given.images.items()}
            return server, _made_of(conn, server, sent.pop(ROOT)), sent

        server, made, contents = await self.cloud.db.read(read)
        guest = guest_spec(server, _disks(given), made, CreateSecrets(), placed.network, placed.zone)
        guest = await image_proofs.proven(self.cloud, guest, server.trusted_certificates, "kernel", "ramdisk")
        more, seconds = contents.values(), self.settings.spawn
        tickets = host_images.tickets(self.cloud, placed.host, guest, more=more, seconds=seconds)
        return Spawn(
            action_id=flow.action.id,
            guest=guest,
            network=placed.network,
            attempt=flow.attempt,
            tickets=tickets,
            contents=contents,
            off=given.wanted.power is Power.STOPPED,
        )

    def arrived(self, conn: Connection, flow: Flow, now: datetime, removal_ids: Sequence[str]) -> dict[str, Any]:
        """Note of what a server is made that has moved, and return columns that it gets; what it travelled as goes."""
        given, server_id = flow.given(ResizeGiven), flow.action.subject_id
        server, image = rows.get(conn, server_id), images.get(conn, given.image_id)
        if server is None or image is None:
            raise NotFound("server", server_id)
        server_disks.replace(conn, server_id, _disks(given))
        server_ports.activate(conn, server_id)
        made = _made_of(conn, server, guest_image(image))
        unmade_images.give_up(conn, flow.action, now, removal_ids)
        # What its host is told next counts from the first boot of a guest that it has made.
        return {"made_of": made, "boots": Wanted().boots}

    def give_back(
        self,
        conn: Connection,
        flow: Flow,
        server: Server,
        fault: ServerFault,
        removal_ids: Sequence[str],
        start_id: str,
    ) -> None:
        """Have a server be what and where it was; its guest is started again, if it ran."""
        given, now = flow.given(ResizeGiven), fault.created_at
        ran = server.former is not None and server.former.vm_state != STOPPED
        unmade_images.give_up(conn, flow.action, now, removal_ids)
        server_resize.bring_home(conn, server, given.host, now, fault=fault, task_state=None)
        if not ran:
            server_ports.activate(conn, server.id)
            return
        start_again(conn, flow, server, given.host, now, start_id, replug=True)


def _home(flow: Flow) -> str:
    """Return the host that the server is on, or was."""
    return flow.given(ResizeGiven).host


def _claimed(flow: Flow) -> tuple[str, str]:
    """Return the host that was claimed, and its zone."""
    output = next(step.output for step in flow.journal.steps if step.name == "claim")
    return output["host"], output["zone"]


def _image(image_id: str, server_id: str, action_id: str, now: datetime) -> Image:
    """Return an image that a server is to travel as: nobody's, until the action ends that moves it."""
    return Image(
        id=image_id,
        name=None,
        owner=None,
        created_at=now,
        updated_at=now,
        visibility=PRIVATE,
        disk_format="qcow2",
        container_format="bare",
        hidden=True,
        properties={"instance_uuid": server_id, MOVED_BY: action_id},
    )


def _sent(conn: Connection, image_id: str) -> GuestImage:
    """Return an image that was sent. Raises NotFound."""
    image = images.get(conn, image_id)
    if image is None or image.status != WHOLE:
        raise NotFound("image", image_id, message="What its disk travelled as was deleted meanwhile.")
    return guest_image(image)


def _disks(given: ResizeGiven) -> tuple[Disk, ...]:
    """Return the disks that a server has on the host that it moves to: its root disk stands on what was sent."""
    return tuple(
        replace(disk, image_id=given.image_id, base_make=None) if isinstance(disk, Overlay) else disk
        for disk in given.makes
    )


def _made_of(conn: Connection, server: Server, image: GuestImage) -> MadeOf:
    """Return what the guest of a server is made of there: what was sent, as the hardware that it had."""
    before = made_of(conn, server)
    if before.image.image_id == image.image_id:
        return before
    return made_of_own_disk(before, image)
