"""The XML of single devices of a guest, a function for each kind: pure, the same at a start and for a running guest.

`disk_xml` and `nic_xml` find the function of a kind in a table; a further kind is one more row of it.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from floe.core.disks import DISK_BUSES, Blank, BlankCd, ConfigDrive, Disk, Overlay, OverlayCd, tag_of
from floe.core.errors import HostFailure
from floe.core.nics import VIF_MODELS, Nic, Tap

DiskXml: TypeAlias = Callable[[Any, Path], ET.Element]
NicXml: TypeAlias = Callable[[Any], ET.Element]

_BUSES = frozenset(DISK_BUSES)
_DEVICE = re.compile(r"(vd|sd|hd)[a-z]{1,2}")
_TAP = re.compile(r"[A-Za-z0-9._-]{1,15}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.IGNORECASE)


def limited(disk: ET.Element, limits: Mapping[str, int]) -> ET.Element:
    """Return a disk that may do so much each second; a CD, which holds little, is left as it is."""
    if limits and disk.get("device") == "disk":
        tune = ET.SubElement(disk, "iotune")
        for name, amount in limits.items():
            ET.SubElement(tune, name).text = str(amount)
    return disk


def hard_disk(disk: Disk, source: Path, file_format: str) -> ET.Element:
    """Return a writable disk that is a file."""
    made = ET.Element("disk", type="file", device="disk")
    ET.SubElement(made, "driver", name="qemu", type=file_format, cache="writeback", discard="unmap")
    ET.SubElement(made, "source", file=str(source))
    ET.SubElement(made, "target", dev=disk.device, bus=disk.bus)
    return made


def cd_rom(disk: Disk, source: Path, file_format: str) -> ET.Element:
    """Return a CD whose content is a file."""
    made = ET.Element("disk", type="file", device="cdrom")
    ET.SubElement(made, "driver", name="qemu", type=file_format)
    ET.SubElement(made, "source", file=str(source))
    ET.SubElement(made, "target", dev=disk.device, bus=disk.bus)
    ET.SubElement(made, "readonly")
    return made


def tap(nic: Tap) -> ET.Element:
    """Return a NIC behind a tap that is there already."""
    if not _TAP.fullmatch(nic.device) or not _MAC.fullmatch(nic.mac):
        raise HostFailure(f"Port {nic.port_id} has no usable tap or MAC address.", stage="guest")
    if nic.model not in VIF_MODELS:
        known = ", ".join(VIF_MODELS)
        raise HostFailure(
            f"Port {nic.port_id} cannot be a NIC of model {nic.model[:80]!r}; it can be {known}.", stage="guest"
        )
    made = ET.Element("interface", type="ethernet")
    ET.SubElement(made, "mac", address=nic.mac)
    ET.SubElement(made, "target", dev=nic.device, managed="no")
    ET.SubElement(made, "model", type=nic.model)
    if nic.queues > 1:
        ET.SubElement(made, "driver", queues=str(nic.queues))
    ET.SubElement(made, "mtu", size=str(nic.mtu))
    return made


DISKS: Mapping[type, DiskXml] = {
    Overlay: lambda disk, source: hard_disk(disk, source, "qcow2"),
    Blank: lambda disk, source: hard_disk(disk, source, "raw"),
    BlankCd: lambda disk, source: cd_rom(disk, source, "raw"),
    OverlayCd: lambda disk, source: cd_rom(disk, source, "qcow2"),
    ConfigDrive: lambda disk, source: cd_rom(disk, source, "raw"),
}
NICS: Mapping[type, NicXml] = {Tap: tap}


def disk_xml(disk: Disk, source: Path, kinds: Mapping[type, DiskXml] = DISKS) -> ET.Element:
    """Return the element of a disk whose content is at `source`. Raises HostFailure for a place that there is not."""
    if disk.bus not in _BUSES or not _DEVICE.fullmatch(disk.device):
        raise HostFailure(
            f"Disk {disk.role} cannot be {disk.device[:80]!r} on the bus {disk.bus[:80]!r};"
            f" it can be on {', '.join(sorted(_BUSES))}.",
            stage="guest",
        )
    made = kinds[type(disk)](disk, source)
    if tag_of(disk):
        # Where a bus has no addresses that a guest could be told, it finds what is tagged by this.
        ET.SubElement(made, "serial").text = disk.role
    return made


def nic_xml(nic: Nic, kinds: Mapping[type, NicXml] = NICS) -> ET.Element:
    """Return the element of a NIC. Raises HostFailure for values that the hardware does not allow."""
    return kinds[type(nic)](nic)


def boot_order(disks: list[tuple[int, ET.Element]]) -> list[str]:
    """Return the firmware's names (`hd`, `cdrom`) of what to boot from, of (boot index, element), each once."""
    names = {"disk": "hd", "cdrom": "cdrom"}
    return list(dict.fromkeys(names[made.get("device", "")] for _, made in sorted(disks, key=lambda pair: pair[0])))
