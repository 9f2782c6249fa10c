"""The disks a create asks for, checked against its image and flavor.

Floe has local disks only: a root disk from an image, blank ones for files, and one of swap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import structs

from floe.core.disks import (
    DISK_BUSES,
    FILE_SYSTEMS,
    MIB_PER_GIB,
    SWAP,
    SWAPPING,
    Blank,
    BlankCd,
    Disk,
    blank,
    placed,
    root_of,
)
from floe.core.errors import Invalid
from floe.core.servers import ServerFlavor

CDROM = "cdrom"
"""A type of device; the others that are taken are disks."""
MOST_LOCAL = 8
"""Local disks that a server may have, its root disk among them."""
MOST_OF_VFAT = 2047
"""GiB: its sectors are counted in 32 bits."""


class BlockDevice(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a create's block devices. `size` is in GiB; `source` is image, blank, volume or snapshot."""

    source: str
    destination: str | None = None
    uuid: str | None = None
    size: int | None = None
    boot_index: int | None = None
    guest_format: str | None = None
    disk_bus: str | None = None
    device_type: str | None = None
    tag: str = ""


def boot_image(devices: Sequence[BlockDevice], image_id: str | None) -> str:
    """Return the image to boot from. Raises Invalid where there is none, or two that differ, or what cannot be done."""
    found = image_id
    booted: list[str] = []
    for index, device in enumerate(devices):
        place = f"block_device_mapping_v2[{index}]"
        _check_kind(device, place)
        if device.source != "image":
            continue
        if device.boot_index != 0 or not device.uuid or (image_id and device.uuid != image_id):
            raise Invalid(
                f"{place}: an image can be mapped to a local disk only as the boot disk: with boot_index 0 and the "
                f"uuid of imageRef {image_id!r} (they are {device.boot_index!r} and {device.uuid!r})."
            )
        if booted:
            raise Invalid(
                "Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping "
                f"combination is not valid: {booted[0]} and {place} both have boot_index 0."
            )
        booted.append(place)
        found = device.uuid
    if not found:
        raise Invalid("No image to boot from: name one in imageRef (this cloud has no volumes to boot from).")
    return found


def _check_kind(device: BlockDevice, place: str) -> None:
    """Raise Invalid for a kind of device that there is not, and for one that contradicts itself."""
    if device.source in {"volume", "snapshot"} or device.destination == "volume":
        raise Invalid(
            f"{place}: source_type {device.source!r} with destination_type {device.destination!r} needs a volume, "
            "and this cloud has no volume service; use 'image' or 'blank' with destination_type 'local'."
        )
    types = ("disk", CDROM) if device.source == "blank" else ("disk",)
    if device.device_type not in {None, *types}:
        known = " or ".join(map(repr, types))
        raise Invalid(f"{place}: device_type of what is {device.source} can be {known} (it is {device.device_type!r}).")
    if device.source == "blank" and device.uuid:
        raise Invalid(
            f"Block Device Mapping is Invalid: Invalid device UUID. {place} is blank, so it takes no uuid "
            f"(it is {device.uuid!r})."
        )
    if device.size == 0:
        raise Invalid(f"{place}: volume_size must be 1 or more (it is 0); leave it out for what the flavor has.")


def planned(
    devices: Sequence[BlockDevice],
    flavor: ServerFlavor,
    *,
    image_id: str,
    properties: Mapping[str, str],
    config_drive: bool,
) -> tuple[Disk, ...]:
    """Return the disks of a server that boots from an image with these properties. Raises Invalid.

    Blank disks that are not asked for, or without a size, are as large as the flavor has them; all that are for files
    share what it has.
    """
    root = root_of(image_id, flavor.root_gib * MIB_PER_GIB)
    for index, device in enumerate(devices):
        place = f"block_device_mapping_v2[{index}]"
        if device.disk_bus not in {None, *DISK_BUSES}:
            known = ", ".join(DISK_BUSES)
            raise Invalid(f"{place}: disk_bus must be one of {known} (it is {device.disk_bus!r}).")
        if device.source != "blank":
            root = structs.replace(root, bus=device.disk_bus or "", device_tag=device.tag)
            continue
        _check_blank(device, place)
    asked = [device for device in devices if device.source == "blank"]
    ephemerals = [device for device in asked if device.guest_format != SWAPPING]
    swaps = [device for device in asked if device.guest_format == SWAPPING]
    blanks = [*_ephemerals(ephemerals, flavor), *_swap(swaps, flavor)]
    if 1 + len(blanks) > MOST_LOCAL:
        raise Invalid(
            "Block Device Mapping is Invalid: You specified more local devices than the limit allows: "
            f"{1 + len(blanks)} with the root disk, and {MOST_LOCAL} are the most."
        )
    return placed([root, *blanks], properties, config_drive=config_drive)


def _ephemerals(devices: Sequence[BlockDevice], flavor: ServerFlavor) -> Iterator[Disk]:
    sizes = [flavor.ephemeral_gib if device.size is None else device.size for device in devices]
    if sum(sizes) > flavor.ephemeral_gib:
        raise Invalid(
            f"Ephemeral disks requested are larger than the instance type allows: {sum(sizes)} GiB, and flavor "
            f"{flavor.name} has {flavor.ephemeral_gib} GiB. If no size is given in one block device mapping, flavor "
            "ephemeral size will be used."
        )
    if not devices:
        devices, sizes = [BlockDevice(source="blank")], [flavor.ephemeral_gib]
    wanted = [(device, size) for device, size in zip(devices, sizes, strict=True) if size]
    for number, (device, size) in enumerate(wanted):
        filesystem = next(each for each in FILE_SYSTEMS if device.guest_format in {None, each})
        if filesystem == "vfat" and size > MOST_OF_VFAT:
            raise Invalid(
                f"A file system vfat can have {MOST_OF_VFAT} GiB at most (the disk asked for has {size} GiB)."
            )
        kind = BlankCd if device.device_type == CDROM else Blank
        yield blank(f"ephemeral{number}", size * MIB_PER_GIB, filesystem, device.disk_bus or "", device.tag, kind)


def _swap(devices: Sequence[BlockDevice], flavor: ServerFlavor) -> Iterator[Disk]:
    if len(devices) > 1:
        raise Invalid("Block Device Mapping is Invalid: More than one swap drive requested.")
    device = devices[0] if devices else BlockDevice(source="blank")
    # volume_size counts a swap disk in MiB and any other in GiB; so do Nova and `openstack server create --swap`.
    size = flavor.swap_mib if device.size is None else device.size
    if size > flavor.swap_mib:
        raise Invalid(
            f"Swap drive requested is larger than instance type allows: {size} MiB, and flavor {flavor.name} has "
            f"{flavor.swap_mib} MiB."
        )
    if size:
        yield blank(SWAP, size, SWAPPING, device.disk_bus or "", device.tag)


def _check_blank(device: BlockDevice, place: str) -> None:
    if device.guest_format not in {None, *FILE_SYSTEMS}:
        known = ", ".join(FILE_SYSTEMS)
        raise Invalid(f"{place}: guest_format must be one of {known}, or absent (it is {device.guest_format!r}).")
    if device.device_type == CDROM and (device.disk_bus == DISK_BUSES[0] or device.guest_format == SWAPPING):
        raise Invalid(f"{place}: a CD cannot be on the bus virtio, nor can a guest swap on it.")
    if device.boot_index is not None and device.boot_index >= 0:
        raise Invalid(f"{place}: a blank disk cannot be booted from; boot_index must be -1 or absent.")
