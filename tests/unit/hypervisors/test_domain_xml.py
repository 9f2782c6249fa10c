"""The XML that defines a guest, against goldens, and what no value in it can do."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from floe.core.disks import local_disks
from floe.core.errors import HostFailure, Invalid
from floe.core.guests import GuestImage, GuestMetadata, GuestSpec, MadeOf
from floe.core.nics import Tap
from floe.core.server_rescue import Rescue, machine_of, rescue_disks
from floe.hypervisors.libvirt.xml import NAMESPACE, domain_xml
from floe.hypervisors.protocol import GuestFiles

GOLDENS = Path(__file__).parent / "goldens"
FOLDER = Path("/state/guests/bbbbbbbb-0000-4000-8000-000000000001")
FILES = GuestFiles(
    directory=FOLDER,
    disks={
        "root": FOLDER / "disk.qcow2",
        "config": FOLDER / "config.iso",
        "ephemeral0": FOLDER / "ephemeral.raw",
        "swap": FOLDER / "swap.raw",
    },
    bases={"root": FOLDER / "images/base.img"},
    console_log=FOLDER / "console.log",
    variables=FOLDER / "variables.fd",
)
IMAGE = GuestImage(image_id="i", checksum="", size=1, disk_format="qcow2", virtual_size=1)
GUEST = GuestSpec(
    server_id="bbbbbbbb-0000-4000-8000-000000000001",
    name="instance-0000002a",
    vcpus=2,
    memory_mib=512,
    disks=local_disks({}, image_id="i", root_mib=1024),
    nics=(Tap(port_id="p1", mac="fa:16:3e:00:00:01", device="tap00000001", mtu=1442),),
    image=IMAGE,
    metadata=GuestMetadata(hostname="web", name="web & <b>", project_id="42"),
)


def with_properties(*, ephemeral_mib: int = 0, swap_mib: int = 0, drive: bool = False, **properties: str) -> GuestSpec:
    return replace(
        GUEST,
        image=replace(IMAGE, properties=properties),
        disks=local_disks(
            properties,
            image_id="i",
            root_mib=1024,
            ephemeral_mib=ephemeral_mib,
            swap_mib=swap_mib,
            config_drive=drive,
        ),
        nics=tuple(msgspec.structs.replace(nic, model=properties.get("hw_vif_model", "virtio")) for nic in GUEST.nics),
    )


CASES = {
    "emulated": (GUEST, FILES, False),
    "kvm": (GUEST, FILES, True),
    "everything": (
        replace(
            with_properties(
                hw_disk_bus="scsi",
                hw_vif_model="e1000",
                os_command_line="root=/dev/sda quiet",
                ephemeral_mib=1024,
                swap_mib=64,
                drive=True,
            ),
            nics=(
                msgspec.structs.replace(GUEST.nics[0], model="e1000"),
                Tap(port_id="p2", mac="fa:16:3e:00:00:02", device="tap00000002", model="e1000"),
            ),
        ),
        replace(
            FILES,
            kernel=FOLDER / "kernel",
            ramdisk=FOLDER / "ramdisk",
        ),
        False,
    ),
    "q35": (with_properties(hw_machine_type="q35", drive=True), FILES, False),
    "uefi": (with_properties(hw_machine_type="q35", hw_firmware_type="uefi"), FILES, False),
}


@pytest.mark.parametrize("name", CASES)
def test_a_domain_is_as_its_golden(name: str) -> None:
    guest, files, kvm = CASES[name]
    assert domain_xml(guest, files, kvm=kvm, owner="floe", version="1.2") == (GOLDENS / f"{name}.xml").read_text()


def test_a_guest_is_the_user_and_group_given_and_the_rest_of_its_labels_is_left_to_libvirt() -> None:
    text = domain_xml(GUEST, FILES, kvm=True, owner="floe", version="1.2", account=(1_900_000_042, 64_054))
    assert text == (GOLDENS / "account.xml").read_text()


def test_the_firmware_says_what_software_in_guests_looks_for() -> None:
    """As Nova has it: cloud-init's `ds-identify` wants the product, `check_instance_id` the UUID."""
    for guest, files, kvm in CASES.values():
        domain = ET.fromstring(domain_xml(guest, files, kvm=kvm, owner="floe", version="1.2"))
        assert domain.find("os/smbios[@mode='sysinfo']") is not None
        assert {entry.get("name"): entry.text for entry in domain.iterfind("sysinfo[@type='smbios']/system/entry")} == {
            "manufacturer": "OpenStack Foundation",
            "product": "OpenStack Nova",
            "version": "1.2",
            "serial": guest.server_id,
            "uuid": guest.server_id,
            "family": "Virtual Machine",
        }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hw_disk_bus", "fdc"),
        ("hw_vif_model", "virtio'/><evil"),
        ("hw_machine_type", "none"),
        ("hw_firmware_type", "coreboot"),
    ],
)
def test_a_hardware_choice_that_is_not_allowed_is_refused_with_what_is(name: str, value: str) -> None:
    with pytest.raises(HostFailure, match=f"{name}.*supports") as caught:
        domain_xml(with_properties(**{name: value}), FILES, kvm=False, owner="floe", version="1.2")
    assert caught.value.stage == "guest"


