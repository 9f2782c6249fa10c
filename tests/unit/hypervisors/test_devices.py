"""The XML of single devices, each against a golden of its own: what hotplug, rescue and migration hand to libvirt."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest

from floe.core.disks import Blank, BlankCd, ConfigDrive, Disk, Overlay, OverlayCd
from floe.core.errors import HostFailure
from floe.core.nics import Tap
from floe.hypervisors.libvirt.addresses import addresses_in
from floe.hypervisors.libvirt.devices import boot_order, disk_xml, nic_xml

GOLDENS = Path(__file__).parent / "goldens" / "devices"
ROOT = Overlay(role="root", device="vda", bus="virtio", boot_index=0, size_mib=1024, image_id="i")
EPHEMERAL = Blank(role="ephemeral0", device="sdb", bus="scsi", size_mib=1024, filesystem="ext4", label="ephemeral0")
SWAP = Blank(role="swap", device="hdb", bus="ide", size_mib=64, filesystem="swap")
ARCHIVE = BlankCd(role="ephemeral1", device="hda", bus="ide", size_mib=1024, filesystem="ext4", device_tag="archive")
DRIVE = ConfigDrive(role="config", device="hdd", bus="ide")
RESCUE = OverlayCd(role="rescue", device="sda", bus="sata", boot_index=0, size_mib=0, image_id="r")
NIC = Tap(port_id="p1", mac="fa:16:3e:00:00:01", device="tap00000001", mtu=1442, model="e1000")


def text(element: ET.Element) -> str:
    ET.indent(element)
    return ET.tostring(element, encoding="unicode") + "\n"


@pytest.mark.parametrize(
    ("name", "disk", "file"),
    [
        ("overlay", ROOT, "disk.qcow2"),
        ("overlay-cd", RESCUE, "rescue.qcow2"),
        ("blank-ext4", EPHEMERAL, "ephemeral.raw"),
        ("blank-swap", SWAP, "swap.raw"),
        ("config-drive", DRIVE, "config.iso"),
        ("overlay-tagged", msgspec.structs.replace(ROOT, device_tag="system & more"), "disk.qcow2"),
        ("blank-cd", ARCHIVE, "ephemeral1.raw"),
        ("config-drive-sata", msgspec.structs.replace(DRIVE, device="sdd", bus="sata"), "config.iso"),
    ],
)
def test_a_disk_is_as_its_golden(name: str, disk: Disk, file: str) -> None:
    assert text(disk_xml(disk, Path("/state/guests/s") / file)) == (GOLDENS / f"{name}.xml").read_text()


def test_a_nic_is_as_its_golden() -> None:
    assert text(nic_xml(NIC)) == (GOLDENS / "tap.xml").read_text()


@pytest.mark.parametrize(
    "place", [("vda", "fdc"), ("../vda", "virtio"), ("", "virtio"), ("vd", "scsi"), ("vda\n", "ide")]
)
def test_a_disk_has_a_place_that_there_is(place: tuple[str, str]) -> None:
    device, bus = place
    with pytest.raises(
        HostFailure, match=r"Disk root cannot be .* it can be on ide, sata, scsi, usb, virtio"
    ) as caught:
        disk_xml(msgspec.structs.replace(ROOT, device=device, bus=bus), Path("/x"))
    assert caught.value.stage == "guest"


@pytest.mark.parametrize(
    ("change", "said"),
    [({"model": "virtio'/><evil"}, "virtio, e1000, rtl8139"), ({"mac": "fa:16"}, "MAC"), ({"device": "../tap"}, "tap")],
)
def test_a_nic_has_values_that_the_hardware_knows(change: dict[str, str], said: str) -> None:
    with pytest.raises(HostFailure, match=said):
        nic_xml(msgspec.structs.replace(NIC, **change))


def test_no_path_becomes_markup() -> None:
    made = disk_xml(ROOT, Path('/state/<a href="x">&\''))
    again = ET.fromstring(ET.tostring(made))
    assert [element.tag for element in again.iter()] == ["disk", "driver", "source", "target"]
    source = again.find("source")
    assert source is not None and source.get("file") == '/state/<a href="x">&\''


def test_the_firmware_boots_in_the_order_of_the_boot_indexes_each_kind_once() -> None:
    disk, drive = disk_xml(ROOT, Path("/d")), disk_xml(DRIVE, Path("/c"))
    assert boot_order([(0, disk)]) == ["hd"]
    assert boot_order([(1, disk), (0, drive), (2, disk)]) == ["cdrom", "hd"]
    assert boot_order([]) == []


def test_addresses_are_those_of_disks_and_taps_on_a_pci_bus() -> None:
    pci = "<address type='pci' domain='0x0000' bus='0x01' slot='0x1f' function='0x2'/>"
    devices = (
        f"<disk><target dev='vda' bus='virtio'/>{pci}</disk>",
        "<disk><target dev='sda' bus='scsi'/><address type='drive' controller='0' bus='0' target='0' unit='1'/></disk>",
        f"<interface><target dev='tap1'/>{pci}</interface><controller type='usb'>{pci}</controller>",
    )
    assert addresses_in(f"<domain><devices>{''.join(devices)}</devices></domain>") == {
        "vda": "0000:01:1f.2",
        "tap1": "0000:01:1f.2",
    }
    assert addresses_in("<domain/>") == {}
