"""The disks of a server: one kind each, the same in the database, in what a host is told, and at its hypervisor.

A further kind is one more member of `Disk`: see `docs/howto/add-a-disk-kind.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from string import ascii_lowercase
from typing import Literal, TypeAlias

import msgspec
from msgspec import structs

DISK_BUSES = ("virtio", "scsi", "ide", "sata", "usb")
"""What an image may ask for; the first one is the default."""
ROOT, EPHEMERAL, SWAP, CONFIG, RESCUE = "root", "ephemeral0", "swap", "config", "rescue"
"""Roles: a server has at most one disk of each."""
MIB_PER_GIB = 1024
MOST_PER_SECOND = 10**15
"""Bytes or operations that the limit of a disk may be."""
MIB = 1024**2
"""Bytes."""

_PREFIXES = {"virtio": "vd", "ide": "hd"}
_PREFIX = "sd"


class Overlay(msgspec.Struct, frozen=True, kw_only=True, tag="overlay"):
    """A disk of its own on top of an image, which it leaves as it is. `size_mib` 0 means the image's own size."""

    role: str
    device: str
    """What the guest is likely to call it: `vda`."""
    bus: str
    boot_index: int | None = None
    """Where it comes in the order in which the firmware tries to boot; None: it does not."""
    size_mib: int
    image_id: str
    make: int = 0
    """Which make of the disk it is: one that is made anew has a greater number, and a file of its own."""
    base_make: int | None = None
    """Which make of its image's file it stands on, where it was copied from a disk of another make."""
    device_tag: str = ""
    """What its user calls it, which the guest is told with where it is."""

    @property
    def stands_on(self) -> int:
        """The make of the file of its image."""
        return self.make if self.base_make is None else self.base_make


class OverlayCd(Overlay, frozen=True, kw_only=True, tag="overlay-cd"):
    """The same as a CD, to which the guest cannot write."""


class Blank(msgspec.Struct, frozen=True, kw_only=True, tag="blank"):
    """An empty disk with a file system, or made for swapping."""

    role: str
    device: str
    bus: str
    boot_index: int | None = None
    size_mib: int
    filesystem: Literal["ext4", "swap"]
    label: str = ""
    make: int = 0
    device_tag: str = ""


class ConfigDrive(msgspec.Struct, frozen=True, kw_only=True, tag="config-drive"):
    """A CD with what the guest may read about itself."""

    role: str
    device: str
    bus: str
    boot_index: int | None = None
    make: int = 0


Disk: TypeAlias = Overlay | Blank | ConfigDrive | OverlayCd


def local_disks(
    properties: Mapping[str, str],
    *,
    image_id: str,
    root_mib: int,
    ephemeral_mib: int = 0,
    swap_mib: int = 0,
    config_drive: bool = False,
) -> tuple[Disk, ...]:
    """Return the disks of a server that boots from an image of these properties, in the order of their names."""
    bus = properties.get("hw_disk_bus") or DISK_BUSES[0]
    names = device_names(bus)
    found: list[Disk] = [
        Overlay(role=ROOT, device=next(names), bus=bus, boot_index=0, size_mib=root_mib, image_id=image_id)
    ]
    if ephemeral_mib:
        found.append(
            Blank(
                role=EPHEMERAL, device=next(names), bus=bus, size_mib=ephemeral_mib, filesystem="ext4", label=EPHEMERAL
            )
        )
    if swap_mib:
        found.append(Blank(role=SWAP, device=next(names), bus=bus, size_mib=swap_mib, filesystem="swap"))
    if config_drive:
        found.append(drive_of(properties))
    return tuple(found)


def drive_of(properties: Mapping[str, str]) -> ConfigDrive:
    """Return the config drive of a guest made of an image of these properties."""
    bus = cdrom_bus(properties)
    return ConfigDrive(role=CONFIG, device=f"{_PREFIXES.get(bus, _PREFIX)}d", bus=bus)


def cdrom_bus(properties: Mapping[str, str]) -> str:
    """Return the bus that the CD drives of a guest made of an image of these properties are on."""
    # Debian's cloud kernel has no AHCI: a SATA CD-ROM would be invisible to it, an IDE one is not.
    return properties.get("hw_cdrom_bus") or ("sata" if properties.get("hw_machine_type") == "q35" else "ide")


def device_names(bus: str) -> Iterator[str]:
    """Yield the names that disks on a bus have, as Linux gives them: `vda` to `vdz`, then `vdaa`."""
    prefix = _PREFIXES.get(bus, _PREFIX)
    for length in (1, 2):
        for letters in product(ascii_lowercase, repeat=length):
            yield prefix + "".join(letters)


def tag_of(disk: Disk) -> str:
    """Return what the user of a guest calls a disk, "" where nobody calls it anything."""
    return "" if isinstance(disk, ConfigDrive) else disk.device_tag


def tagged_as(disks: Iterable[Disk], tags: Mapping[str, str]) -> tuple[Disk, ...]:
    """Return disks with these tags, by role; those that there are none for have none."""
    return tuple(
        disk if isinstance(disk, ConfigDrive) else structs.replace(disk, device_tag=tags.get(disk.role, ""))
        for disk in disks
    )


def root_device(disks: Sequence[Disk]) -> str:
    """Return the path of a server's root disk."""
    return f"/dev/{told_to_guests(disks)[ROOT]}"


def told_to_guests(disks: Sequence[Disk]) -> dict[str, str]:
    """Return the names of a guest's disks by role, but that of the drive on which it is told."""
    return {disk.role: disk.device for disk in disks if not isinstance(disk, ConfigDrive)}
