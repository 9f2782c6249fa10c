"""Pure rules of compute: host names, keys, search patterns, block devices."""

from __future__ import annotations

import msgspec
import pytest

from floe.core.block_devices import MOST_LOCAL, BlockDevice, boot_image, planned
from floe.core.disks import Blank, ConfigDrive
from floe.core.errors import Invalid
from floe.core.hostnames import check_hostname, dns_name, hostname_of, numbered
from floe.core.keypairs import fingerprint
from floe.core.new_servers import names
from floe.core.servers import ServerFlavor

ED25519 = "AAAAC3NzaC1lZDI1NTE5AAAAIHRoaXMtaXMtMzItYnl0ZXMtb2YtYS1wdWJsaWMta2V5"
FLAVOR = ServerFlavor(flavor_id="1", name="f", vcpus=1, memory_mib=1, root_gib=1, ephemeral_gib=2, swap_mib=1024)


@pytest.mark.parametrize(
    ("name", "hostname"),
    [
        ("Web Server_1.example", "web-server-1-example"),
        ("ünïcode", "ncode"),
        ("---", "server-ID"),
        ("a" * 80, "a" * 63),
        ("x'; rm -rf /", "x-rm--rf"),
    ],
)
def test_a_hostname_has_only_what_a_hostname_may(name: str, hostname: str) -> None:
    assert hostname_of(name, "ID") == hostname


@pytest.mark.parametrize(
    ("hostname", "name"),
    [
        ("Web-1", "web-1"),
        ("Web.Example.ORG", "web.example.org"),
        ("a." + ".".join(["b" * 63] * 4), "a"),  # longer than a name in DNS can be
        ("10.0.0.5", "10"),
        *((text, "") for text in ("-x", "x-", "a b", "a\nb", "a..b", "a.b,c", "ü", "x" * 64, "")),
        *((text, "") for text in ("localhost", "LOCALHOST.localdomain", "web.localhost")),
    ],
)
def test_a_server_is_known_by_a_name_that_dns_can_have(hostname: str, name: str) -> None:
    assert dns_name(hostname) == name


def test_a_chosen_hostname_is_checked() -> None:
    assert check_hostname("web-1", dotted=False) == "web-1"
    assert check_hostname("web.example.org", dotted=True) == "web.example.org"
    for text in ("web.example.org", "-a", "a-", "", "a\n", "a" * 64, "ä"):
        with pytest.raises(Invalid):
            check_hostname(text, dotted=False)
    assert numbered("web.example.org", 2) == "web-2.example.org"


def test_names_of_many_stay_within_255() -> None:
    assert names("a", 1) == ["a"]
    assert names("a" * 255, 11)[10] == "a" * 252 + "-11"


def test_a_key_of_one_line_has_a_fingerprint() -> None:
    assert fingerprint(f"ssh-ed25519 {ED25519} me@home\n").count(":") == 15


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519",
        f"ssh-rsa {ED25519}",
        f"ssh-dss {ED25519}",
        f"ssh-ed25519 {ED25519}\nssh-ed25519 {ED25519}",
        f"ssh-ed25519 {ED25519} a\rb",
        "ssh-ed25519 AAAA%",
        f"ssh-ed25519 {ED25519[:-8]}",
        f'command="x" ssh-ed25519 {ED25519}',
    ],
)
def test_what_is_no_single_public_key_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        fingerprint(text)


def sizes(devices: list[BlockDevice]) -> dict[str, int]:
    """Return the sizes in MiB of the disks that are planned, by role."""
    disks = planned(devices, FLAVOR, image_id="i", properties={}, config_drive=False)
    return {disk.role: disk.size_mib for disk in disks if not isinstance(disk, ConfigDrive)}


def test_the_size_of_a_swap_disk_is_in_mebibytes() -> None:
    swap = BlockDevice(source="blank", guest_format="swap", size=1024)
    assert sizes([swap]) == {"root": 1024, "ephemeral0": 2048, "swap": 1024}
    with pytest.raises(Invalid, match="1025 MiB"):
        sizes([BlockDevice(source="blank", guest_format="swap", size=1025)])


def test_local_disks_come_from_the_image_and_the_flavor() -> None:
    root = BlockDevice(source="image", destination="local", uuid="i", boot_index=0)
    blank = BlockDevice(source="blank", destination="local", size=1, boot_index=-1)
    swap = BlockDevice(source="blank", guest_format="swap")
    assert boot_image([root, blank], "i") == "i"
    assert boot_image([root], None) == "i"
    assert sizes([root, blank, swap]) == {"root": 1024, "ephemeral0": 1024, "swap": 1024}
    assert sizes([]) == {"root": 1024, "ephemeral0": 2048, "swap": 1024}


@pytest.mark.parametrize(
    "device",
    [
        BlockDevice(source="volume", destination="volume", uuid="v"),
        BlockDevice(source="image", destination="volume", uuid="i", boot_index=0),
        BlockDevice(source="snapshot", uuid="s"),
        BlockDevice(source="image", destination="local", uuid="other", boot_index=0),
        BlockDevice(source="image", destination="local", uuid="i", boot_index=1),
        BlockDevice(source="blank", device_type="lun"),
        BlockDevice(source="blank", device_type="floppy"),
        BlockDevice(source="image", destination="local", uuid="i", boot_index=0, device_type="cdrom"),
        BlockDevice(source="image", destination="local", uuid="i", boot_index=-1, device_type="cdrom"),
        BlockDevice(source="blank", uuid="i"),
        BlockDevice(source="blank", size=0),
    ],
)
def test_a_disk_this_cloud_cannot_make_is_refused(device: BlockDevice) -> None:
    with pytest.raises(Invalid, match=r"block_device_mapping_v2\[0\]"):
        boot_image([device], "i")


