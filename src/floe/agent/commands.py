"""What a host does on each command, and how commands on one server go together.

One lock per server. A destroy does not wait for the build it ends: it stops it, then cleans up after it. A
repeat of a spawn waits for the first and is answered alike.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from msgspec.structs import replace

from floe.agent import fences, guest_questions, host_uptime, network_commands
from floe.agent.answers import DELETED, answer_of, failure_of
from floe.agent.following import Following
from floe.agent.guests import GuestBuilder
from floe.agent.images import os_failure
from floe.agent.ledger import Ledger
from floe.agent.ledger_entries import Posted
from floe.agent.nics import GaveWay, GuestNics
from floe.agent.ports import Ports
from floe.agent.power import GuestPower
from floe.agent.rebuild import GuestRebuild
from floe.agent.resize import GuestResize
from floe.agent.snapshots import GuestSnapshots, Sending
from floe.agent.steps import Steps
from floe.agent.threads import Offload
from floe.agent.under_way import UnderWay
from floe.core.errors import FloeError, HostFailure, NotFound
from floe.core.guest_passwords import PasswordPosted
from floe.core.guests import GuestState, PowerState
from floe.core.messages import (
    ChangeNics,
    ChangePower,
    Command,
    Destroy,
    Destroyed,
    Done,
    Failed,
    Guests,
    Inspect,
    Inspected,
    ListGuests,
    PowerChanged,
    Report,
    Result,
    Spawn,
    SpawnAll,
    Spawned,
    SpawnedAll,
    UpdateMetadata,
)
from floe.core.server_rebuild import Rebuild
from floe.core.server_resize import Resize
from floe.core.snapshot_commands import TakeSnapshot
from floe.hypervisors.protocol import Hypervisor

T = TypeVar("T")

_OVERTAKEN = "The server was deleted while it was being built."
_FENCED = "The action was taken up by another conductor since: what is still to be done for it, that one says."
_BROKEN_OFF = "Something else was asked for meanwhile."
_Change = Callable[[Any, Steps], Awaitable[PowerChanged]]


class Commands:
    """Answers the commands to one host; `handle` is what the bus calls."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        builder: GuestBuilder,
        power: GuestPower,
        rebuild: GuestRebuild,
        nics: GuestNics,
        snapshots: GuestSnapshots,
        ports: Ports,
        hypervisor: Hypervisor,
        steps: Callable[[str], Steps],
        changed: Callable[[GuestState], None],
        report: Callable[[], None],
        posted: Callable[[Posted], PasswordPosted],
        offload: Offload,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._following = Following(nics, self._server, sleep)
        self._ledger, self._builder, self._hypervisor = ledger, builder, hypervisor
        self._nics, self._snapshots, self._ports = nics, snapshots, ports
        self._steps = steps
        self._changed, self._say_report, self._posted = changed, report, posted
        self._offload = offload
        self._servers: dict[str, UnderWay] = {}
        self._known: dict[str, PowerState] = {}
        self._late: set[asyncio.Task[Any]] = set()
        """Spawns that take longer than whoever asked for all of them waits, and what nobody waits for."""
        self._handlers: dict[type, Callable[[Any], Awaitable[Result]]] = {
            Spawn: self._spawn,
            SpawnAll: self._spawn_all,
            Destroy: self._destroy,
            ChangePower: partial(self._make_so, power.change),
            Rebuild: partial(self._make_so, rebuild.change),
            Resize: partial(self._make_so, GuestResize(rebuild).change),
            ChangeNics: self._change_nics,
            TakeSnapshot: self._take_snapshot,
            **guest_questions.handlers(ledger, builder, hypervisor, offload),
            **host_uptime.handlers(offload),
            **network_commands.handlers(ledger, ports, self.follow_network),
            UpdateMetadata: self._update_metadata,
            ListGuests: self._list_guests,
            Report: self._report,
            Inspect: self._inspect,
        }

    async def handle(self, command: Command) -> Result:
        """Carry out a command; what goes wrong becomes `Failed`."""
        try:
            return await self._handlers[type(command)](command)
        except FloeError as error:
            return failure_of(error, None)

    async def stop(self) -> None:
        """Leave what is under way where it stands; the next start finds it as after a crash."""
        for task in self._late:
            task.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)
        await self._snapshots.stop()

    def known(self) -> dict[str, PowerState]:
        """Return the guests here and their power states, as they are now."""
        return dict(self._known)

    def found(self, before: dict[str, PowerState], guests: list[GuestState]) -> None:
        """Compare what the hypervisor listed with what was `known` before it was asked, and tell of each change.

        What a command or an event changed while the list was made is left to these: they know later.
        """
        now = {guest.server_id: guest.power_state for guest in guests}
        for server_id in sorted(before.keys() | now.keys()):
            if server_id not in self._servers and self._known.get(server_id) is before.get(server_id):
                self.saw(GuestState(server_id=server_id, power_state=now.get(server_id, PowerState.NOSTATE)))

    def saw(self, guest: GuestState) -> None:
        """Tell of a guest's power state if it is new; during a command on that guest, only after its end."""
        busy = self._servers.get(guest.server_id)
        if busy is not None:
            busy.seen = guest.power_state
        elif self._known.get(guest.server_id) is not guest.power_state:
            self._know(guest)
            if guest.power_state is not PowerState.NOSTATE:
                self._ledger.follow(guest.server_id, guest.power_state)
            self._changed(guest)

    def start_with(self, guests: list[GuestState]) -> None:
        """Know these guests without telling anybody: `HostUp` does."""
        for guest in guests:
            self._know(guest)

    def _know(self, guest: GuestState) -> None:
        if guest.power_state is PowerState.NOSTATE:
            self._known.pop(guest.server_id, None)
        else:
            self._known[guest.server_id] = guest.power_state

    @asynccontextmanager
    async def _server(self, server_id: str) -> AsyncIterator[UnderWay]:
        server = self._servers.setdefault(server_id, UnderWay())
        server.waiting += 1
        try:
            async with server.lock:
                yield server
        finally:
            server.waiting -= 1
            if not server.waiting:
                del self._servers[server_id]
                if server.seen is not None and server_id in self._known:
                    self.saw(GuestState(server_id=server_id, power_state=server.seen))

    async def _spawn(self, command: Spawn) -> Result:
        server_id = command.guest.server_id
        self._builder.folder(server_id)
        if not self._ledger.fences.heard(server_id, command.action_id, command.attempt):
            return self._fenced(command.action_id, server_id)
        self._builder.take(command.tickets)  # a repeat brings new ones, also for a fetch under way
        async with self._server(server_id) as server:
            if (refusal := self._ledger.refusal(server_id, command.action_id)) is not None:
                return Failed(kind="gone", message=refusal)
            answer = self._ledger.answer(server_id, command.action_id)
            if isinstance(answer, Failed):
                return answer
            if answer is not None and server_id in self._known:
                return replace(answer, power_state=self._known[server_id])  # it may have died since
            steps = self._steps(command.action_id)
            present = not self._known.get(server_id, PowerState.NOSTATE).off
            try:
                self._ledger.begin(command, present=present)
                server.work = asyncio.ensure_future(self._builder.spawn(command, steps, present=present))
                result: Spawned = await server.work
            except asyncio.CancelledError:
                if not server.overtaken:
                    raise  # the agent stops: its next start finds things as after a crash
                return Failed(kind="gone", message=_OVERTAKEN, steps=tuple(steps.done))
            except Exception as error:
                failed = failure_of(error, steps)
                if not present:
                    self._ledger.settle(command, failed)
                return failed
            finally:
                server.work = None
            self._ledger.settle(command, result)
            self._known[server_id] = result.power_state
            server.seen = result.power_state if server.seen is None else server.seen
            return result

    def _fenced(self, action_id: str, server_id: str) -> Failed:
        return Failed(kind="gone", message=_FENCED, heard=self._ledger.fences.latest(server_id, action_id))

    async def _spawn_all(self, command: SpawnAll) -> Result:
        work = [self._beside(self.handle(spawn)) for spawn in command.spawns]
        try:
            await asyncio.wait(work, timeout=command.patience)
        except asyncio.CancelledError:
            for task in work:
                task.cancel()
            raise
        return SpawnedAll(answers=tuple(map(answer_of, work)))

    async def _make_so(self, change: _Change, command: ChangePower | Rebuild | Resize) -> Result:
        server_id = command.server_id
        self._builder.folder(server_id)
        under_way = self._servers.get(server_id)
        if under_way is not None and under_way.work is not None and under_way.is_before(command.wanted.generation):
            under_way.overtaken = True
            under_way.work.cancel()
        async with self._server(server_id) as server:
            server.overtaken = False
            if (refusal := self._ledger.refusal(server_id, command.action_id)) is not None:
                return Failed(kind="gone", message=refusal)
            answer = self._ledger.wishes.answer(server_id, command.action_id)
            if isinstance(answer, PowerChanged):
                return replace(answer, power_state=self._known.get(server_id, answer.power_state))
            if answer is not None:
                return answer
            if command.guest is None and server_id not in self._ledger.guests:
                raise NotFound("guest", server_id, message="The guest is not known on this host.")  # so say all of it
            steps = self._steps(command.action_id)
            server.generation = command.wanted.generation
            try:
                server.work = asyncio.ensure_future(change(command, steps))
                result: PowerChanged = await server.work
            except asyncio.CancelledError:
                if not server.overtaken:
                    raise
                return Failed(kind="gone", message=_BROKEN_OFF, steps=tuple(steps.done))
            except Exception as error:
                failed = failure_of(error, steps)
                self._ledger.wishes.changed(command, failed)
                await self._look_at(server_id, server)
                return failed
            finally:
                server.work = server.generation = None
            self._ledger.wishes.changed(command, result)
            self._known[server_id], server.seen = result.power_state, None
            self._ledger.follow(server_id, result.power_state)
            return result

    async def _change_nics(self, command: ChangeNics) -> Result:
        while True:
            try:
                return await self._while_there(command, self._nics.change)
            except GaveWay as gave:  # a guest that is stopped meanwhile has let go, one that is reset is asked anew
                command = replace(command, patience=gave.patience)

    async def _take_snapshot(self, command: TakeSnapshot) -> Result:
        """Copy a guest's disk while nothing else is done with it, and send the copy while anything may be."""
        copied = await self._while_there(command, self._snapshots.copy)
        return await copied.answer() if isinstance(copied, Sending) else copied

    async def _while_there(
        self, command: Any, do: Callable[[Any, Steps, Callable[[], bool]], Awaitable[T]]
    ) -> T | Failed:
        """Do something with a server that a delete breaks off; it may ask whether others wait for the server."""
        server_id = command.server_id
        self._builder.folder(server_id)
        async with self._server(server_id) as server:
            if (refusal := self._ledger.refusal(server_id, command.action_id)) is not None:
                return Failed(kind="gone", message=refusal)
            steps = self._steps(command.action_id)
            try:
                server.work = asyncio.ensure_future(do(command, steps, lambda: server.waiting > 1))
                result: T = await server.work
            except asyncio.CancelledError:
                if not server.overtaken:
                    raise
                return Failed(kind="gone", message=DELETED, steps=tuple(steps.done))
            except GaveWay:
                raise
            except Exception as error:
                return failure_of(error, steps)
            finally:
                server.work = None
            return result

    def follow_network(self) -> None:
        """Have guests have the NICs that the network says, each once nothing else is being done with it."""
        for work in self._following.begin():
            self._beside(work)

    def _beside(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        self._late.add(task := asyncio.ensure_future(work))
        task.add_done_callback(self._late.discard)
        return task

    async def _look_at(self, server_id: str, server: UnderWay) -> None:
        """See what a guest does of which something failed: what it does is what it should, and is told of."""
        with suppress(HostFailure):
            found = await self._hypervisor.find(server_id)
            if found is not None:
                server.seen = found.power_state
                self._ledger.follow(server_id, found.power_state)

    async def _destroy(self, command: Destroy) -> Result:
        server_id = command.server_id
        self._builder.folder(server_id)
        if not self._ledger.fences.heard(server_id, command.action_id, command.attempt):
            return self._fenced(command.action_id, server_id)
        builder = self._ledger.builder(server_id)
        command = fences.of_builder(command, builder, self._ledger.guests.get(server_id))
        noted = self._ledger.destroyed(command)
        if not command.final and builder not in (None, command.action_id):
            return Destroyed()  # a late undo: the guest that is here is a later action's
        building = self._servers.get(server_id)
        if building is not None and building.work is not None:
            building.overtaken = True
            building.work.cancel()
        async with self._server(server_id) as server:
            server.overtaken = False
            steps = self._steps(command.action_id)
            self._known.pop(server_id, None)
            await self._snapshots.call_off(server_id)
            try:
                result = await self._builder.destroy(command, steps)
                if not command.final:
                    await self._make_certain(command, noted=noted)
            except Exception as error:
                return failure_of(error, steps)
            server.seen = None
            self._snapshots.forget(server_id)
            left = None if command.final else self._ledger.passwords.left(server_id)
            return result if left is None else replace(result, posted=self._posted(left))

    async def _make_certain(self, command: Destroy, *, noted: bool) -> None:
        """Bring it to the disk that a build was called off, before anybody builds that server elsewhere.

        Raises HostFailure where it cannot: then it is asked for again.
        """
        try:
            if not noted and not self._ledger.destroyed(command):  # there may be room now that its disks are gone
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            await self._offload(self._ledger.sync)
        except OSError as error:
            raise os_failure(error, "guest") from error

    async def _update_metadata(self, command: UpdateMetadata) -> Result:
        if command.server_id not in self._ledger.guests:
            raise NotFound("guest", command.server_id)
        self._ledger.tell(command.server_id, command.metadata)
        return Done()

    async def _report(self, command: Report) -> Done:
        if command.whole:
            self._say_report()
        return Done()

    async def _list_guests(self, _command: ListGuests) -> Result:
        guests = tuple(await self._hypervisor.guests())
        return Guests(guests=guests, files=await self._builder.leftovers(guests))

    async def _inspect(self, _command: Inspect) -> Result:
        busy = set(self._servers)
        network, drift = await self._ports.drift()  # a build's ports are to be there before they are made
        guests = await self._hypervisor.guests()
        folders = await self._offload(self._builder.folders)
        return Inspected(
            guests=tuple(sorted(guests, key=lambda guest: guest.server_id)),
            network=network,
            folders=folders,
            drift=() if busy else tuple(drift),
            busy=tuple(sorted(busy | self._servers.keys())),
        )
