"""The disks a create asks for, checked against its image and flavor.

Floe has local disks only: a root disk from an image, at most one blank ephemeral disk and one of swap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from floe.core.errors import Invalid
from floe.core.image_properties import DISK_BUSES
from floe.core.servers import Server, ServerFlavor

_PREFIX = {"virtio": "vd", "scsi": "sd", "ide": "hd"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockDevice:
    """One entry of a create's block devices. `size` is in GiB; `source` is image, blank, volume or snapshot."""

    source: str
    destination: str | None = None
    uuid: str | None = None
    size: int | None = None
    boot_index: int | None = None
    guest_format: str | None = None
    disk_bus: str | None = None
    device_type: str | None = None


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


def local_blanks(devices: Sequence[BlockDevice], flavor: ServerFlavor) -> tuple[dict[str, Any], ...]:
    """Return the blank disks asked for as the server's row keeps them: `{"kind": "ephemeral", "gib": 1}`,
    `{"kind": "swap", "mib": 512}`. Without a size they have what the flavor has. Raises Invalid for more than that.
    """
    planned: list[dict[str, Any]] = []
    for index, device in enumerate(devices):
        if device.source != "blank":
            continue
        place = f"block_device_mapping_v2[{index}]"
        swap = device.guest_format == "swap"
        if not swap and device.guest_format not in {None, "ext4"}:
            raise Invalid(f"{place}: guest_format must be 'swap' or absent (it is {device.guest_format!r}).")
        if device.boot_index is not None and device.boot_index >= 0:
            raise Invalid(f"{place}: a blank disk cannot be booted from; boot_index must be -1 or absent.")
        kind = "swap" if swap else "ephemeral"
        if any(entry["kind"] == kind for entry in planned):
            raise Invalid(f"{place}: one {kind} disk is the most a server can have.")
        limit = flavor.swap_mib if swap else flavor.ephemeral_gib
        # volume_size counts a swap disk in MiB and any other in GiB; so do Nova and `openstack server create --swap`.
        asked = limit if device.size is None else device.size
        unit = "MiB" if swap else "GiB"
        if asked > limit:
            raise Invalid(
                f"{place}: a {kind} disk of {asked} {unit} is more than flavor {flavor.name} has ({limit} {unit})."
            )
        if asked:
            planned.append({"kind": kind, unit.lower(): asked})
    return tuple(planned)


def blank_sizes(server: Server) -> tuple[int, int]:
    """Return the server's ephemeral disk in GiB and swap in MiB: those asked for at create, else its flavor's."""
    ephemeral, swap = server.flavor.ephemeral_gib, server.flavor.swap_mib
    entries: Sequence[Mapping[str, Any]] = server.block_devices
    for entry in entries:
        if entry["kind"] == "ephemeral":
            ephemeral = int(entry["gib"])
        elif entry["kind"] == "swap":
            swap = int(entry["mib"])
    return ephemeral, swap


def guest_devices(properties: Mapping[str, str], *, ephemeral: bool, swap: bool) -> dict[str, str]:
    """Return the names of a guest's disks, by the bus its image asks for: `{"root": "vda", "swap": "vdb"}`."""
    there = ("root", *(["ephemeral0"] if ephemeral else []), *(["swap"] if swap else []))
    prefix = _PREFIX[properties.get("hw_disk_bus") or DISK_BUSES[0]]
    return {role: prefix + letter for role, letter in zip(there, "abc", strict=False)}


def root_device(properties: Mapping[str, str]) -> str:
    """Return the path of a guest's root disk."""
    return f"/dev/{guest_devices(properties, ephemeral=False, swap=False)['root']}"
