"""Machines: what of a host outlives the processes on it, and how it fails."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any

from floe.agent.agent import GUESTS, LEDGER
from floe.agent.image_eviction import backing_file
from floe.cloud.audit import HostView
from floe.core.disks import MIB, Blank, Overlay
from floe.core.disks import Disk as AnyDisk
from floe.core.errors import HostFailure
from floe.core.guest_questions import Diagnostics
from floe.core.guests import GuestSpec, GuestState, PowerState
from floe.core.host_network import HostNetwork
from floe.core.nic_limits import NicLimits
from floe.core.nics import Nic
from floe.dataplane.fake import FakePlane, FakeScript
from floe.dataplane.protocol import MetadataAddress
from floe.hypervisors.fake import FakeHost, FakeHypervisor
from floe.hypervisors.protocol import Found, GuestFiles, HypervisorFacts
from floe.simulation.storage import Removals, Synced

Pause = Callable[[str], Awaitable[None]]
Sleep = Callable[[float], Awaitable[None]]


class Machine:
    """One host: its guests, its network, its disk."""

    def __init__(self, name: str, folder: Path, files: Synced, now: Callable[[], float]) -> None:
        self.name, self.folder, self._files = name, folder, files
        self.host, self.script, self.network = FakeHost(), FakeScript(), HostNetwork()
        self.disk_full = False
        self.forgotten: set[str] = set()
        """Guests that there were when its agent lost its ledger: nobody knows the boots of those that ended since."""
        self.died: set[str] = set()
        """Guests that ended by themselves or with the machine."""
        self.boots = 1
        """How often the machine itself was started."""
        self.booted: set[tuple[str, int, int]] = set()
        """Boots of guests that were done, by make of the root disk: only a start of the machine may do one again."""
        self.sizes: dict[str, tuple[int, int, set[NicLimits | None]]] = {}
        """vCPUs and MiB of memory of each guest, and the limits of its NICs, as it was started last."""
        self.refused: set[str] = set()
        """Guests that the hypervisor would not start since the power failed."""
        self.driver: SimulatedHypervisor | None = None
        self.returned: set[str] = set()
        """Servers of which a loss of power brought something back."""
        self.removals = Removals(folder / GUESTS, folder / "removed", folder / "images", now, files.whole)

    def power_loss(self, dice: Random) -> None:
        """Lose what is not on the disk for certain: running guests, the network, parts of files."""
        self.driver = None
        self.network = HostNetwork()
        self.boots += 1
        self.booted.clear()
        self.refused.clear()
        for server_id, state in self.host.guests.items():
            if state is not PowerState.SUSPENDED:
                self.host.guests[server_id] = PowerState.SHUTDOWN
                self.host.nics.pop(server_id, None)
                self.died.add(server_id)
        guests, folders = self.removals.power_loss(dice)
        for server_id in guests:
            self.host.guests.setdefault(server_id, PowerState.SHUTDOWN)
        self.returned.update(guests, folders)
        self._files.power_loss(self.folder, dice)

    def process_died(self) -> None:
        """Give back what the kernel takes from a dead process: its locks on files."""
        mark = f"{self.folder}/"
        for fd in list(Path("/proc/self/fd").iterdir()):
            with contextlib.suppress(OSError):
                target = str(fd.readlink())
                if target.startswith(mark) and target.endswith(".lock"):
                    fcntl.flock(int(fd.name), fcntl.LOCK_UN)

    def view(self) -> HostView:
        """Return what the machine has."""
        guests = self.folder / GUESTS
        return HostView(
            guests=dict(self.host.guests),
            network=self.network,
            folders=frozenset(folder.name for folder in guests.iterdir()) if guests.exists() else frozenset(),
        )

    def has(self, server_id: str) -> bool:
        """Return whether there is something of a server that did not come back by itself."""
        there = server_id in self.host.guests or (self.folder / GUESTS / server_id).exists()
        return there and server_id not in self.returned

    def remembers(self) -> bool:
        """Whether the agent finds all it has written of the guests again, should the power fail now."""
        ledger = self.folder / LEDGER
        return ledger.exists() and self._files.whole(ledger)

    def given_up(self, server_id: str) -> bool:
        """Whether the agent has written that it starts a guest no more: the power failed when its disks were new."""
        return f'"type":"damaged","server_id":"{server_id}"' in (self.folder / LEDGER).read_text()

    def forget_boots(self, server_id: str, make: int | None = None) -> None:
        """Take no boot of a guest for done any more, or of that make of it."""
        self.booted = {boot for boot in self.booted if boot[0] != server_id or make not in {None, boot[2]}}

    def baseless(self) -> list[str]:
        """Return the servers whose disks stand on a base image that is gone."""
        return [
            server_id
            for server_id in sorted(self.host.guests)
            for disk in sorted((self.folder / GUESTS / server_id).glob("disk*.qcow2"))
            for base in (backing_file(disk),)
            if base is not None and not base.exists()
        ]

    def heal(self) -> None:
        """Take away all faults."""
        self.host.faults.clear()
        self.host.deaf.clear()
        self.script.failure = None
        self.disk_full = False


class SimulatedHypervisor:
    """See `Hypervisor`: a fake one on a machine, with time to die in before and after each effect.

    `started`, `twice`, `harmed` and `damaged` are told host and server of a guest that was started, that was booted
    once more than anybody wanted, that was ended while it ran, and that was started from a disk which is not what it
    was made as.
    """

    def __init__(
        self,
        machine: Machine,
        pause: Pause,
        delay: Sleep,
        *,
        started: Callable[[str, str], None],
        twice: Callable[[str, str], None],
        harmed: Callable[[str, str], None],
        damaged: Callable[[str, str], None],
    ) -> None:
        self._machine, self._pause, self._delay = machine, pause, delay
        self._started, self._twice, self._harmed, self._damaged = started, twice, harmed, damaged
        self._fake = FakeHypervisor(machine.host, vcpus=4, memory_mib=3072, disk_gib=60, cpu_ratio=2.0)
        self.change = self._fake.change
        """Let a guest's power state change by itself."""
        self.facts = self._fake.facts
        self.addresses, self.addresses_at_start = self._fake.addresses, self._fake.addresses_at_start

    async def open(
        self, on_change: Callable[[GuestState], None], on_speak: Callable[[str], None] = lambda _server_id: None
    ) -> HypervisorFacts:
        """See `Hypervisor.open`."""
        return await self._fake.open(on_change)

    async def close(self) -> None:
        """See `Hypervisor.close`."""
        await self._fake.close()

    async def adopt_image(self, path: Path, disk_format: str) -> str:
        """See `Hypervisor.adopt_image`."""
        await self._pause("disk.before")
        return await self._fake.adopt_image(path, disk_format)

    async def create_overlay(self, guest: GuestSpec, disk: Overlay, files: GuestFiles, base_format: str) -> None:
        """See `Hypervisor.create_overlay`."""
        await self._before_disk()
        target = files.disks[disk.role]
        there = target.exists()
        await self._fake.create_overlay(guest, disk, files, base_format)
        if not there:  # one that is there stays as it is, as with the real ones
            with target.open("ab") as file:
                file.write(_content(guest))
            if disk.role == guest.disks[0].role:  # what was booted of that make before had to go back, and went
                self._machine.forget_boots(guest.server_id, disk.make)
        await self._pause("disk.after")

    async def create_blank(self, guest: GuestSpec, disk: Blank, files: GuestFiles) -> None:
        """See `Hypervisor.create_blank`."""
        await self._before_disk()
        await self._fake.create_blank(guest, disk, files)
        await self._pause("disk.after")

    async def clone_disk(self, guest: GuestSpec, disk: Overlay | Blank, files: GuestFiles, source: Path) -> None:
        """See `Hypervisor.clone_disk`."""
        await self._before_disk()
        await self._fake.clone_disk(guest, disk, files, source)
        await self._pause("disk.after")

    async def unpack_disk(self, guest: GuestSpec, disk: Blank, files: GuestFiles, source: Path) -> None:
        """See `Hypervisor.unpack_disk`."""
        await self._before_disk()
        await self._fake.unpack_disk(guest, disk, files, source)
        await self._pause("disk.after")

    async def _before_disk(self) -> None:
        await self._pause("disk.before")
        if self._machine.disk_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def start(self, guest: GuestSpec, files: GuestFiles, boots: int = 1) -> PowerState:
        """See `Hypervisor.start`."""
        await self._pause("start.before")
        await self._delay(0.15)
        ran = self._machine.host.guests.get(guest.server_id)
        try:
            state = await self._fake.start(guest, files, boots)
        except HostFailure:
            self._machine.refused.add(guest.server_id)
            self._machine.forget_boots(guest.server_id)
            raise
        if ran is not state:
            network = self._machine.network
            plugged = {nic.port_id for nic in guest.nics} & {port.port_id for port in network.ports}
            limits = {network.limited.get(port_id) for port_id in plugged}
            self._machine.sizes[guest.server_id] = guest.vcpus, guest.memory_mib, limits
            self._started(self._machine.name, guest.server_id)
            boot = guest.server_id, boots, guest.disks[0].make
            if boot in self._machine.booted and guest.server_id not in self._machine.forgotten & self._machine.died:
                self._twice(self._machine.name, guest.server_id)
            self._machine.booted.add(boot)
            if not all(_whole(guest, disk, files) for disk in guest.disks):
                self._damaged(self._machine.name, guest.server_id)
        self._machine.died.discard(guest.server_id)
        await self._delay(0.15)  # the guest runs before its hypervisor says so
        await self._pause("start.after")
        return state

    async def destroy(self, server_id: str, guest_name: str) -> bool:
        """See `Hypervisor.destroy`."""
        await self._pause("destroy.before")
        await self._delay(0.05)
        ran = self._machine.host.guests.get(server_id) is PowerState.RUNNING
        there = await self._fake.destroy(server_id, guest_name)
        if there:
            self._machine.removals.guest(server_id)
            self._machine.forget_boots(server_id)
        if ran:
            self._harmed(self._machine.name, server_id)
        await self._pause("destroy.after")
        return there

    async def attach_nic(self, guest: GuestSpec, nic: Nic) -> None:
        """See `Hypervisor.attach_nic`."""
        await self._pause("nic.before")
        await self._fake.attach_nic(guest, nic)
        await self._pause("nic.after")

    async def detach_nic(self, server_id: str, nic: Nic, *, ask: bool = True) -> bool:
        """See `Hypervisor.detach_nic`."""
        await self._pause("nic.before")
        gone = await self._fake.detach_nic(server_id, nic, ask=ask)
        await self._pause("nic.after")
        return gone

    async def copy_disk(
        self, guest: GuestSpec, disk: Overlay | Blank, files: GuestFiles, copy: Path, *, quiesce: bool | None
    ) -> None:
        """See `Hypervisor.copy_disk`."""
        await self._pause("copy.before")
        await self._fake.copy_disk(guest, disk, files, copy, quiesce=quiesce)
        await self._pause("copy.after")

    async def end_copy(self, server_id: str, copy: Path) -> None:
        """See `Hypervisor.end_copy`."""
        await self._fake.end_copy(server_id, copy)

    async def find(self, server_id: str) -> Found | None:
        """See `Hypervisor.find`."""
        return await self._fake.find(server_id)

    async def shut_down(self, server_id: str) -> None:
        """See `Hypervisor.shut_down`; whoever listens needs a while."""
        await self._pause("power.before")
        await self._delay(0.1)
        await self._fake.shut_down(server_id)
        await self._pause("power.after")

    async def end(self, server_id: str) -> None:
        """See `Hypervisor.end`."""
        if self._machine.host.guests.get(server_id) is PowerState.RUNNING:
            self._harmed(self._machine.name, server_id)
        await self._turn(self._fake.end(server_id))

    async def pause(self, server_id: str) -> None:
        """See `Hypervisor.pause`."""
        await self._turn(self._fake.pause(server_id))

    async def unpause(self, server_id: str) -> None:
        """See `Hypervisor.unpause`."""
        await self._turn(self._fake.unpause(server_id))

    async def set_password(self, guest: GuestSpec, user: str, password: str) -> None:
        """See `Hypervisor.set_password`."""
        await self._turn(self._fake.set_password(guest, user, password))

    async def diagnostics(self, guest: GuestSpec) -> Diagnostics:
        """See `Hypervisor.diagnostics`."""
        return await self._fake.diagnostics(guest)

    async def interrupt(self, server_id: str) -> None:
        """See `Hypervisor.interrupt`."""
        await self._turn(self._fake.interrupt(server_id))

    async def suspend(self, server_id: str) -> None:
        """See `Hypervisor.suspend`."""
        await self._turn(self._fake.suspend(server_id))

    async def resume(self, guest: GuestSpec, files: GuestFiles) -> None:
        """See `Hypervisor.resume`."""
        await self._turn(self._fake.resume(guest, files))

    async def _turn(self, call: Coroutine[Any, Any, None]) -> None:
        try:
            await self._pause("power.before")
            await self._delay(0.05)
            await call
            await self._pause("power.after")
        finally:
            call.close()

    async def guests(self) -> list[GuestState]:
        """See `Hypervisor.guests`."""
        found = await self._fake.guests()
        await self._pause("guests")
        return found


