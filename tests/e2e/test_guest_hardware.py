"""The hardware that flavors and images ask for, seen from inside guests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from real_cloud import Guest, RealCloud, encoded, eventually

pytestmark = pytest.mark.e2e

WATCHDOG, VGA, E1000E, VIRTIO_RNG = "8086:25ab", "1234:1111", "8086:10d3", "1af4:1005"
XHCI, NEC_XHCI, Q35 = "1b36:000d", "1033:0194", "8086:29c0"
PCI = "for d in /sys/bus/pci/devices/*; do echo $(cat $d/vendor):$(cat $d/device); done | sed 's/0x//g'"
CPUS = "echo cpus $(cat /sys/devices/system/cpu/cpu0/topology/core_siblings_list) of $(nproc)"
CLOCKS = "cat /sys/devices/system/clocksource/clocksource0/available_clocksource"
TOOK = 'took() { read a r < /proc/uptime; "$@" 2>&-; read b r < /proc/uptime; echo took $((${b%.*} - ${a%.*})); }'
OVERTAKES = 4
"""Seconds that what follows takes at least, by the limits of its disk; a second or so without them."""
MIB_SEC, OPS_SEC = 8 * 1024**2, 800
KB_SEC, CARRIED = 200, 2 * 1024**2
"""Of its NIC, and the bytes that go each way: what comes at once is of a second, and 64 KiB."""
CARRY = (CARRIED - KB_SEC * 1000 - 65536) // (KB_SEC * 1000)
"""Seconds that this takes at least."""
READ = f"{TOOK}; echo 3 > /proc/sys/vm/drop_caches; took dd if=/dev/sda of=/dev/null bs=1M count=48 iflag=direct"
READS = f"{TOOK}; took dd if=/dev/sda of=/dev/null bs=4k count=4800 iflag=direct"
WRITE = f"{TOOK}; took dd if=/dev/zero of=/large bs=1M count=48 conv=fsync"
WRITES = f"{TOOK}; took dd if=/dev/zero of=/large bs=4k count=4800 oflag=direct"
UNFED = """
device=$(dirname $(grep -l 0x25ab /sys/bus/pci/devices/*/device))
echo 1 > $device/enable; read base rest < $device/resource
unlock() { devmem $((base + 12)) 16 0x80; devmem $((base + 12)) 16 0x86; }
unlock; devmem $((base)) 32 1; unlock; devmem $((base + 4)) 32 1
(sleep 1; printf '\\2' | dd of=$device/config bs=1 seek=104 conv=notrunc) < /dev/null > /dev/null 2>&1 &
"""
"""Starts the watchdog with the least of patience, as its datasheet says: the tiny guest has no driver for it."""
BY_CONSOLE = (
    f"#!/bin/sh\n({PCI}; ls /sys/block /sys/class/virtio-ports; {CPUS}; {CLOCKS}; {READ}; {WRITE}; {READS}; {WRITES};"
    f" echo seen) > /dev/console 2>&1\n{UNFED}"
)


@pytest.fixture(scope="module")
def cloud(new_cloud: Callable[..., AbstractContextManager[RealCloud]]) -> Iterator[RealCloud]:
    with new_cloud() as made:
        made.start()
        made.let_in(22)
        yield made


def flavor(cloud: RealCloud, vcpus: int, swap: int = 0, **specs: str) -> str:
    admin = cloud.user("admin")
    number = len(admin.get("/compute/v2.1/flavors")["flavors"])
    body = {"name": f"shape {number}", "vcpus": vcpus, "ram": 192, "disk": 1, "swap": swap}
    made = admin.post("/compute/v2.1/flavors", {"flavor": body})["flavor"]["id"]
    known = {name.replace("__", ":"): value for name, value in specs.items()}
    admin.post(f"/compute/v2.1/flavors/{made}/os-extra_specs", {"extra_specs": known})
    return str(made)


def started(cloud: RealCloud, guest: Guest) -> str:
    """Return what QEMU was started with: of what guests cannot see, and of what only KVM shows them."""
    (line,) = (line for line in cloud.holdings()["guests"] if guest.id in line)
    return str(line)


def seconds(cloud: RealCloud, guest: Guest, work: Callable[[], object]) -> float:
    """Return how long something takes by the guest's own clock."""
    began = float(cloud.ssh(guest, "cat /proc/uptime").split()[0])
    work()
    return float(cloud.ssh(guest, "cat /proc/uptime").split()[0]) - began


def test_a_guest_has_the_cpus_disks_and_devices_that_were_asked_for(
    cloud: RealCloud, guest_image: Path, tmp_path: Path
):
    specs = {"hw__cpu_sockets": "1", "hw__cpu_cores": "2", "hw__watchdog_action": "poweroff", "hw__boot_menu": "true"}
    limits = {f"quota__disk_{way}_bytes_sec": str(MIB_SEC) for way in ("read", "write")}
    limits |= {"quota__disk_total_iops_sec": str(OPS_SEC), "hw_rng__rate_bytes": "4096", "hw_rng__rate_period": "1000"}
    image = cloud.upload(
        guest_image.read_bytes(), "qcow2", hw_disk_bus="scsi", hw_cdrom_bus="scsi", hw_video_model="vga",
        hw_video_ram="32", hw_usb_model="qemu-xhci", hw_time_hpet="true", hw_vif_multiqueue_enabled="true",
        hw_rng_model="virtio", hw_cpu_max_sockets="1", hw_cpu_max_cores="2", hw_cpu_max_threads="1",
    )  # fmt: skip
    limits |= {f"quota__vif_{way}_average": str(KB_SEC) for way in ("inbound", "outbound")}
    more = {"hw_video__ram_max_mb": "32", "hw__hide_hypervisor_id": "yes", "hw__vif_multiqueue_enabled": "true"}
    shape = flavor(cloud, 2, 16, **specs, **limits, **more)
    disks = [
        {"source_type": "image", "destination_type": "local", "uuid": image, "boot_index": 0, "tag": "system"},
        {"source_type": "blank", "destination_type": "local", "guest_format": "swap", "disk_bus": "virtio"},
    ]
    guest = cloud.boot(
        "shaped", image, flavorRef=shape, key_name="key", config_drive=True, block_device_mapping_v2=disks
    )
    cloud.booted(guest)
    assert int(cloud.ssh(guest, "cat /sys/block/vda/size")) == 16 * 2048
    told = cloud.ssh(guest, "wget -q -O - http://169.254.169.254/openstack/latest/meta_data.json")
    (root,) = json.loads(told)["devices"]
    assert (root["bus"], root["address"], root["serial"]) == ("scsi", "none", "root")
    assert "root" in cloud.ssh(guest, "tail -c +5 /sys/block/sda/device/vpd_pg80")
    place = "/sys/devices/system/cpu/cpu0/topology"
    seen = cloud.ssh(guest, f"nproc; cat {place}/thread_siblings_list {place}/core_siblings_list").split()
    assert seen == ["2", "0", "0-1"]  # one socket of two cores; unasked there are two sockets
    assert cloud.ssh(guest, "cat /sys/class/misc/hw_random/rng_current").strip().startswith("virtio_rng")
    assert "virtio" in cloud.ssh(guest, "readlink -f /sys/block/sda")
    assert "virtio" in cloud.ssh(guest, "readlink -f /sys/block/sr0")
    assert cloud.ssh(guest, "ls /sys/class/net/eth0/queues").split() == ["rx-0", "rx-1", "tx-0", "tx-1"]
    assert {WATCHDOG, VGA, XHCI} <= set(cloud.ssh(guest, PCI).split())
    memory = "stat -c %s $(dirname $(grep -l 0x1234 /sys/bus/pci/devices/*/vendor))/resource0"
    assert int(cloud.ssh(guest, memory)) == 32 * 1024**2
    assert "hpet" in cloud.ssh(guest, CLOCKS).split()
    slow = {look: int(cloud.ssh(guest, look).split()[-1]) for look in (READ, WRITE, READS, WRITES)}
    assert min(slow.values()) >= OVERTAKES, slow
    large = tmp_path / "large"
    large.write_bytes(bytes(CARRIED))
    assert seconds(cloud, guest, lambda: cloud.put(guest, [large], "/")) >= CARRY
    assert seconds(cloud, guest, lambda: cloud.ssh(guest, "cat /large")) >= CARRY
    words = started(cloud, guest)
    assert "menu=on" in words and '"max-bytes":4096,"period":1000' in words
    cloud.ssh(guest, UNFED)
    eventually("the watchdog to end it", lambda: cloud.server(guest.id)["status"] == "SHUTOFF", 60)
    cloud.delete(guest.id)


