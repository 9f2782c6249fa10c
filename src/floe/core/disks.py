"""The disks of a server: one kind each, the same in the database, in what a host is told, and at its hypervisor.

A further kind is one more member of `Disk`: see `docs/howto/add-a-disk-kind.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from string import ascii_lowercase
from typing import Literal, TypeAlias, TypeGuard, get_args

import msgspec
from msgspec import structs

from floe.core.errors import Invalid

FileSystem: TypeAlias = Literal["ext4", "ext3", "ext2", "vfat", "swap"]
DISK_BUSES = ("virtio", "scsi", "ide", "sata", "usb")
"""What an image may ask for; the first one is the default."""
ROOT, EPHEMERAL, SWAP, CONFIG, RESCUE = "root", "ephemeral0", "swap", "config", "rescue"
"""Roles: a server has at most one disk of each; the ephemeral ones that follow are `ephemeral1`, and so on."""
MIB_PER_GIB = 1024
MOST_PER_SECOND = 10**15
"""Bytes or operations that the limit of a disk may be."""
MIB = 1024**2
"""Bytes."""

FILE_SYSTEMS: tuple[FileSystem, ...] = get_args(FileSystem)
"""What an empty disk may have; the first one is the default."""
SWAPPING: FileSystem = "swap"
ON_IDE = ("hda", "hdb", "hdc")
"""The disks that a machine has room for on that bus; the fourth is a CD."""

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
    filesystem: FileSystem
    label: str = ""
    make: int = 0
    device_tag: str = ""


class BlankCd(Blank, frozen=True, kw_only=True, tag="blank-cd"):
    """The same as a CD, to which the guest cannot write."""


class ConfigDrive(msgspec.Struct, frozen=True, kw_only=True, tag="config-drive"):
    """A CD with what the guest may read about itself."""

    role: str
    device: str
    bus: str
    boot_index: int | None = None
    make: int = 0


Disk: TypeAlias = Overlay | Blank | ConfigDrive | OverlayCd | BlankCd


def local_disks(
    properties: Mapping[str, str],
    *,
    image_id: str,
    root_mib: int,
    ephemeral_mib: int = 0,
    swap_mib: int = 0,
    config_drive: bool = False,
) -> tuple[Disk, ...]:
    """Return the disks of a server of which nothing is asked, and which boots from an image of these properties."""
    blanks = blank(EPHEMERAL, ephemeral_mib), blank(SWAP, swap_mib, SWAPPING)
    wanted: list[Disk] = [root_of(image_id, root_mib), *(disk for disk in blanks if disk.size_mib)]
    return placed(wanted, properties, config_drive=config_drive)


def root_of(image_id: str, size_mib: int, bus: str = "", device_tag: str = "") -> Overlay:
    """Return the root disk of a server before it has a place."""
    return Overlay(
        role=ROOT, device="", bus=bus, boot_index=0, size_mib=size_mib, image_id=image_id, device_tag=device_tag
    )


def blank(
    role: str,
    size_mib: int,
    filesystem: FileSystem = FILE_SYSTEMS[0],
    bus: str = "",
    device_tag: str = "",
    kind: type[Blank] = Blank,
) -> Blank:
    """Return an empty disk before it has a place; all but one for swapping are labelled by their role."""
    label = "" if filesystem == SWAPPING else role
    return kind(
        role=role, device="", bus=bus, size_mib=size_mib, filesystem=filesystem, label=label, device_tag=device_tag
    )


def placed(disks: Iterable[Disk], properties: Mapping[str, str], *, config_drive: bool) -> tuple[Disk, ...]:
    """Return disks with the names that they get in this order, those without a bus on that of an image's properties.

    Any config drive is the image's. Raises Invalid for a bus that the machine does not have, or has no room on.
    """
    drive = drive_of(properties)
    names = {_prefix(bus): (name for name in device_names(bus) if name != drive.device) for bus in DISK_BUSES}
    found: list[Disk] = []
    for disk in disks:
        if isinstance(disk, ConfigDrive):
            continue
        bus = disk.bus or _bus_of(disk, properties)
        device = next(names[_prefix(bus)])
        if bus == "ide" and (properties.get("hw_machine_type") == "q35" or device not in ON_IDE):
            raise Invalid(
                f"The bus ide has no room for the {disk.role} disk: a machine of type pc has {len(ON_IDE)} places "
                "there besides a config drive, and one of type q35 has none."
            )
        found.append(structs.replace(disk, device=device, bus=bus))
    return (*found, drive) if config_drive else tuple(found)


def displaced(disks: Iterable[Disk], properties: Mapping[str, str]) -> Iterator[Disk]:
    """Give disks without those buses that they are on because an image of these properties has it."""
    for disk in disks:
        yield structs.replace(disk, device="", bus="" if disk.bus == _bus_of(disk, properties) else disk.bus)


def _bus_of(disk: Disk, properties: Mapping[str, str]) -> str:
    """Return the bus that a disk of a guest made of an image of these properties is on, unless asked for otherwise."""
    if isinstance(disk, OverlayCd | BlankCd | ConfigDrive):
        return cdrom_bus(properties)
    return properties.get("hw_disk_bus") or DISK_BUSES[0]


def is_ephemeral(disk: Disk) -> TypeGuard[Blank]:
    """Say whether a disk is one for files that do not travel."""
    return isinstance(disk, Blank) and disk.filesystem != SWAPPING


def drive_of(properties: Mapping[str, str]) -> ConfigDrive:
    """Return the config drive of a guest made of an image of these properties."""
    bus = cdrom_bus(properties)
    return ConfigDrive(role=CONFIG, device=f"{_prefix(bus)}d", bus=bus)


def cdrom_bus(properties: Mapping[str, str]) -> str:
    """Return the bus that the CD drives of a guest made of an image of these properties are on."""
    # Debian's cloud kernel has no AHCI: a SATA CD-ROM would be invisible to it, an IDE one is not.
    return properties.get("hw_cdrom_bus") or ("sata" if properties.get("hw_machine_type") == "q35" else "ide")


def device_names(bus: str) -> Iterator[str]:
    """Yield the names that disks on a bus have, as Linux gives them: `vda` to `vdz`, then `vdaa`."""
    prefix = _prefix(bus)
    for length in (1, 2):
        for letters in product(ascii_lowercase, repeat=length):
            yield prefix + "".join(letters)


def tag_of(disk: Disk) -> str:
    """Return what the user of a guest calls a disk, "" where nobody calls it anything."""
    tag: str = getattr(disk, "device_tag", "")  # kinds that no user asks for have none
    return tag


def _prefix(bus: str) -> str:
    return _PREFIXES.get(bus, _PREFIX)


def root_device(disks: Sequence[Disk]) -> str:
    """Return the path of a server's root disk."""
    return f"/dev/{told_to_guests(disks)[ROOT]}"


def told_to_guests(disks: Sequence[Disk]) -> dict[str, str]:
    """Return the names of a guest's disks by role, but that of the drive on which it is told."""
    return {disk.role: disk.device for disk in disks if not isinstance(disk, ConfigDrive)}