def placed_as(devices: list[BlockDevice], flavor: ServerFlavor = FLAVOR, **properties: str) -> dict[str, str]:
    disks = planned(devices, flavor, image_id="i", properties=properties, config_drive=True)
    assert len({disk.device for disk in disks}) == len(disks)
    return {disk.role: f"{disk.device} on {disk.bus}" for disk in disks}


def test_each_disk_is_on_the_bus_that_is_asked_for_by_a_name_of_its_own() -> None:
    root = BlockDevice(source="image", destination="local", uuid="i", boot_index=0, disk_bus="scsi")
    one = BlockDevice(source="blank", size=1, disk_bus="sata")
    assert placed_as([one, one, root]) == {
        "root": "sda on scsi",
        "ephemeral0": "sdb on sata",
        "ephemeral1": "sdc on sata",
        "swap": "vda on virtio",
        "config": "hdd on ide",
    }
    many = msgspec.structs.replace(FLAVOR, ephemeral_gib=6)
    on_scsi = placed_as([BlockDevice(source="blank", size=1)] * 6, many, hw_disk_bus="scsi", hw_machine_type="q35")
    assert on_scsi["config"] == "sdd on sata"
    assert on_scsi["ephemeral2"] == "sde on scsi", "the name of the drive is left out"
    assert placed_as([], hw_disk_bus="ide")["swap"] == "hdc on ide"
    cd = BlockDevice(source="blank", size=1, device_type="cdrom")
    assert placed_as([cd, one])["ephemeral0"] == "hda on ide"
    assert placed_as([cd, one], hw_machine_type="q35")["ephemeral0"] == "sda on sata"
    assert placed_as([cd, one], hw_cdrom_bus="usb")["ephemeral0"] == "sda on usb"


@pytest.mark.parametrize(
    ("devices", "properties", "text"),
    [
        ([BlockDevice(source="blank", disk_bus="fdc")], {}, "disk_bus must be one of virtio, scsi, ide, sata, usb"),
        (
            [BlockDevice(source="blank", disk_bus="ide")],
            {"hw_machine_type": "q35"},
            "bus ide has no room for the ephemeral0 disk",
        ),
        ([BlockDevice(source="blank", size=1)] * 2, {"hw_disk_bus": "ide"}, "bus ide has no room for the swap disk"),
        ([BlockDevice(source="blank", guest_format="ntfs")], {}, "guest_format must be one of ext4, ext3, ext2, vfat"),
        ([BlockDevice(source="blank", guest_format="swap")] * 2, {}, "More than one swap drive requested"),
        ([BlockDevice(source="blank", guest_format="swap", size=1025)], {}, "Swap drive requested is larger"),
        ([BlockDevice(source="blank", size=3)], {}, "Ephemeral disks requested are larger.* 3 GiB"),
        ([BlockDevice(source="blank", size=1)] * 3, {}, "Ephemeral disks requested are larger"),
        ([BlockDevice(source="blank", size=1), BlockDevice(source="blank")], {}, "larger .* 3 GiB"),
        ([BlockDevice(source="blank", boot_index=1)], {}, "cannot be booted from"),
        ([BlockDevice(source="blank", device_type="cdrom", disk_bus="virtio")], {}, "CD cannot be on the bus virtio"),
        ([BlockDevice(source="blank", device_type="cdrom", guest_format="swap")], {}, "nor can a guest swap on it"),
    ],
)
def test_disks_that_cannot_be_are_refused(devices: list[BlockDevice], properties: dict[str, str], text: str) -> None:
    with pytest.raises(Invalid, match=text):
        planned(devices, FLAVOR, image_id="i", properties=properties, config_drive=False)


def test_more_disks_or_a_larger_one_than_there_can_be_are_refused() -> None:
    large = msgspec.structs.replace(FLAVOR, ephemeral_gib=4096, swap_mib=0)
    one = BlockDevice(source="blank", size=1)
    assert len(placed_as([one] * (MOST_LOCAL - 1), large)) == MOST_LOCAL + 1
    with pytest.raises(Invalid, match="You specified more local devices than the limit allows"):
        placed_as([one] * MOST_LOCAL, large)
    with pytest.raises(Invalid, match="vfat can have 2047 GiB at most"):
        placed_as([BlockDevice(source="blank", size=2048, guest_format="vfat")], large)


def test_disks_for_files_share_what_the_flavor_has_each_with_its_file_system() -> None:
    asked = [BlockDevice(source="blank", size=1, guest_format="vfat", tag="a"), BlockDevice(source="blank", size=1)]
    disks = planned(asked, FLAVOR, image_id="i", properties={}, config_drive=False)
    blanks = [disk for disk in disks if isinstance(disk, Blank)]
    assert [(disk.role, disk.size_mib, disk.filesystem, disk.label, disk.device_tag) for disk in blanks] == [
        ("ephemeral0", 1024, "vfat", "ephemeral0", "a"),
        ("ephemeral1", 1024, "ext4", "ephemeral1", ""),
        ("swap", 1024, "swap", "", ""),
    ]