def test_a_guest_has_another_nic_and_bus_and_neither_agent_nor_randomness(cloud: RealCloud, guest_image: Path):
    image = cloud.upload(
        guest_image.read_bytes(), "qcow2", hw_disk_bus="ide", hw_vif_model="e1000e", hw_qemu_guest_agent="no",
        os_type="windows", hw_boot_menu="true", root_device_name="/dev/hda", img_config_drive="mandatory",
        hw_cpu_sockets="1", hw_cpu_cores="1", hw_cpu_threads="2", hw_watchdog_action="pause", hw_time_hpet="false",
    )  # fmt: skip
    most = {"hw__cpu_max_sockets": "1", "hw__cpu_max_cores": "1", "hw__cpu_max_threads": "2", "hw__cpu_threads": "2"}
    limits = {f"quota__disk_{way}_iops_sec": str(OPS_SEC) for way in ("read", "write")}
    limits["quota__disk_total_bytes_sec"] = str(MIB_SEC)
    limits |= {f"quota__vif_{way}_average": "10000" for way in ("inbound", "outbound")}
    limits |= {"quota__vif_inbound_peak": "20000", "quota__vif_inbound_burst": "16384"}
    limits |= {"quota__vif_outbound_peak": "30000", "quota__vif_outbound_burst": "32768"}
    devices = {"hw_rng__allowed": "false", "hw__watchdog_action": "none", "hw__usb_model": "nec-xhci"}
    guest = cloud.boot(
        "other", image, flavorRef=flavor(cloud, 2, **most, **limits, **devices), user_data=encoded(BY_CONSOLE)
    )
    text = eventually(
        "the guest to say what it sees", lambda: (said := cloud.console(guest.id)) and "seen" in said and said, 240
    )
    words = set(text.split())
    assert {E1000E, WATCHDOG, NEC_XHCI, "sda", "sr0"} <= words
    assert not {VIRTIO_RNG, VGA, "vda", "vport0p1", "vport1p1", "hpet"} & words
    assert "cpus 0-1 of 2" in text  # one socket; without KVM its threads are cores to the guest
    slow = [int(line.split()[1]) for line in text.splitlines() if line.startswith("took ")]
    assert len(slow) == 4 and min(slow) >= OVERTAKES, slow
    words_of_qemu = started(cloud, guest)
    for word in ("menu=on", "base=localtime", "cores=1,threads=2"):
        assert word in words_of_qemu, word
    rules = cloud.inside("nft", "list", "table", "bridge", "floe")
    for rate, burst in ((20000, "64 k"), (10000, "6777216 "), (30000, "64 k"), (10000, "23554432 ")):
        assert f"limit rate over {rate * 1000} bytes/second burst {burst}bytes" in rules
    eventually("the watchdog to pause it", lambda: cloud.server(guest.id)["status"] == "PAUSED", 60)
    cloud.delete(guest.id)


