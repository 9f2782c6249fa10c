"""Rescue: a guest that boots another disk than its own, with its own beside it.

The machine is the rescue image's, with the rescue disk as its first; or, where the image asks for a place of its own
(`hw_rescue_device`, `hw_rescue_bus`), it stays the server's, with one disk more that is booted: a stable rescue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import structs

from floe.core.disks import (
    DISK_BUSES,
    RESCUE,
    ROOT,
    ConfigDrive,
    Disk,
    Overlay,
    OverlayCd,
    cdrom_bus,
    device_names,
    drive_of,
    placed,
)
from floe.core.errors import Invalid
from floe.core.guests import MadeOf

DISK, CDROM = "disk", "cdrom"
RESCUE_DEVICES = (DISK, CDROM)
_ON_IDE = 4
"""What a machine has room for on that bus."""


class Rescue(msgspec.Struct, frozen=True, kw_only=True):
    """What a server is rescued with; `make` is that of the rescue disk, and of the config drive meanwhile."""

    made_of: MadeOf
    make: int = 0

    @property
    def image_id(self) -> str:
        """The image that is booted."""
        return self.made_of.image.image_id

    @property
    def properties(self) -> Mapping[str, str]:
        """Those of the image."""
        return self.made_of.image.properties

    @property
    def stable(self) -> bool:
        """Whether the server's own disks stay where they are."""
        return bool(self.properties.get("hw_rescue_device") or self.properties.get("hw_rescue_bus"))


def rescue_disks(disks: Sequence[Disk], rescue: Rescue) -> tuple[Disk, ...]:
    """Return the disks that a server has while it is rescued. Raises Invalid where a bus has no room for them."""
    found = tuple(_stable(disks, rescue) if rescue.stable else _first(disks, rescue))
    for disk in found:
        if disk.bus == "ide" and ord(disk.device[-1]) - ord("a") >= _ON_IDE:
            raise Invalid(f"The bus ide has no room for the {disk.role} disk of a server that is rescued so.")
    return found


def _stable(disks: Sequence[Disk], rescue: Rescue) -> Iterator[Disk]:
    used = {disk.device for disk in disks}
    for disk in disks:
        yield _told_anew(disk, rescue) if isinstance(disk, ConfigDrive) else structs.replace(disk, boot_index=None)
    bus = rescue_bus(rescue.properties)
    yield _rescue_disk(disks, rescue, next(name for name in device_names(bus) if name not in used), bus)


def _first(disks: Sequence[Disk], rescue: Rescue) -> Iterator[Disk]:
    own = (structs.replace(disk, bus="", boot_index=None) for disk in disks)
    yield from placed([_rescue_disk(disks, rescue, "", ""), *own], rescue.properties, config_drive=False)
    if any(isinstance(disk, ConfigDrive) for disk in disks):
        yield _told_anew(drive_of(rescue.properties), rescue)


def _rescue_disk(disks: Sequence[Disk], rescue: Rescue, device: str, bus: str) -> Disk:
    """Return the disk that is booted: as large as the root disk, or a CD that holds the image."""
    image_id = rescue.image_id
    if rescue.properties.get("hw_rescue_device") == CDROM:
        return OverlayCd(
            role=RESCUE, device=device, bus=bus, boot_index=0, size_mib=0, image_id=image_id, make=rescue.make
        )
    size = next((disk.size_mib for disk in disks if disk.role == ROOT and isinstance(disk, Overlay)), 0)
    return Overlay(
        role=RESCUE, device=device, bus=bus, boot_index=0, size_mib=size, image_id=image_id, make=rescue.make
    )


def _told_anew(drive: ConfigDrive, rescue: Rescue) -> Disk:
    """Return a config drive with the password of the rescue; the server's own is left as it is."""
    return structs.replace(drive, make=rescue.make)


def rescue_bus(properties: Mapping[str, str]) -> str:
    """Return the bus that the disk of a stable rescue is on."""
    if named := properties.get("hw_rescue_bus"):
        return named
    if properties.get("hw_rescue_device") == CDROM:
        return cdrom_bus(properties)
    return properties.get("hw_disk_bus") or DISK_BUSES[0]


def machine_of(own: Mapping[str, str], rescue: Rescue) -> Mapping[str, str]:
    """Return the properties that the machine of a server has while it is rescued, `own` being those of its image."""
    return own if rescue.stable else rescue.properties
