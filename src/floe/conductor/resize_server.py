"""Resize a server, or migrate it: a host makes it anew beside what it was; then keep that, or take it back.

That is its own host as long as that will do, and another one where it will not, or the server is to leave. The row is
what was asked for since the request, and says what the server was. Until it is confirmed or reverted both are claimed,
and there are the disks of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from floe.cloud import guest_metadata, server_ports, server_resize, unmade_images
from floe.cloud.cloud import Cloud
from floe.cloud.new_servers import made_of
from floe.conductor.choices import Choices
from floe.conductor.failures import Failure
from floe.conductor.fleet import ConductorSettings, Fleet
from floe.conductor.flow import Begin, Flow, Outcome, Work
from floe.conductor.forgotten import catch_up, surroundings
from floe.conductor.guest_spec import guest_spec
from floe.conductor.move_ends import MoveEnd
from floe.conductor.moving import Moving
from floe.conductor.saga import Choice, Each, OnHost, Saga, Write
from floe.core import server_states
from floe.core.actions import CONFIRM_RESIZE, MIGRATE, RESIZE, REVERT_RESIZE
from floe.core.errors import NotFound, NoValidHost, Unavailable
from floe.core.given import CreateSecrets, ResizeGiven
from floe.core.guests import PowerState
from floe.core.hosts import FORMER, RUNNING, Allocation
from floe.core.messages import PowerChanged, Spawned
from floe.core.server_migrations import FAILED, FINISHED, MIGRATING
from floe.core.server_resize import KEEP, MAKE, TAKE_BACK, Resize
from floe.core.servers import ERROR, RESIZE_MIGRATING, RESIZED, ServerFault
from floe.scheduler.select import OF_FLAVOR, unfit
from floe.scheduler.spec import resources_of
from floe.store import allocations, places, server_disks, server_migrations
from floe.store import servers as rows
from floe.store.engine import Connection

_UNKNOWN = {
    MAKE: "Nobody knows whether the guest was resized; revert the resize, or confirm it. ",
    KEEP: "Nobody knows whether what the guest was is still there; confirm the resize once more. ",
    TAKE_BACK: "Nobody knows whether the guest is what it was again; revert the resize once more. ",
}
_Do = Literal["make", "keep", "take-back"]


class Claimed(msgspec.Struct, frozen=True):
    """The host that has room for what the server is to be, in a `zone` where it is another one than it is on."""

    host: str
    zone: str | None = None


class AtHome(msgspec.Struct, frozen=True):
    """A server that stays on its host, both halves of it."""


class Away(msgspec.Struct, frozen=True):
    """A server with a half on another host than it is on."""


class StartedAgain(msgspec.Struct, frozen=True):
    """The action that starts the guest again, if it ran."""

    action_id: str


class ResizeServer(msgspec.Struct, frozen=True):
    """The workflows `resize`, `migrate`, `confirmResize` and `revertResize`, with what they work on."""

    cloud: Cloud
    fleet: Fleet
    settings: ConductorSettings
    choices: Choices
    move: Moving
    end: MoveEnd

    def sagas(self) -> Iterator[Saga]:
        """Return their plans."""
        yield Saga(
            begins=RESIZE,
            steps=(
                Choice(name="claim", by=self.claim, returns=Claimed),
                Each(over=_stays, steps=(self._told(RESIZE.kind, MAKE),)),
                Each(over=_goes, steps=self.move.there()),
                Write(name="resized", do=self.wait, last=True),
            ),
            fails=self.give_back,
            after=self.ended,
            renamed={1: {}},
        )
        yield Saga(
            begins=MIGRATE,
            steps=(
                Choice(name="claim", by=self.claim, returns=Claimed),
                *self.move.there(),
                Write(name="migrated", do=self.wait, last=True),
            ),
            fails=self.give_back,
            after=self.ended,
        )
        yield Saga(
            begins=CONFIRM_RESIZE,
            steps=(
                Each(over=_is_whole, steps=(self._told(CONFIRM_RESIZE.kind, KEEP),)),
                Each(over=_has_left, steps=self.end.leave()),
                Write(name="confirmed", do=self.keep, last=True),
            ),
            fails=lambda flow, failure: self.leave(flow, failure, KEEP),
            after=self.look_again,
            renamed={1: {}},
        )
        yield Saga(
            begins=REVERT_RESIZE,
            steps=(
                Each(over=_is_whole, steps=(self._told(REVERT_RESIZE.kind, TAKE_BACK),)),
                Each(over=_has_left, steps=self.end.back()),
                Write(name="reverted", do=self.take_back, last=True, after=self.tell),
            ),
            fails=self.stay,
            after=self.look_again,
            renamed={1: {}},
        )

    def _told(self, name: str, do: _Do) -> OnHost:
        async def command(flow: Flow) -> Resize:
            now, domain = self.cloud.clock.now(), self.cloud.settings.dns_domain
            return await self.cloud.db.read(lambda conn: _command(conn, flow, do, domain, now))

        return OnHost(
            name=name,
            at=lambda flow: flow.given(ResizeGiven).host,
            command=command,
            returns=PowerChanged,
            seconds=self.settings.spawn,
            waits=self.settings.host_wait,
            behind=catch_up,
        )

    async def claim(self, flow: Flow) -> Any:
        """Claim what the server is to be, of its own host if that will do and is asked. Raises NoValidHost."""
        given = flow.given(ResizeGiven)
        if given.away:
            return await self.move.claim(flow, {given.host: "the server is to leave it"})
        try:
            return await self._claim_at_home(flow)
        except NoValidHost as error:
            if not given.image_id:
                raise  # nothing travelled in the release that gave no image
            return await self.move.claim(flow, error.reasons)

    async def _claim_at_home(self, flow: Flow) -> Any:
        """See that the server's host will do, and take of it what the new flavor asks. Raises NoValidHost."""
        host, server_id, now = flow.given(ResizeGiven).host, flow.action.subject_id, self.cloud.clock.now()

        def read(conn: Connection) -> Any:
            server = rows.get(conn, server_id)
            return None if server is None else self.choices.read(conn, server)

        found = await self.cloud.db.read(read)
        if found is None:
            raise NotFound("server", server_id)
        request, met = found
        self.choices.keep(met)
        await self.fleet.refresh((host,))
        why = unfit(request.spec, self.fleet.table, host, OF_FLAVOR)
        if why is not None:
            raise _no_room(host, why)

        def work(conn: Connection) -> Outcome:
            server = rows.get(conn, server_id)
            if server is None:
                raise NotFound("server", server_id)
            allocations.repurpose(conn, server_id, RUNNING, FORMER)
            wanted = Allocation(
                server_id=server_id,
                host=host,
                project_id=server.project_id,
                user_id=server.user_id,
                resources=resources_of(server),
                group_id=server.group_id,
                created_at=now,
            )
            allocations.claim(conn, wanted)
            rows.change(conn, server_id, task_state=RESIZE_MIGRATING, updated_at=now)
            server_migrations.note(conn, server_id, MIGRATING, now, target=host)
            taken = wanted.resources
            remark = f"{taken.vcpus} vCPUs, {taken.memory_mib} MiB, {taken.disk_gib} GiB beside what it has"
            return Outcome(output={"host": host}, host=host, remark=remark, begins=Begin(name=RESIZE.kind, host=host))

        try:
            return await flow.transaction("claim", work)
        except allocations.NotClaimed as refusal:
            raise _no_room(host, str(refusal)) from refusal

    def wait(self, flow: Flow) -> Work:
        """Have the server wait to be confirmed."""
        server_id, now, removal_ids = flow.action.subject_id, self.cloud.clock.now(), self._new_ids()
        spawned = flow.known.get(Spawned)
        power = self._power(flow) if spawned is None else spawned.power_state

        def work(conn: Connection) -> Outcome:
            more = {} if spawned is None else self.move.arrived(conn, flow, now, removal_ids)
            became: dict[str, Any] = {"vm_state": RESIZED, "task_state": None, "power_state": int(power), "fault": None}
            rows.change(conn, server_id, **became, updated_at=now, **more)
            server_migrations.note(conn, server_id, FINISHED, now)
            return Outcome(remark=f"the guest is {power.name.lower()}")

        return work

    def keep(self, flow: Flow) -> Work:
        """Have the server be what it was resized to; nothing is kept of what it was."""
        server_id, now = flow.action.subject_id, self.cloud.clock.now()
        told = flow.known.get(PowerChanged)

        def work(conn: Connection) -> None:
            server = rows.get(conn, server_id)
            if server is not None:
                power = server.power_state if told is None else told.power_state  # the guest of one that moved goes on
                server_resize.forget(conn, server_id, now, **_settled(power))

        return work

    def take_back(self, flow: Flow) -> Work:
        """Have the server be what it was."""
        server_id, power, now = flow.action.subject_id, self._power(flow), self.cloud.clock.now()
        became = _settled(power)

        def work(conn: Connection) -> None:
            server = rows.get(conn, server_id)
            if server is not None and server.former is None:  # it is there again already
                server_ports.activate(conn, server_id)
                rows.change(conn, server_id, **became, updated_at=now)
            elif server is not None:
                server_resize.restore(conn, server, now, **became)

        return work

    async def tell(self, flow: Flow, _result: Any) -> None:
        """Tell the guest again of which flavor it is: it may have heard of the other one meanwhile."""
        given, now = flow.given(ResizeGiven), self.cloud.clock.now()
        host = given.left or given.host
        server = await self.cloud.db.read(lambda conn: rows.get(conn, flow.action.subject_id))
        place = await self.cloud.db.read(lambda conn: places.get(conn, host, now))
        if server is not None and place is not None:
            await guest_metadata.tell(self.cloud, server, place.zone)

    async def ended(self, flow: Flow) -> None:
        """Tell the guest that it is what it was, where that is so: it may have heard of its new flavor meanwhile.

        Its host hears of its ports, which may have been elsewhere.
        """
        await self.look_again(flow)
        if flow.failure() is not None:
            await self.cloud.network_nudge()
            await self.tell(flow, None)

    def give_back(self, flow: Flow, failure: Failure) -> Work:
        """Leave the server what it was, and say why; or in ERROR with both halves, where nobody knows which it is."""
        begun = {step.name: step for step in flow.journal.steps}
        if _unknown(failure) and RESIZE.kind in begun:
            return self.leave(flow, failure, MAKE)
        server_id, fault = flow.action.subject_id, self._fault(flow, failure, "")
        moves = "claim" in begun and RESIZE.kind not in begun
        removal_ids, start_id = self._new_ids(), self.cloud.new_id()
        flow.known[StartedAgain] = StartedAgain(start_id)

        def work(conn: Connection) -> None:
            server = rows.get(conn, server_id)
            if server is not None and moves:
                self.move.give_back(conn, flow, server, fault, removal_ids, start_id)
            elif server is not None:
                server_resize.restore(conn, server, fault.created_at, task_state=None, fault=fault)

        return work

    def leave(self, flow: Flow, failure: Failure, do: str) -> Work:
        """Leave the server resized, neither confirmed nor reverted."""
        unknown = _unknown(failure)
        server_id = flow.action.subject_id
        fault = self._fault(flow, failure, _UNKNOWN[do] if failure.kind == Unavailable.kind else "")
        state, status = (ERROR, FAILED) if unknown else (RESIZED, FINISHED)

        def work(conn: Connection) -> None:
            rows.change(conn, server_id, vm_state=state, task_state=None, fault=fault, updated_at=fault.created_at)
            server_migrations.note(conn, server_id, status, fault.created_at)

        return work

    def stay(self, flow: Flow, failure: Failure) -> Work:
        """Leave the server resized; or off, where it is what and where it was again, and its guest did not start."""
        kept, server_id = self.leave(flow, failure, TAKE_BACK), flow.action.subject_id
        fault = self._fault(flow, failure, "")
        off = {**_settled(PowerState.SHUTDOWN), "fault": fault, "updated_at": fault.created_at}

        def work(conn: Connection) -> None:
            server = rows.get(conn, server_id)
            if server is not None and server.former is None:
                server_ports.activate(conn, server_id)
                rows.change(conn, server_id, **off)
            else:
                kept(conn)

        return work

    async def look_again(self, flow: Flow) -> None:
        """Have the fleet read what is claimed of hosts anew, and a guest be started that was ended in vain."""
        self.fleet.dirty = True
        if (started := flow.known.get(StartedAgain)) is not None:
            await self.cloud.nudge(started.action_id)

    def _fault(self, flow: Flow, failure: Failure, first: str) -> ServerFault:
        host = f"host {failure.host or flow.given(ResizeGiven).host}"
        details = "\n".join(text for text in (host, failure.detail) if text)
        now = self.cloud.clock.now()
        return ServerFault(code=500, message=first + failure.message, details=details, created_at=now)

    def _new_ids(self) -> Sequence[str]:
        return [self.cloud.new_id() for _ in range(unmade_images.MOST)]

    def _power(self, flow: Flow) -> PowerState:
        return flow.result(PowerChanged).power_state


