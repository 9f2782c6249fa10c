"""Making a guest's disks: for each kind, what its file is called and the one function that makes it.

A further kind is one more row of `KINDS`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

import msgspec

from floe.agent import config_drive
from floe.agent.image_eviction import backing_file
from floe.agent.images import CachedImage
from floe.agent.threads import Offload
from floe.core.disks import CONFIG, EPHEMERAL, RESCUE, ROOT, Blank, BlankCd, ConfigDrive, Disk, Overlay, OverlayCd
from floe.core.errors import HostFailure
from floe.core.guests import GuestImage, GuestSpec
from floe.hypervisors.protocol import IMAGES, GuestFiles, Hypervisor

_ROLE = re.compile(r"[a-z][a-z0-9-]{0,30}")
_STEMS = {ROOT: "disk", EPHEMERAL: "ephemeral", CONFIG: "config"}
_BASES = {ROOT: "base"}
VARIABLES = "fd"
"""The ending of files with the variables of firmware."""
"""What the files of guests that run already are called, where that is not the role."""


class Workshop(msgspec.Struct, frozen=True, kw_only=True):
    """What the makers of one guest's disks work with."""

    guest: GuestSpec
    files: GuestFiles
    hypervisor: Hypervisor
    offload: Offload
    bases: Mapping[str, CachedImage]
    """By role, the images that disks stand on; they are where `files.bases` says already."""
    documents: Callable[[], Awaitable[dict[str, bytes]]]
    """What a config drive holds."""


Make: TypeAlias = Callable[[Any, Workshop], Awaitable[None]]
Remove: TypeAlias = Callable[[Path], Awaitable[None]]


class Kind(msgspec.Struct, frozen=True):
    """A kind of disk: the ending of its file, and what makes it; a disk that is there already stays as it is.

    What is in the guest's folder is removed with that. What a kind has anywhere else, `remove` takes away, given the
    folder while it is still there: only what is kept in it is known after a crash. It may be called again.
    """

    ending: str
    make: Make
    remove: Remove | None = None


async def _overlay(disk: Overlay, at: Workshop) -> None:
    await at.hypervisor.create_overlay(at.guest, disk, at.files, at.bases[disk.role].disk_format)


async def _blank(disk: Blank, at: Workshop) -> None:
    await at.hypervisor.create_blank(at.guest, disk, at.files)


async def _config_drive(disk: ConfigDrive, at: Workshop) -> None:
    path = at.files.disks[disk.role]
    if not path.exists():  # one stat
        await at.offload(config_drive.write, path, await at.documents())


KINDS: Mapping[type, Kind] = {
    Overlay: Kind("qcow2", _overlay),
    OverlayCd: Kind("qcow2", _overlay),
    Blank: Kind("raw", _blank),
    BlankCd: Kind("raw", _blank),
    ConfigDrive: Kind("iso", _config_drive),
}


def paths(disks: tuple[Disk, ...], folder: Path, kinds: Mapping[type, Kind]) -> dict[str, Path]:
    """Return where the disks of a guest are, by role. Raises HostFailure for a role that can name no file."""
    found = {}
    for disk in disks:
        if not _ROLE.fullmatch(disk.role) or disk.role in found:
            raise HostFailure(f"{disk.role[:80]!r} cannot be the role of a disk, or is that of two.", stage="disk")
        found[disk.role] = folder / f"{_STEMS.get(disk.role, disk.role)}{_made(disk.make)}.{kinds[type(disk)].ending}"
    return found


def bases(disks: tuple[Disk, ...], folder: Path) -> dict[str, Path]:
    """Return where the images are that disks of a guest stand on, by role."""
    # AppArmor's profile for libvirt's reader of images knows the ending.
    stands = (disk for disk in disks if isinstance(disk, Overlay))
    return {
        disk.role: folder / IMAGES / f"{_BASES.get(disk.role, disk.role)}{_made(disk.stands_on)}.img" for disk in stands
    }


def boot_file(disks: tuple[Disk, ...], folder: Path, what: str) -> Path:
    """Return where the kernel or the ramdisk of a guest is, of one make with the image of the disk it boots from."""
    stand = [disk for disk in disks if isinstance(disk, Overlay)]
    booted = sorted(stand, key=lambda disk: disk.role != RESCUE)[:1]
    return folder / IMAGES / f"{what}{''.join(_made(disk.stands_on) for disk in booted)}"


def variables(disks: tuple[Disk, ...], folder: Path) -> Path:
    """Return where the variables of a guest's firmware are: those of one make of its root disk say how to boot that."""
    made = next((_made(disk.make) for disk in disks if isinstance(disk, Overlay)), "")
    return folder / f"variables{made}.{VARIABLES}"


def _made(make: int) -> str:
    """Return what the file of a make of a disk has in its name: the first has nothing, as ever."""
    return f"-{make}" if make else ""


def all_files(files: GuestFiles) -> frozenset[Path]:
    """Return the files that a guest's disks are made of."""
    boots = (file for file in (files.kernel, files.ramdisk) if file is not None)
    return frozenset((*files.disks.values(), *files.bases.values(), *boots))


def own_files(files: GuestFiles) -> frozenset[Path]:
    """Return the files that a guest may have of its make: its disks' too, and one that not every guest has."""
    return all_files(files) | {files.variables}


def needed(files: GuestFiles) -> Iterator[tuple[str, Path]]:
    """Give what a guest is started from, by the name that its user knows, and the file of each."""
    for role, path in files.disks.items():
        yield f"The {role} disk of the guest", path
    for role, base in files.bases.items():
        if base.exists() or not _stands_elsewhere(files.disks[role]):
            yield f"The image that the {role} disk of the guest stands on", base
    for what, file in (("kernel", files.kernel), ("ramdisk", files.ramdisk)):
        if file is not None:
            yield f"The {what} of the guest", file


def _stands_elsewhere(disk: Path) -> bool:
    """Say whether a disk of an earlier release stands on an image in the cache, and that is there."""
    try:
        base = backing_file(disk)
        return base is not None and base.exists()
    except (OSError, ValueError):  # the guest may have written this name
        return False


def is_copied(disk: Disk) -> TypeGuard[Overlay | Blank]:
    """Say whether what is on a disk is kept where the guest gets another size: not what it swapped, nor was told."""
    return isinstance(disk, Overlay) or (isinstance(disk, Blank) and disk.filesystem != "swap")


def image_of(guest: GuestSpec, disk: Overlay) -> GuestImage:
    """Return the image that a disk of a guest stands on. Raises HostFailure for one that its spec does not bring."""
    image = guest.image_of(disk)
    if disk.image_id != image.image_id:
        raise HostFailure(
            f"Disk {disk.role} stands on image {disk.image_id}, and the guest was given {image.image_id} alone.",
            stage="image",
        )
    return image
