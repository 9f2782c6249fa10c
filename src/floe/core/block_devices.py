"""The disks a create asks for, checked against its image and flavor.

Floe has local disks only: a root disk from an image, at most one blank ephemeral disk and one of swap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from floe.core.disks import DISK_BUSES, EPHEMERAL, MIB_PER_GIB, ROOT, SWAP, Disk, local_disks, tagged_as
from floe.core.errors import Invalid
from floe.core.servers import ServerFlavor


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
    if device.device_type not in {None, "disk"}:
        raise Invalid(f"{place}: only device_type 'disk' is supported (it is {device.device_type!r}).")
    if device.source == "blank" and device.uuid:
        raise Invalid(
            f"Block Device Mapping is Invalid: Invalid device UUID. {place} is blank, so it takes no uuid "
            f"(it is {device.uuid!r})."
        )
    if device.size == 0:
        raise Invalid(f"{place}: volume_size must be 1 or more (it is 0); leave it out for what the flavor has.")


def check_buses(devices: Sequence[BlockDevice], properties: Mapping[str, str]) -> None:
    """Raise Invalid for a device on another bus than the image's disks are on: a guest's disks share one."""
    bus = properties.get("hw_disk_bus") or DISK_BUSES[0]
    for index, device in enumerate(devices):
        if device.disk_bus not in {None, bus}:
            raise Invalid(
                f"block_device_mapping_v2[{index}]: disk_bus must be {bus!r} as the image's hw_disk_bus, or absent "
                f"(it is {device.disk_bus!r})."
            )


def planned(
    devices: Sequence[BlockDevice],
    flavor: ServerFlavor,
    *,
    image_id: str,
    properties: Mapping[str, str],
    config_drive: bool,
) -> tuple[Disk, ...]:
    """Return the disks of a server that boots from an image with these properties. Raises Invalid.

    Blank disks that are not asked for, or without a size, are as large as the flavor has them; none may be larger.
    """
    sizes = {EPHEMERAL: flavor.ephemeral_gib, SWAP: flavor.swap_mib}
    tags: dict[str, str] = {}
    seen: set[str] = set()
    for index, device in enumerate(devices):
        if device.source != "blank":
            tags[ROOT] = device.tag
            continue
        place = f"block_device_mapping_v2[{index}]"
        role = _role(device, place)
        # volume_size counts a swap disk in MiB and any other in GiB; so do Nova and `openstack server create --swap`.
        kind, unit = ("swap", "MiB") if role == SWAP else ("ephemeral", "GiB")
        if role in seen:
            raise Invalid(f"{place}: one {kind} disk is the most a server can have.")
        limit = sizes[role]
        if device.size is not None and device.size > limit:
            raise Invalid(
                f"{place}: a {kind} disk of {device.size} {unit} is more than flavor {flavor.name} has "
                f"({limit} {unit})."
            )
        sizes[role] = limit if device.size is None else device.size
        tags[role] = device.tag
        if sizes[role]:
            seen.add(role)
    disks = local_disks(
        properties,
        image_id=image_id,
        root_mib=flavor.root_gib * MIB_PER_GIB,
        ephemeral_mib=sizes[EPHEMERAL] * MIB_PER_GIB,
        swap_mib=sizes[SWAP],
        config_drive=config_drive,
    )
    return tagged_as(disks, tags)


def _role(device: BlockDevice, place: str) -> str:
    if device.guest_format not in {None, "ext4", "swap"}:
        raise Invalid(f"{place}: guest_format must be 'swap' or absent (it is {device.guest_format!r}).")
    if device.boot_index is not None and device.boot_index >= 0:
        raise Invalid(f"{place}: a blank disk cannot be booted from; boot_index must be -1 or absent.")
    return SWAP if device.guest_format == "swap" else EPHEMERAL