def test_an_ide_disk_on_q35_is_refused() -> None:
    with pytest.raises(HostFailure, match="does not go with"):
        guest = with_properties(hw_disk_bus="ide")
        image = replace(guest.image, properties={"hw_machine_type": "q35", "hw_disk_bus": "ide"})
        domain_xml(replace(guest, image=image), FILES, kvm=False, owner="floe", version="1.2")


@pytest.mark.parametrize("line", ["root=/dev/vda\nevil", "x" * 2049, "\x00"])
def test_a_kernel_command_line_is_one_short_printable_line(line: str) -> None:
    with pytest.raises(HostFailure, match="os_command_line"):
        domain_xml(
            with_properties(os_command_line=line),
            replace(FILES, kernel=FOLDER / "kernel"),
            kvm=False,
            owner="floe",
            version="1.2",
        )


@pytest.mark.parametrize("tap", ["../../x", "tap 1", "x" * 16, ""])
def test_a_tap_that_is_no_device_name_is_refused(tap: str) -> None:
    guest = replace(GUEST, nics=(msgspec.structs.replace(GUEST.nics[0], device=tap),))
    with pytest.raises(HostFailure, match="p1"):
        domain_xml(guest, FILES, kvm=False, owner="floe", version="1.2")


@given(name=st.text(), project=st.text(), line=st.text(max_size=200))
def test_no_text_of_a_tenant_becomes_markup(name: str, project: str, line: str) -> None:
    guest = replace(
        with_properties(os_command_line=line),
        metadata=replace(GUEST.metadata, name=name, project_id=project),
    )
    plain = ET.fromstring(
        domain_xml(GUEST, replace(FILES, kernel=FOLDER / "k"), kvm=False, owner="floe", version="1.2")
    )
    try:
        made = ET.fromstring(
            domain_xml(guest, replace(FILES, kernel=FOLDER / "k"), kvm=False, owner="floe", version="1.2")
        )
    except HostFailure:
        return
    assert [element.tag for element in made.iter()] == [element.tag for element in plain.iter()]
    assert made.findtext(f"metadata/{{{NAMESPACE}}}guest/{{{NAMESPACE}}}server") == GUEST.server_id


def rescued(properties: dict[str, str], *, kernel: bool = False) -> tuple[ET.Element, list[tuple[str, str, str]]]:
    """Return the XML of a guest that is rescued with an image of these properties, and device, place and mark of each
    of its disks."""
    image = replace(IMAGE, image_id="r", properties=properties)
    rescue = Rescue(made_of=MadeOf(image=image), make=7)
    guest = replace(
        GUEST,
        disks=rescue_disks(local_disks({}, image_id="i", root_mib=1024, swap_mib=64, config_drive=True), rescue),
        image=replace(IMAGE, properties=machine_of({}, rescue)),
        rescue=image,
    )
    files = replace(FILES, disks={disk.role: FOLDER / disk.role for disk in guest.disks})
    if kernel:
        files = replace(files, kernel=FOLDER / "images/kernel-7")
    domain = ET.fromstring(domain_xml(guest, files, kvm=False, owner="o", version="1"))
    found = []
    for disk in domain.iterfind("devices/disk"):
        target, mark = disk.find("target"), disk.find("boot")
        assert target is not None
        found.append((f"{disk.get('device')}", f"{target.get('dev')}", "" if mark is None else f"{mark.get('order')}"))
    return domain, found


def test_a_rescued_guest_is_given_the_rescue_disk_to_boot_and_no_other() -> None:
    domain, disks = rescued({})
    assert disks == [("disk", "vda", "1"), ("disk", "vdb", ""), ("disk", "vdc", ""), ("cdrom", "hdd", "")]
    assert domain.findall("os/boot") == [], "libvirt takes one way of saying it"
    _, disks = rescued({"hw_disk_bus": "scsi", "hw_cdrom_bus": "scsi"})
    assert [name for _, name, _ in disks] == ["sda", "sdb", "sdc", "sdd"]


def test_a_stable_rescue_adds_a_disk_and_changes_none() -> None:
    domain, disks = rescued({"hw_rescue_bus": "usb", "hw_disk_bus": "ide"})
    own = [("disk", "vda", ""), ("disk", "vdb", ""), ("cdrom", "hdd", "")]
    assert disks == [*own, ("disk", "sda", "1")]
    assert domain.find("devices/controller[@type='usb'][@model='qemu-xhci']") is not None
    assert rescued({"hw_rescue_device": "cdrom", "hw_cdrom_bus": "sata"})[1] == [*own, ("cdrom", "sda", "1")]


def test_the_kernel_of_a_rescue_image_is_told_of_the_rescue_disk() -> None:
    domain, disks = rescued({}, kernel=True)
    assert domain.findtext("os/cmdline") == "root=/dev/vda console=ttyS0"
    assert {mark for _, _, mark in disks} == {""}
    assert rescued({"hw_rescue_bus": "virtio"}, kernel=True)[0].findtext("os/cmdline") == "root=/dev/vdc console=ttyS0"
    assert rescued({"os_command_line": "x"}, kernel=True)[0].findtext("os/cmdline") == "x"


def test_a_bus_that_has_no_room_for_a_rescue_is_refused() -> None:
    with pytest.raises(Invalid, match="The bus ide has no room"):
        own = local_disks({}, image_id="i", root_mib=1024, ephemeral_mib=1, swap_mib=64, config_drive=True)
        rescue = Rescue(made_of=MadeOf(image=replace(IMAGE, properties={"hw_disk_bus": "ide"})))
        rescue_disks(own, rescue)
