"""A hypervisor in memory: for trials without guests, for tests, for simulations."""

from __future__ import annotations

import asyncio
import os
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path

from floe.core.disks import MIB, Blank, Overlay
from floe.core.errors import HostFailure
from floe.core.guests import GuestSpec, GuestState, PowerState
from floe.core.resources import Inventory
from floe.hypervisors.protocol import GuestFiles, HypervisorFacts

Sleep = Callable[[float], Awaitable[None]]

_HEAD = struct.Struct(">4sIQI")
OPERATIONS = ("open", "adopt_image", "create_overlay", "create_blank", "start", "destroy", "guests")


class KeptGuests(MutableMapping[str, PowerState]):
    """Guests and their power states, in memory and each in the name of an empty file of `folder`: they outlive the
    process, and thousands of them are read by listing the folder.

    Nothing is synced: when the power fails, guests that exist in memory alone are gone anyway.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._guests: dict[str, PowerState] = {}
        for name in sorted(os.listdir(folder)):  # noqa: PTH208  # names alone, of thousands
            server_id, _, number = name.partition(".")
            if number:
                self._guests[server_id] = PowerState(int(number))
            else:
                self._take_over(folder / name)

    def _take_over(self, file: Path) -> None:
        """Take a guest over from an earlier release, which wrote the state into the file."""
        text = file.read_text()
        file.unlink()
        if text.isdecimal():  # else the process died while it wrote it, so the guest had not started
            self[file.name] = PowerState(int(text))

    def __getitem__(self, server_id: str) -> PowerState:
        return self._guests[server_id]

    def __setitem__(self, server_id: str, state: PowerState) -> None:
        before = self._guests.get(server_id)
        if before is None:
            self._file(server_id, state).touch()
        else:
            self._file(server_id, before).rename(self._file(server_id, state))
        self._guests[server_id] = state

    def __delitem__(self, server_id: str) -> None:
        self._file(server_id, self._guests.pop(server_id)).unlink(missing_ok=True)

    def __iter__(self) -> Iterator[str]:
        return iter(self._guests)

    def __len__(self) -> int:
        return len(self._guests)

    def _file(self, server_id: str, state: PowerState) -> Path:
        return self._folder / f"{server_id}.{int(state)}"


def overlay_head(base: Path) -> bytes:
    """Return the head of a qcow2 file, up to the name of the file that it stands on."""
    name = str(base).encode(errors="surrogateescape")
    return _HEAD.pack(b"QFI\xfb", 3, _HEAD.size, len(name)) + name


@dataclass(slots=True)
class FakeHost:
    """What outlives the driver, as a real machine outlives a process: its guests, and the faults to come.

    `foreign` are guests of somebody else, which the driver must neither show nor touch.
    """

    guests: MutableMapping[str, PowerState] = field(default_factory=dict)
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
        traits: tuple[str, ...] = ("HW_ARCH_X86_64", "COMPUTE_IMAGE_TYPE_QCOW2", "COMPUTE_IMAGE_TYPE_RAW"),
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

    async def open(self, on_change: Callable[[GuestState], None]) -> HypervisorFacts:
        """See `Hypervisor.open`."""
        self._trip("open")
        self._on_change = on_change
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

    async def start(self, guest: GuestSpec, files: GuestFiles) -> PowerState:
        """See `Hypervisor.start`."""
        if self._delay:
            await self._sleep(self._delay)
        if self.host.guests.get(guest.server_id) is PowerState.RUNNING:
            return PowerState.RUNNING
        self._trip("start", guest.server_id)
        with files.console_log.open("a") as console:
            console.write(
                f"floe: fake guest {guest.name} starts\n"
                f"floe: {guest.vcpus} vCPUs, {guest.memory_mib} MiB of memory, {len(guest.nics)} network cards\n"
                "floe: nothing runs in here\n"
                f"\n{guest.metadata.hostname} login: "
            )
        self.change(guest.server_id, PowerState.RUNNING)
        return PowerState.RUNNING

    async def destroy(self, server_id: str, guest_name: str) -> bool:
        """See `Hypervisor.destroy`."""
        self._trip("destroy", server_id)
        if server_id in self.host.foreign:
            raise HostFailure(
                f"The guest {guest_name} was not made by this cloud, so it was left alone.", stage="guest"
            )
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
