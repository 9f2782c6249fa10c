"""The agent of one host: takes commands from the bus, tells what happens, keeps the host as it should be."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from floe.agent import console
from floe.agent.commands import Commands
from floe.agent.first_passwords import FirstPasswords
from floe.agent.folders import Versions, close_guests, make_passable, note_closed, version_of
from floe.agent.guests import GuestBuilder
from floe.agent.image_copy import ImageSource
from floe.agent.image_eviction import ImageEviction, Keeping
from floe.agent.images import ImageCache, os_failure
from floe.agent.inventory import host_up
from floe.agent.ledger import Ledger
from floe.agent.ledger_entries import Posted
from floe.agent.metadata import MetadataService
from floe.agent.nics import GuestNics, of_guests
from floe.agent.ports import Ports
from floe.agent.power import GuestPower, flush_folders, flush_guests, kernel_boot_id
from floe.agent.rebuild import GuestRebuild
from floe.agent.reconcile import Reconciled, reconcile
from floe.agent.snapshots import GuestSnapshots, NoStore, SnapshotStore
from floe.agent.steps import Steps
from floe.agent.threads import Offload, in_thread
from floe.bus.protocol import Bus
from floe.core.clock import Clock
from floe.core.counters import Counters
from floe.core.errors import FloeError, HostFailure, NotFound
from floe.core.guest_passwords import PasswordPosted
from floe.core.guests import GuestState
from floe.core.messages import Event, GuestChanged, Heartbeat, HostDown, Progress
from floe.dataplane.protocol import DataPlane
from floe.hypervisors.protocol import Hypervisor

log = logging.getLogger(__name__)

LEDGER = "ledger.jsonl"
_KEEPING = Keeping()
GUESTS = "guests"
"""The directory with a folder for each guest, in that of a host."""


class Agent:
    """One host. `state_dir` holds its ledger, its guests' files and, unless `image_dir` is given, its images.

    Several agents may share an `image_dir`, and then need a `keeping` that knows of all their guests. `heartbeat` and
    `sweep` are in seconds; a step that takes longer than `patience` seconds is told as `Progress` while it runs. By
    `boot_id`, which names a boot of the machine, it knows that the machine was started anew.
    """

    def __init__(
        self,
        host: str,
        *,
        bus: Bus,
        hypervisor: Hypervisor,
        plane: DataPlane,
        images: ImageSource,
        state_dir: Path,
        clock: Clock,
        image_dir: Path | None = None,
        address: str = "127.0.0.1",
        availability_zone: str = "nova",
        heartbeat: float = 10.0,
        sweep: float = 60.0,
        patience: float = 0.1,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        offload: Offload = in_thread,
        version: Versions = version_of,
        seed: Callable[[int], bytes] = os.urandom,
        keeping: Keeping = _KEEPING,
        boot_id: Callable[[], str] = kernel_boot_id,
        counters: Counters | None = None,
        store: SnapshotStore | None = None,
    ) -> None:
        self.host = host
        self._store = store or NoStore()
        self._bus = bus
        self._hypervisor = hypervisor
        self._plane = plane
        self._state_dir = state_dir
        self._guests_dir = state_dir / GUESTS
        self._clock = clock
        self._address, self._zone = address, availability_zone
        self._heartbeat = heartbeat
        self._sweep = sweep
        self._patience = patience
        self._sleep = sleep
        self._offload = offload
        self._version = version
        self._seed = seed
        self._boot_id = boot_id
        self._counters = counters or Counters()
        cache = image_dir or state_dir / "images"
        users = keeping.users or self._guest_folders
        self._eviction = ImageEviction(
            cache, users, clock, keeping, counters=counters, offload=offload, version=version
        )
        self._images = ImageCache(
            cache, images, hypervisor.adopt_image, clock=clock, eviction=self._eviction, offload=offload, sleep=sleep
        )
        self._first_passwords = FirstPasswords(hypervisor, clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._early: list[GuestState] = []
        self._commands: Commands | None = None
        self._ledger: Ledger | None = None
        self._builder: GuestBuilder | None = None
        self._ports: Ports | None = None
        self._metadata: MetadataService | None = None

    async def start(self) -> None:
        """Find the host as it is, bring it into line, then take commands and say `HostUp`.

        Raises HostFailure when hypervisor or data plane cannot be used at all.
        """
        make_passable(self._state_dir)
        make_passable(self._guests_dir)
        await self._offload(close_guests, self._state_dir, self._guests_dir)
        ledger = self._ledger = Ledger(self._state_dir / LEDGER, self._clock)
        metadata = self._metadata = MetadataService(
            ledger,
            self._plane,
            self._counters,
            self._seed,
            post=self.post_password,
            addresses=self._hypervisor.addresses,
        )
        ports = self._ports = Ports(
            lambda: of_guests(ledger.network.snapshot(), ledger.guests.values()), self._plane, metadata.follow
        )
        try:
            await self._hypervisor.open(self._saw, self._first_passwords.speaks)
            await self._plane.open()
            found = await reconcile(ledger, self._hypervisor, self._guests_dir, self._offload)
            self._images.tidy()
            with contextlib.suppress(HostFailure):  # the host serves what it can; the sweep tries again
                await ports.plug()
        except BaseException:
            await self._let_go()
            raise
        builder = self._builder = GuestBuilder(
            directory=self._guests_dir,
            ledger=ledger,
            images=self._images,
            ports=ports,
            hypervisor=self._hypervisor,
            offload=self._offload,
            seed=self._seed,
            version=self._version,
            first_passwords=self._first_passwords,
        )
        power = GuestPower(ledger, builder, self._hypervisor, self._sleep)
        guests = await self._after_restart(ledger, power, found)
        commands = await self._commands_of(ledger, builder, power, ports)
        commands.start_with(guests)
        self._commands = commands
        for guest in self._early:
            commands.saw(guest)
        await self._bus.serve(self.host, commands.handle, back=self._look)
        await self._say_up(guests, found.files)
        commands.follow_network()
        self._loops = [
            asyncio.create_task(self._every(self._heartbeat, self._beat), name=f"heartbeat-{self.host}"),
            asyncio.create_task(self._every(self._sweep, self._look), name=f"sweep-{self.host}"),
        ]

    @property
    def serves(self) -> bool:
        """Whether it takes commands."""
        return self._commands is not None

    async def _commands_of(self, ledger: Ledger, builder: GuestBuilder, power: GuestPower, ports: Ports) -> Commands:
        return Commands(
            ledger=ledger,
            builder=builder,
            power=power,
            rebuild=GuestRebuild(ledger, builder, power, self._hypervisor, self._offload),
            nics=GuestNics(ledger, power, ports, self._hypervisor, self._sleep),
            snapshots=await self._snapshots(ledger, builder, power),
            ports=ports,
            hypervisor=self._hypervisor,
            steps=self._steps,
            changed=self._changed,
            report=lambda: self._start(self._report()),
            posted=self._password,
            offload=self._offload,
            sleep=self._sleep,
        )

    async def _snapshots(self, ledger: Ledger, builder: GuestBuilder, power: GuestPower) -> GuestSnapshots:
        made = GuestSnapshots(
            ledger, builder, power, self._hypervisor, self._store, self._eviction, self._offload, self._sleep
        )
        await made.tidy()
        return made

    async def _after_restart(self, ledger: Ledger, power: GuestPower, found: Reconciled) -> list[GuestState]:
        """Bring guests back if the machine was started anew; else what they do now is what they should."""
        boot_id, before = self._boot_id(), ledger.wishes.machine
        guests = found.guests
        strange = {*found.files, *(guest.server_id for guest in guests)} - ledger.guests.keys()
        if boot_id and before and boot_id != before:
            ledger.wishes.power_failed({ident for ident in ledger.guests if not ledger.is_built(ident)}, strange)
            guests = await power.bring_back(guests)
        elif strange := strange - ledger.wishes.sound:
            await self._offload(flush_folders, [self._guests_dir / ident for ident in strange])
            ledger.wishes.flushed(strange)
        for guest in guests:
            ledger.follow(guest.server_id, guest.power_state)
        if boot_id and boot_id != before:
            ledger.wishes.runs_since(boot_id)
            with contextlib.suppress(OSError):  # the heartbeat tries again
                await self._offload(ledger.sync)
        return guests

    async def stop(self) -> None:
        """Take no more commands, say `HostDown` and let go; guests go on running. Nothing to do unless started."""
        if self._commands is None:
            return
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self._loops = []
        await self._bus.withdraw(self.host)
        await self._commands.stop()
        await self._first_passwords.stop()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._bus.publish(HostDown(host=self.host))
        await self._let_go()
        note_closed(self._state_dir)

    def told(self) -> dict[str, str]:
        """Return fingerprints of what the guests here may read about themselves, by server; nothing until started."""
        return {} if self._ledger is None else self._ledger.told()

    async def post_password(self, server_id: str, password: str) -> None:
        """Keep what a guest posted, on the disk before this returns, and tell of it.

        Raises NotFound, Conflict where there is a password, HostFailure where it cannot be kept.
        """
        ledger = self._ledger
        if ledger is None:
            raise NotFound("guest", server_id)
        ledger.passwords.post(server_id, password)
        try:
            await self._offload(ledger.sync)
        except OSError as error:
            raise os_failure(error, "disk") from error
        if server_id in ledger.guests:
            self._publish_soon(self._password(ledger.passwords.of(server_id)))

    def _password(self, posted: Posted) -> PasswordPosted:
        return PasswordPosted(host=self.host, server_id=posted.server_id, password=posted.password, turn=posted.turn)

    async def crash(self) -> None:
        """End as a killed process does, for simulations: nothing is said, synced or undone."""
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self._loops = []
        await self._bus.withdraw(self.host)
        if self._commands is not None:
            await self._commands.stop()
        await self._first_passwords.stop()
        await self._close()
        if self._ledger is not None:
            self._ledger.drop()

    async def _close(self) -> None:
        self._commands = None
        for part in (self._ports, self._metadata):
            if part is not None:
                await part.close()

    async def _let_go(self) -> None:
        await self._close()
        for close in (self._hypervisor.close, self._plane.close):
            try:
                await close()
            except Exception as error:
                log.warning("letting go of the host failed: %s", error)
        if self._ledger is not None:
            await self._offload(self._ledger.close)

    async def _every(self, seconds: float, call: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            await self._sleep(seconds)
            try:
                await call()
            except Exception as error:
                log.warning("%s of host %s failed: %s", call.__name__.strip("_"), self.host, error)

    async def _beat(self) -> None:
        await self._bus.publish(Heartbeat(host=self.host))
        await self._say_passwords()
        if self._ledger is not None and (self._ledger.unsynced or self._ledger.wishes.unflushed):
            await self._flush(self._ledger)
            await self._offload(self._ledger.sync)

    async def _flush(self, ledger: Ledger) -> None:
        """Bring the disks of new guests to the disk: only then are they started again after the power failed."""
        if self._builder is not None and ledger.wishes.unflushed:
            due = dict(ledger.wishes.unflushed)
            guests = [ledger.guests[ident] for ident in due if ident in ledger.guests]
            files = {guest.server_id: tuple(self._builder.files(guest).disks.values()) for guest in guests}
            there = await self._offload(flush_guests, files)
            ledger.wishes.flushed_meanwhile({ident: due[ident] for ident in there})

    async def _look(self) -> None:
        """Compare the host with what it should be, mend it and tell of it: the net under events and commands."""
        if self._commands is None or self._ports is None or self._builder is None:
            return
        before = self._commands.known()
        guests = await self._hypervisor.guests()
        note_closed(self._state_dir)
        self._commands.found(before, guests)
        if guests:
            await self._offload(self._trim_consoles, [guest.server_id for guest in guests])
        self._first_passwords.look()
        await self._say_up(guests, await self._builder.leftovers(guests))
        await self._ports.plug()
        self._commands.follow_network()
        self._images.tidy()
        await self._eviction.round()

    async def _report(self) -> None:
        """Tell of the host to a conductor that was not there when that was told."""
        try:
            assert self._builder is not None
            guests = await self._hypervisor.guests()
            await self._say_up(guests, await self._builder.leftovers(guests))
        except FloeError as error:
            log.warning("host %s could not tell of itself: %s", self.host, error.message)

    def _guest_folders(self) -> list[Path]:
        return list(self._guests_dir.iterdir())

    def _trim_consoles(self, server_ids: list[str]) -> None:
        for server_id in server_ids:
            with contextlib.suppress(OSError):
                console.trim(self._guests_dir / server_id / "console.log")

    async def _say_up(self, guests: list[GuestState], files: tuple[str, ...]) -> None:
        assert self._ledger is not None
        event = host_up(
            self.host,
            await self._hypervisor.facts(),
            self._plane.traits(),
            guests,
            files,
            self._ledger,
            address=self._address,
            availability_zone=self._zone,
        )
        await self._bus.publish(event)
        await self._say_passwords()

    async def _say_passwords(self) -> None:
        for posted in () if self._ledger is None else self._ledger.passwords.due():
            await self._bus.publish(self._password(posted))

    def _steps(self, action_id: str) -> Steps:
        return Steps(
            host=self.host,
            action_id=action_id,
            clock=self._clock,
            publish=self._progress,
            patience=self._patience,
        )

    def _progress(self, event: Progress) -> None:
        self._publish_soon(event)

    def _saw(self, guest: GuestState) -> None:
        if self._commands is None:
            self._early.append(guest)
        else:
            self._commands.saw(guest)

    def _changed(self, guest: GuestState) -> None:
        self._publish_soon(GuestChanged(host=self.host, server_id=guest.server_id, power_state=guest.power_state))

    def _publish_soon(self, event: Event) -> None:
        self._start(self._bus.publish(event))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
