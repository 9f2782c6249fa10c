"""What a hypervisor driver does for the agent of its host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from floe.core.disks import Blank, Overlay
from floe.core.guest_questions import Diagnostics
from floe.core.guests import GuestSpec, GuestState, PowerState
from floe.core.nics import Nic
from floe.core.resources import Inventory

IMAGES = "images"
"""The folder in a guest's own, closed to others, for what it only reads and shares with some: base, kernel, ramdisk."""


class HypervisorFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a hypervisor is and has. `version` is the number libvirt gives (major*1000000 + minor*1000 + micro)."""

    type: str
    version: int
    inventories: tuple[Inventory, ...]
    traits: tuple[str, ...] = ()
    cpu_info: dict[str, str] | None = None


class GuestFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Where a guest's own files are: made by the agent before `start`, removed by it after `destroy`."""

    directory: Path
    disks: Mapping[str, Path]
    """By role."""
    bases: Mapping[str, Path]
    """By the role of a disk that stands on an image: that image, as the guest reaches it."""
    kernel: Path | None = None
    ramdisk: Path | None = None
    console_log: Path
    variables: Path
    """Of its firmware, where that keeps any: made by the hypervisor at the first start."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest is doing, and since which boot: 0 of one that is off."""

    power_state: PowerState
    boots: int = 0


class Hypervisor(Protocol):
    """Runs guests. Shipped: `hypervisors.libvirt.driver.LibvirtHypervisor`, `hypervisors.fake.FakeHypervisor`.

    Every call may be repeated. Blocking work never runs on the event loop. All errors are `HostFailure` with
    a text a user understands and a `detail` for administrators.
    """

    async def open(
        self, on_change: Callable[[GuestState], None], on_speak: Callable[[str], None] = lambda _server_id: None
    ) -> HypervisorFacts:
        """Connect; from now on call `on_change` in the event loop for each change of a guest's power state.

        Call `on_speak` with the server of each guest in which an agent begins to speak; that may be missed.
        """
        ...

    async def close(self) -> None:
        """Disconnect; guests go on running."""
        ...

    async def facts(self) -> HypervisorFacts:
        """Return what the host has now."""
        ...

    async def adopt_image(self, path: Path, disk_format: str) -> str:
        """Check a fetched image before it becomes a base, convert it in place where need be, return its format now.

        Raises HostFailure with stage `image` for one that is broken, refers to other files or cannot be booted.
        """
        ...

    async def create_overlay(self, guest: GuestSpec, disk: Overlay, files: GuestFiles, base_format: str) -> None:
        """Make a disk on top of its base; one that is there stays as it is."""
        ...

    async def create_blank(self, guest: GuestSpec, disk: Blank, files: GuestFiles) -> None:
        """Make an empty disk; one that is there stays as it is."""
        ...

    async def clone_disk(self, guest: GuestSpec, disk: Overlay | Blank, files: GuestFiles, source: Path) -> None:
        """Make a disk a copy of the file `source`, of the same kind, and grow it to its size; the guest is off.

        One that is there stays as it is, and so does what the source stands on.
        """
        ...

    async def unpack_disk(self, guest: GuestSpec, disk: Blank, files: GuestFiles, source: Path) -> None:
        """Make a disk what a copy of one was, a qcow2 file in the guest's folder of images, and grow it to its size.

        One that is there stays as it is. Raises HostFailure for a copy that is larger.
        """
        ...

    async def start(self, guest: GuestSpec, files: GuestFiles, boots: int = 1) -> PowerState:
        """Define the guest and start it as that boot; the taps of its ports are there.

        A guest that runs stays as it is, and one that is suspended begins anew.
        """
        ...

    async def find(self, server_id: str) -> Found | None:
        """Return what a guest is doing now, None if there is none."""
        ...

    async def shut_down(self, server_id: str) -> None:
        """Ask a guest to shut down by itself, as a power button does: it may not listen. Does not wait for it."""
        ...

    async def end(self, server_id: str) -> None:
        """Turn a guest off at once, and forget memory of it that was kept; its definition and files stay."""
        ...

    async def pause(self, server_id: str) -> None:
        """Let a guest that runs stand still, in its memory."""
        ...

    async def unpause(self, server_id: str) -> None:
        """Let a guest that stands still go on."""
        ...

    async def suspend(self, server_id: str) -> None:
        """Write the memory of a guest that runs to the disk, and turn it off."""
        ...

    async def resume(self, guest: GuestSpec, files: GuestFiles) -> None:
        """Let a suspended guest go on where it was."""
        ...

    async def attach_nic(self, guest: GuestSpec, nic: Nic) -> None:
        """Have a guest that is on have a NIC, whose tap is there; one that is off, or gone, gets it at its start."""
        ...

    async def detach_nic(self, server_id: str, nic: Nic, *, ask: bool = True) -> bool:
        """Ask a guest to let go of a NIC, without waiting for it; True once it has none such, as one that is off."""
        ...

    async def addresses(self, guest: GuestSpec) -> Mapping[str, str]:
        """Return the PCI addresses that devices of a guest have, by the names of disks and taps, as Linux writes them.

        Disks on other buses have none, nor has anything of a guest that the hypervisor does not know.
        """
        ...

    async def addresses_at_start(self, guest: GuestSpec, files: GuestFiles) -> Mapping[str, str]:
        """Return those that they will have once it is started; its files need not be there."""
        ...

    async def set_password(self, guest: GuestSpec, user: str, password: str) -> None:
        """Have the agent in a guest that is on set a user's password; how long it takes is bounded.

        Raises HostFailure: with cause `not_supported` where no agent speaks, `conflict` where it is off or refuses.
        """
        ...

    async def diagnostics(self, guest: GuestSpec) -> Diagnostics:
        """Return what a guest that runs has used. Raises HostFailure with cause `conflict` for one that does not."""
        ...

    async def copy_disk(
        self, guest: GuestSpec, disk: Overlay | Blank, files: GuestFiles, copy: Path, *, quiesce: bool | None
    ) -> None:
        """Copy a guest's disk as it is now to a qcow2 file that stands on no other; a guest that runs goes on.

        With `quiesce` a guest that runs writes out its file systems first; where it cannot, that is a failure, unless
        it is None. What a copy that fails leaves, `end_copy` takes away.
        """
        ...

    async def end_copy(self, server_id: str, copy: Path) -> None:
        """Break off a copy that is under way, whoever began it, and let a guest write again; the file stays."""
        ...

    async def interrupt(self, server_id: str) -> None:
        """Send a guest that is on a non-maskable interrupt: what it does about it is its own affair."""
        ...

    async def destroy(self, server_id: str, guest_name: str) -> bool:
        """End the guest at once and forget it; False if there was none. Its files are left alone."""
        ...

    async def guests(self) -> list[GuestState]:
        """Return the guests that are Floe's, running or not; foreign ones are left out."""
        ...
