"""The hardware that flavors and images ask for, seen from inside guests."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from real_cloud import RealCloud, encoded, eventually

pytestmark = pytest.mark.e2e

WATCHDOG, VGA, XHCI, E1000E, VIRTIO_RNG = "8086:25ab", "1234:1111", "1b36:000d", "8086:10d3", "1af4:1005"
PCI = "for d in /sys/bus/pci/devices/*; do echo $(cat $d/vendor):$(cat $d/device); done | sed 's/0x//g'"
BY_CONSOLE = f"#!/bin/sh\n({PCI}; ls /sys/block /sys/class/virtio-ports; echo seen) > /dev/console 2>&1\n"


@pytest.fixture(scope="module")
def cloud(new_cloud: Callable[..., AbstractContextManager[RealCloud]]) -> Iterator[RealCloud]:
    with new_cloud() as made:
        made.start()
        made.let_in(22)
        yield made


def flavor(cloud: RealCloud, vcpus: int, **specs: str) -> str:
    admin = cloud.user("admin")
    body = {"name": f"with {len(specs)} specs", "vcpus": vcpus, "ram": 192, "disk": 1}
    made = admin.post("/compute/v2.1/flavors", {"flavor": body})["flavor"]["id"]
    known = {name.replace("__", ":"): value for name, value in specs.items()}
    admin.post(f"/compute/v2.1/flavors/{made}/os-extra_specs", {"extra_specs": known})
    return str(made)


def test_a_guest_has_the_cpus_disks_and_devices_that_were_asked_for(cloud: RealCloud, guest_image: Path):
    specs = {"hw__cpu_sockets": "1", "hw__cpu_cores": "2", "hw__watchdog_action": "reset"}
    limits = {"quota__disk_write_bytes_sec": "200000000", "hw_rng__rate_bytes": "4096", "hw_rng__rate_period": "1000"}
    image = cloud.upload(
        guest_image.read_bytes(), "qcow2", hw_disk_bus="scsi", hw_cdrom_bus="scsi", hw_video_model="vga",
        hw_video_ram="16", hw_usb_model="qemu-xhci", hw_time_hpet="true", hw_vif_multiqueue_enabled="true",
    )  # fmt: skip
    shape = flavor(cloud, 2, **specs, **limits, hw_video__ram_max_mb="16", hw__hide_hypervisor_id="yes")
    guest = cloud.boot("shaped", image, flavorRef=shape, key_name="key", config_drive=True)
    cloud.booted(guest)
    place = "/sys/devices/system/cpu/cpu0/topology"
    seen = cloud.ssh(guest, f"nproc; cat {place}/thread_siblings_list {place}/core_siblings_list").split()
    assert seen == ["2", "0", "0-1"]  # one socket of two cores; unasked there are two sockets
    assert cloud.ssh(guest, "cat /sys/class/misc/hw_random/rng_current").strip().startswith("virtio_rng")
    assert "virtio" in cloud.ssh(guest, "readlink -f /sys/block/sda")
    assert "virtio" in cloud.ssh(guest, "readlink -f /sys/block/sr0")
    assert cloud.ssh(guest, "ls /sys/class/net/eth0/queues").split() == ["rx-0", "rx-1", "tx-0", "tx-1"]
    assert {WATCHDOG, VGA, XHCI} <= set(cloud.ssh(guest, PCI).split())
    cloud.delete(guest.id)


def test_a_guest_has_another_nic_and_bus_and_neither_agent_nor_randomness(cloud: RealCloud, guest_image: Path):
    image = cloud.upload(
        guest_image.read_bytes(), "qcow2", hw_disk_bus="ide", hw_vif_model="e1000e", hw_qemu_guest_agent="no",
        os_type="windows", hw_boot_menu="true", root_device_name="/dev/hda",
    )  # fmt: skip
    shape = flavor(cloud, 1, hw_rng__allowed="false", hw__watchdog_action="none")
    guest = cloud.boot("other", image, flavorRef=shape, config_drive=True, user_data=encoded(BY_CONSOLE))
    text = eventually(
        "the guest to say what it sees", lambda: (said := cloud.console(guest.id)) and "seen" in said and said, 240
    )
    words = set(text.split())
    assert {E1000E, WATCHDOG, "sda", "sr0"} <= words
    assert not {VIRTIO_RNG, VGA, "vda", "vport0p1", "vport1p1"} & words
    cloud.delete(guest.id)


@pytest.mark.parametrize("model", ["lsisas1068", "vmpvscsi"])
def test_a_machine_of_another_kind_starts(cloud: RealCloud, guest_image: Path, model: str):
    image = cloud.upload(
        guest_image.read_bytes(), "qcow2", hw_machine_type="q35", hw_disk_bus="scsi", hw_scsi_model=model,
        hw_cdrom_bus="usb", hw_video_model="virtio" if model == "vmpvscsi" else "bochs", hw_vif_model="rtl8139",
        hw_firmware_type="uefi" if model == "vmpvscsi" else "bios",
    )  # fmt: skip
    guest = cloud.boot("other", image, config_drive=True)
    if model == "vmpvscsi":  # it looks through all disks, of which none has what it starts
        eventually("the firmware to say what it boots", lambda: "BdsDxe" in cloud.console(guest.id), 120)
    cloud.delete(guest.id)


def test_a_guest_with_uefi_keeps_its_variables_until_it_goes(cloud: RealCloud, guest_image: Path, tmp_path: Path):
    """The image's own boot loader is one for a BIOS; its kernel is an EFI program, too."""
    disk = tmp_path / "disk.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(guest_image), str(disk)], check=True)
    for name in ("vmlinuz", "initrd"):
        subprocess.run(["mcopy", "-i", f"{disk}@@1M", f"::{name}", str(tmp_path / name)], check=True)
    image = cloud.upload(
        guest_image.read_bytes(), "qcow2", hw_firmware_type="uefi", hw_machine_type="q35",
        kernel_id=cloud.upload((tmp_path / "vmlinuz").read_bytes()),
        ramdisk_id=cloud.upload((tmp_path / "initrd").read_bytes()),
        os_command_line="root=LABEL=floe-root console=ttyS0,115200 quiet net.ifnames=0 mitigations=off",
    )  # fmt: skip
    guest = cloud.boot("uefi", image, flavorRef=flavor(cloud, 1, hw__boot_menu="false"), key_name="key")
    cloud.booted(guest)
    assert "runtime" in cloud.ssh(guest, "ls /sys/firmware/efi")
    (variables,) = cloud.state.glob(f"**/{guest.id}/variables.fd")
    begun = Path("/usr/share/OVMF/OVMF_VARS_4M.fd").read_bytes()
    written, inode = variables.read_bytes(), variables.stat().st_ino
    assert written != begun and len(written) == len(begun)
    assert variables.stat().st_mode & 0o777 == 0o600 and variables.stat().st_uid != 0
    cloud.user().ask("POST", f"/compute/v2.1/servers/{guest.id}/action", {"reboot": {"type": "HARD"}})
    eventually("the guest to run again", lambda: cloud.server(guest.id)["status"] == "ACTIVE", 120)
    assert variables.stat().st_ino == inode
    cloud.delete(guest.id)
    assert not variables.parent.exists()