def _whole(guest: GuestSpec, disk: AnyDisk, files: GuestFiles) -> bool:
    """Say whether a disk is there with all that belongs to it."""
    path = files.disks[disk.role]
    if not isinstance(disk, Overlay):
        return path.exists() and (not isinstance(disk, Blank) or path.stat().st_size == disk.size_mib * MIB)
    base = backing_file(path)
    return path.read_bytes().endswith(_content(guest)) and base is not None and base.exists()


def _content(guest: GuestSpec) -> bytes:
    return f"the root disk of {guest.server_id}".encode()


class SimulatedPlane:
    """See `DataPlane`: a fake one whose state is the machine's."""

    def __init__(self, machine: Machine, pause: Pause, delay: Sleep) -> None:
        self._machine, self._pause, self._delay = machine, pause, delay
        fake = self._fake = FakePlane(machine.script)
        fake.applied, self.traits = machine.network, fake.traits

    async def open(self) -> None:
        """See `DataPlane.open`."""

    async def close(self) -> None:
        """See `DataPlane.close`."""

    async def apply(self, network: HostNetwork) -> None:
        """See `DataPlane.apply`."""
        await self._pause("plane.before")
        await self._delay(0.02)
        try:
            await self._fake.apply(network)
        finally:
            self._machine.network = self._fake.applied
        await self._pause("plane.after")

    async def drift(self, network: HostNetwork) -> list[str]:
        """See `DataPlane.drift`."""
        return await self._fake.drift(network)

    async def metadata_addresses(self) -> list[MetadataAddress]:
        """Nobody asks for metadata here."""
        return []

    async def metadata_socket(self, address: MetadataAddress) -> socket.socket:
        """There are no sockets in a simulation."""
        raise NotImplementedError(address)

    async def remove_all(self) -> None:
        """See `DataPlane.remove_all`."""
        await self._fake.remove_all()
        self._machine.network = HostNetwork()