def _stays(flow: Flow) -> Sequence[AtHome]:
    return (AtHome(),) if flow.result(Claimed).zone is None else ()


def _goes(flow: Flow) -> Sequence[Away]:
    return () if flow.result(Claimed).zone is None else (Away(),)


def _is_whole(flow: Flow) -> Sequence[AtHome]:
    return () if flow.given(ResizeGiven).left else (AtHome(),)


def _has_left(flow: Flow) -> Sequence[Away]:
    return (Away(),) if flow.given(ResizeGiven).left else ()


def _command(conn: Connection, flow: Flow, do: _Do, domain: str, now: datetime) -> Resize:
    """Return what the host is told: all that the guest is to be, and all that it was."""
    given, server_id = flow.given(ResizeGiven), flow.action.subject_id
    server = rows.get(conn, server_id)
    if server is None or server.former is None:
        raise NotFound("server", server_id)
    network, zone = surroundings(conn, server_id, given.host, domain, now)
    images = made_of(conn, server)
    disks = server_disks.of_server(conn, server)
    resized = guest_spec(server, disks, images, CreateSecrets(), network, zone)
    was = server_resize.former_of(server)
    former = guest_spec(was, server.former.disks, images, CreateSecrets(), network, zone)
    guest, before = (former, resized) if do == TAKE_BACK else (resized, former)
    return Resize(
        action_id=flow.action.id,
        server_id=server_id,
        do=do,
        wanted=given.wanted,
        patience=given.patience,
        guest=guest,
        before=before,
        network=network,
    )


def _settled(power: PowerState) -> dict[str, Any]:
    return {
        "vm_state": server_states.state_of(power),
        "task_state": None,
        "power_state": int(power),
        "fault": None,
    }


def _unknown(failure: Failure) -> bool:
    return Unavailable.kind in {failure.kind, failure.cause}


def _no_room(host: str, why: str) -> NoValidHost:
    return NoValidHost(f"No valid host: its own does not do: {why}.", {host: why})