@pytest.mark.parametrize(("model", "model_in_qemu"), [("lsisas1068", "mptsas1068"), ("vmpvscsi", "pvscsi")])
def test_a_machine_of_another_kind_starts(cloud: RealCloud, guest_image: Path, model: str, model_in_qemu: str):
    image = cloud.upload(
        guest_image.read_bytes(), "qcow2", hw_machine_type="q35", hw_disk_bus="scsi", hw_scsi_model=model,
        hw_cdrom_bus="usb", hw_video_model="virtio" if model == "vmpvscsi" else "bochs", hw_vif_model="rtl8139",
        hw_firmware_type="uefi" if model == "vmpvscsi" else "bios",
    )  # fmt: skip
    guest = cloud.boot("other", image, flavorRef=flavor(cloud, 1), config_drive=True)
    words = started(cloud, guest)
    for device in (model_in_qemu, "rtl8139", "bochs-display" if model == "lsisas1068" else "virtio-vga", "usb-storage"):
        assert f'"driver":"{device}"' in words, device
    if model == "vmpvscsi":  # it looks through all disks, of which none has what it starts
        eventually("the firmware to say what it boots", lambda: "BdsDxe" in cloud.console(guest.id), 120)
    cloud.delete(guest.id)


def test_a_guest_with_uefi_keeps_its_variables_until_it_goes(cloud: RealCloud, guest_image: Path):
    """The image's own boot loader is one for a BIOS; its kernel is an EFI program, too."""
    image = cloud.upload_direct(guest_image, hw_firmware_type="uefi", hw_machine_type="q35")
    guest = cloud.boot("uefi", image, flavorRef=flavor(cloud, 1, hw__boot_menu="false"), key_name="key")
    cloud.booted(guest)
    assert "runtime" in cloud.ssh(guest, "ls /sys/firmware/efi")
    assert Q35 in cloud.ssh(guest, PCI).split()
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
