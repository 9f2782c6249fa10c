"""A hypervisor in memory: for trials without guests, for tests, for simulations."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from floe.core.disks import DISK_BUSES, MIB, Blank, Overlay
from floe.core.errors import Conflict, HostFailure, NotSupported
from floe.core.guest_questions import Diagnostics, DiskUse, NicUse
from floe.core.guests import GuestSpec, GuestState, PowerState
from floe.core.image_properties import UEFI_TRAIT
from floe.core.nics import Nic
from floe.core.resources import Inventory
from floe.hypervisors.fake_files import after_empty_disk, empty_disk, overlay_head
from floe.hypervisors.protocol import Found, GuestFiles, HypervisorFacts

Sleep = Callable[[float], Awaitable[None]]

OPERATIONS = (
    *("open", "adopt_image", "create_overlay", "create_blank", "clone_disk", "start", "destroy", "guests"),
    *("find", "shut_down", "end", "pause", "unpause", "suspend", "resume", "interrupt", "attach_nic", "detach_nic"),
    *("set_password", "diagnostics", "addresses"),
    *("copy_disk", "end_copy", "unpack_disk"),
)
N = TypeVar("N", bound=int)


class Kept(MutableMapping[str, N]):
    """A number of each guest, in memory and each in the name of an empty file of `folder`: they outlive the process,
    and thousands of them are read by listing the folder. `of` makes what a number means.

    Nothing is synced: when the power fails, guests that exist in memory alone are gone anyway. All names are one
    file's, where the file system can do that: a file of its own costs some of them more than all else of a guest.
    """

    def __init__(self, folder: Path, of: Callable[[int], N]) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, self._of, self._empty = folder, of, folder.with_name(f"{folder.name}-empty")
        self._empty.touch(mode=0o600)
        self._guests: dict[str, N] = {}
        for name in sorted(os.listdir(folder)):  # noqa: PTH208  # names alone, of thousands
            server_id, _, number = name.partition(".")
            if number:
                self._guests[server_id] = of(int(number))
            else:
                self._take_over(folder / name)

    def _take_over(self, file: Path) -> None:
        """Take a guest over from an earlier release, which wrote the state into the file."""
        text = file.read_text()
        file.unlink()
        if text.isdecimal():  # else the process died while it wrote it, so the guest had not started
            self[file.name] = self._of(int(text))

    def __getitem__(self, server_id: str) -> N:
        return self._guests[server_id]

    def __setitem__(self, server_id: str, state: N) -> None:
        before = self._guests.get(server_id)
        if before is None:
            self._name(self._file(server_id, state))
        else:
            self._file(server_id, before).rename(self._file(server_id, state))
        self._guests[server_id] = state

    def __delitem__(self, server_id: str) -> None:
        self._file(server_id, self._guests.pop(server_id)).unlink(missing_ok=True)

    def __iter__(self) -> Iterator[str]:
        return iter(self._guests)

    def __len__(self) -> int:
        return len(self._guests)

    def _name(self, file: Path) -> None:
        try:
            os.link(self._empty, file)  # a third of what Path.hardlink_to takes
        except OSError:  # it has as many names as it can have, or may have one only
            file.touch()

    def _file(self, server_id: str, state: N) -> Path:
        return self._folder / f"{server_id}.{int(state)}"


def kept_host(folder: Path) -> FakeHost:
    """Return a machine whose guests outlive the process, in folders beside each other."""
    return FakeHost(Kept(folder, PowerState), boots=Kept(folder.with_name(f"{folder.name}-boots"), int))


@dataclass(slots=True)
class FakeHost:
    """What outlives the driver, as a real machine outlives a process: its guests, and the faults to come.

    `foreign` are guests of somebody else, which the driver must neither show nor touch; `deaf` are those that do not
    listen to a power button, nor to anything else, nor let go of a NIC.
    """

    guests: MutableMapping[str, PowerState] = field(default_factory=dict)
    boots: MutableMapping[str, int] = field(default_factory=dict)
    """Which boot of a guest is its latest, of those that were booted more than once."""
    interrupts: dict[str, int] = field(default_factory=dict)
    """How often each guest was interrupted."""
    nics: dict[str, set[str]] = field(default_factory=dict)
    """The ports of which each guest that is on has a NIC."""
    passwords: dict[str, tuple[str, str]] = field(default_factory=dict)
    """The user and the password that each guest was last told of."""
    deaf: set[str] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)
    faults: dict[str, deque[Exception | None]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    """Operation and server of each call that had an effect, while `recording`."""
    recording: bool = False

    def fail(self, operation: str, error: Exception | None = None, *, after: int = 0) -> None:
        """Let the call of `operation` that comes after `after` good ones fail, once; several add up."""
        if operation not in OPERATIONS:
            raise ValueError(f"no such operation: {operation!r}; there are {', '.join(OPERATIONS)}")
        failure = error or HostFailure(f"The fake hypervisor was told to fail in {operation}.", stage="guest")
        self.faults.setdefault(operation, deque()).extend([*([None] * after), failure])


class FakeHypervisor:
    """See `Hypervisor`. `delay` seconds pass in each start; sizes are what the host says it has."""

    def __init__(
        self,
        host: FakeHost | None = None,
        *,
        delay: float = 0.0,
        sleep: Sleep = asyncio.sleep,
        vcpus: int = 64,
        memory_mib: int = 262_144,
        disk_gib: int = 4_096,
        cpu_ratio: float = 4.0,
        traits: tuple[str, ...] = (
            *("HW_ARCH_X86_64", "COMPUTE_IMAGE_TYPE_QCOW2", "COMPUTE_IMAGE_TYPE_RAW"),
            UEFI_TRAIT,
        ),
    ) -> None:
        self.host = host if host is not None else FakeHost()
        self._delay = delay
        self._sleep = sleep
        self._on_change: Callable[[GuestState], None] | None = None
        self._facts = HypervisorFacts(
            type="fake",
            version=1_000_000,
            inventories=(
                Inventory(resource_class="VCPU", total=vcpus, allocation_ratio=cpu_ratio, max_unit=vcpus),
                Inventory(resource_class="MEMORY_MB", total=memory_mib, reserved=512, max_unit=memory_mib),
                Inventory(resource_class="DISK_GB", total=disk_gib, max_unit=disk_gib),
            ),
            traits=traits,
            cpu_info={"arch": "x86_64", "model": "fake", "vendor": "fake", "features": ""},
        )

    async def open(
        self, on_change: Callable[[GuestState], None], on_speak: Callable[[str], None] = lambda _server_id: None
    ) -> HypervisorFacts:
        """See `Hypervisor.open`."""
        self._trip("open")
        self._on_change = on_change
        self.speak = on_speak
        """Have the agent in a guest say that it is there; none does by itself."""
        return self._facts

    async def close(self) -> None:
        """See `Hypervisor.close`."""
        self._on_change = None

    async def facts(self) -> HypervisorFacts:
        """See `Hypervisor.facts`."""
        return self._facts

    async def adopt_image(self, path: Path, disk_format: str) -> str:
        """See `Hypervisor.adopt_image`; the fake boots from anything."""
        self._trip("adopt_image")
        return disk_format

    async def create_overlay(self, guest: GuestSpec, disk: Overlay, files: GuestFiles, base_format: str) -> None:
        """See `Hypervisor.create_overlay`; it is the head of a qcow2 file that stands on its base, and no more."""
        self._trip("create_overlay", guest.server_id)
        target = files.disks[disk.role]
        if not target.exists():
            target.write_bytes(overlay_head(files.bases[disk.role]))

    async def create_blank(self, guest: GuestSpec, disk: Blank, files: GuestFiles) -> None:
        """See `Hypervisor.create_blank`; it is as large as it should be, and empty."""
        self._trip("create_blank", guest.server_id)
        target = files.disks[disk.role]
        if not target.exists():
            target.touch(mode=0o600)
            os.truncate(target, disk.size_mib * MIB)

    async def clone_disk(self, guest: GuestSpec, disk: Overlay | Blank, files: GuestFiles, source: Path) -> None:
        """See `Hypervisor.clone_disk`; of large disks it copies what they begin with."""
        self._trip("clone_disk", guest.server_id)
        target = files.disks[disk.role]
        if not target.exists():
            with source.open("rb") as file:
                target.write_bytes(file.read(MIB))
            if isinstance(disk, Blank):
                os.truncate(target, disk.size_mib * MIB)

    async def unpack_disk(self, guest: GuestSpec, disk: Blank, files: GuestFiles, source: Path) -> None:
        """See `Hypervisor.unpack_disk`, and `copy_disk` for what is in there."""
        self._trip("unpack_disk", guest.server_id)
        target, copied = files.disks[disk.role], source.read_bytes()  # noqa: ASYNC240  # at most some MiB
        if not target.exists():
            target.write_bytes(after_empty_disk(copied))
            os.truncate(target, disk.size_mib * MIB)

    async def start(self, guest: GuestSpec, files: GuestFiles, boots: int = 1) -> PowerState:
        """See `Hypervisor.start`."""
        if self._delay:
            await self._sleep(self._delay)
        running = self.host.guests.get(guest.server_id)
        if running in {PowerState.RUNNING, PowerState.PAUSED}:
            return running
        self._trip("start", guest.server_id)
        with files.console_log.open("a") as console:
            console.write(
                f"floe: fake guest {guest.name} starts\n"
                f"floe: {guest.vcpus} vCPUs, {guest.memory_mib} MiB of memory, {len(guest.nics)} network cards\n"
                "floe: nothing runs in here\n"
                f"\n{guest.metadata.hostname} login: "
            )
        self.host.nics[guest.server_id] = {nic.port_id for nic in guest.nics}
        if boots > 1:
            self.host.boots[guest.server_id] = boots
        self.change(guest.server_id, PowerState.RUNNING)
        return PowerState.RUNNING

    async def find(self, server_id: str) -> Found | None:
        """See `Hypervisor.find`."""
        self._trip("find", server_id)
        state = self.host.guests.get(server_id)
        if state is None:
            return None
        return Found(power_state=state, boots=0 if state.off else self.host.boots.get(server_id, 1))

    async def shut_down(self, server_id: str) -> None:
        """See `Hypervisor.shut_down`."""
        self._trip("shut_down", server_id)
        if self.host.guests[server_id] is PowerState.RUNNING and server_id not in self.host.deaf:
            self.change(server_id, PowerState.SHUTDOWN)

    async def end(self, server_id: str) -> None:
        """See `Hypervisor.end`."""
        self._trip("end", server_id)
        if not self.host.guests[server_id].off:
            self.change(server_id, PowerState.SHUTDOWN)

    async def pause(self, server_id: str) -> None:
        """See `Hypervisor.pause`."""
        await self._turn("pause", server_id, PowerState.RUNNING, PowerState.PAUSED)

    async def unpause(self, server_id: str) -> None:
        """See `Hypervisor.unpause`."""
        await self._turn("unpause", server_id, PowerState.PAUSED, PowerState.RUNNING)

    async def suspend(self, server_id: str) -> None:
        """See `Hypervisor.suspend`."""
        await self._turn("suspend", server_id, PowerState.RUNNING, PowerState.SUSPENDED)

    async def resume(self, guest: GuestSpec, files: GuestFiles) -> None:
        """See `Hypervisor.resume`."""
        await self._turn("resume", guest.server_id, PowerState.SUSPENDED, PowerState.RUNNING)

    async def _turn(self, operation: str, server_id: str, before: PowerState, after: PowerState) -> None:
        self._trip(operation, server_id)
        state = self.host.guests.get(server_id, PowerState.NOSTATE)
        if state is after:
            return
        if state is not before:
            raise HostFailure(f"The guest is {state.name.lower()}: it cannot {operation}.", stage="guest")
        self.change(server_id, after)

    async def attach_nic(self, guest: GuestSpec, nic: Nic) -> None:
        """See `Hypervisor.attach_nic`."""
        self._trip("attach_nic", guest.server_id)
        if self._is_on(guest.server_id):
            self.host.nics.setdefault(guest.server_id, set()).add(nic.port_id)

    async def detach_nic(self, server_id: str, nic: Nic, *, ask: bool = True) -> bool:
        """See `Hypervisor.detach_nic`."""
        self._trip("detach_nic", server_id)
        there = self.host.nics.get(server_id, set())
        if not self._is_on(server_id):
            return True
        if ask and server_id not in self.host.deaf:
            there.discard(nic.port_id)
        return nic.port_id not in there

    async def addresses(self, guest: GuestSpec) -> Mapping[str, str]:
        """See `Hypervisor.addresses`: the first slots of a bus, in order."""
        self._trip("addresses", guest.server_id)
        names = [disk.device for disk in guest.disks if disk.bus == DISK_BUSES[0]] + [nic.device for nic in guest.nics]
        return {name: f"0000:00:{slot:02x}.0" for slot, name in enumerate(names, 3)}

    async def addresses_at_start(self, guest: GuestSpec, files: GuestFiles) -> Mapping[str, str]:
        """See `Hypervisor.addresses_at_start`."""
        return await self.addresses(guest)

    async def copy_disk(
        self, guest: GuestSpec, disk: Overlay | Blank, files: GuestFiles, copy: Path, *, quiesce: bool | None
    ) -> None:
        """See `Hypervisor.copy_disk`: an empty disk of the right size, then what the guest's own begins with."""
        self._trip("copy_disk", guest.server_id)
        if quiesce and guest.server_id in self.host.deaf:
            raise HostFailure("The guest's agent did not answer, so it cannot be quiesced.", stage="snapshot")
        with files.disks[disk.role].open("rb") as file:
            own = file.read(MIB)
        copy.write_bytes(empty_disk(disk.size_mib * MIB or guest.image.virtual_size or MIB) + own)  # noqa: ASYNC240

    async def end_copy(self, server_id: str, copy: Path) -> None:
        """See `Hypervisor.end_copy`; it is never under way for long."""
        self._trip("end_copy", server_id)

    def _is_on(self, server_id: str) -> bool:
        """Say whether a guest has NICs of its own: those of a suspended one are on the disk with its memory."""
        return self.host.guests.get(server_id) in {PowerState.RUNNING, PowerState.PAUSED}

    async def set_password(self, guest: GuestSpec, user: str, password: str) -> None:
        """See `Hypervisor.set_password`; it is kept in memory."""
        self._trip("set_password", guest.server_id)
        self._check_runs(guest.server_id)
        if guest.server_id in self.host.deaf:
            raise HostFailure("No guest agent answers in this guest.", stage="guest", cause=NotSupported.kind)
        self.host.passwords[guest.server_id] = user, password

    async def diagnostics(self, guest: GuestSpec) -> Diagnostics:
        """See `Hypervisor.diagnostics`; nothing runs in there, so nothing is used."""
        self._trip("diagnostics", guest.server_id)
        self._check_runs(guest.server_id)
        nothing = {f"{way}_{what}": 0 for way in ("rx", "tx") for what in ("bytes", "packets", "errors", "drops")}
        unread = {"read_requests": 0, "read_bytes": 0, "write_requests": 0, "write_bytes": 0, "errors": 0}
        return Diagnostics(
            cpus=(0,) * guest.vcpus,
            disks=tuple(DiskUse(device=f"disk{index}", **unread) for index in range(len(guest.disks))),
            nics=tuple(NicUse(device=nic.device, mac=nic.mac, **nothing) for nic in guest.nics),
            memory_max=guest.memory_mib * 1024,
            memory_used=guest.memory_mib * 1024,
        )

    def _check_runs(self, server_id: str) -> None:
        if self.host.guests.get(server_id) is not PowerState.RUNNING:
            raise HostFailure("The guest does not run.", stage="guest", cause=Conflict.kind)

    async def interrupt(self, server_id: str) -> None:
        """See `Hypervisor.interrupt`; it is counted."""
        self._trip("interrupt", server_id)
        if self.host.guests.get(server_id, PowerState.NOSTATE).off:
            raise HostFailure("The guest is off: it cannot be interrupted.", stage="guest")
        self.host.interrupts[server_id] = self.host.interrupts.get(server_id, 0) + 1

    async def destroy(self, server_id: str, guest_name: str) -> bool:
        """See `Hypervisor.destroy`."""
        self._trip("destroy", server_id)
        if server_id in self.host.foreign:
            raise HostFailure(
                f"The guest {guest_name} was not made by this cloud, so it was left alone.", stage="guest"
            )
        self.host.boots.pop(server_id, None)
        self.host.nics.pop(server_id, None)
        self.host.passwords.pop(server_id, None)
        return self.host.guests.pop(server_id, None) is not None

    async def guests(self) -> list[GuestState]:
        """See `Hypervisor.guests`."""
        self._trip("guests")
        return [GuestState(server_id=server_id, power_state=state) for server_id, state in self.host.guests.items()]

    def change(self, server_id: str, state: PowerState) -> None:
        """Let a guest's power state become `state`, as if it had done so by itself."""
        self.host.guests[server_id] = state
        if self._on_change is not None:
            self._on_change(GuestState(server_id=server_id, power_state=state))

    def _trip(self, operation: str, server_id: str = "") -> None:
        faults = self.host.faults.get(operation)
        if faults:
            fault = faults.popleft()
            if fault is not None:
                raise fault
        if self.host.recording:
            self.host.calls.append((operation, server_id))
