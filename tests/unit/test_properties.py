"""Every extra spec and image property that the compute service knows has a row, and each row does what it says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from msgspec.structs import replace

from floe.core import extra_specs, image_properties
from floe.core.disks import local_disks
from floe.core.errors import Invalid
from floe.core.extra_specs import EXTRA_SPECS, check_known
from floe.core.guest_hardware import hardware_of, queues_of
from floe.core.guests import GuestImage, GuestMetadata, GuestSpec
from floe.core.image_properties import IMAGE_PROPERTIES
from floe.core.image_signatures import VALUES as SIGNATURES
from floe.core.nic_limits import NicLimits, Rate, limits_of
from floe.core.nics import Tap
from floe.core.properties import OBEYED, PLAIN, REFUSED, Properties, warning
from floe.core.servers import ServerFlavor
from floe.hypervisors.libvirt.xml import domain_xml
from floe.hypervisors.protocol import GuestFiles

FLAVOR = ServerFlavor(flavor_id="1", name="m1", vcpus=2, memory_mib=512, root_gib=1, ephemeral_gib=1, swap_mib=512)

# The names that the compute service's validation of extra specs knows (Nova 34).
SPECS = [
    "accel:device_profile",
    "aggregate_instance_extra_specs:any",
    "group_policy",
    "hide_hypervisor_id",
    "hw:boot_menu",
    "hw:cpu_cores",
    "hw:cpu_dedicated_mask",
    "hw:cpu_max_cores",
    "hw:cpu_max_sockets",
    "hw:cpu_max_threads",
    "hw:cpu_policy",
    "hw:cpu_realtime",
    "hw:cpu_realtime_mask",
    "hw:cpu_sockets",
    "hw:cpu_thread_policy",
    "hw:cpu_threads",
    "hw:emulator_threads_policy",
    "hw:ephemeral_encryption",
    "hw:ephemeral_encryption_format",
    "hw:hide_hypervisor_id",
    "hw:locked_memory",
    "hw:mem_encryption",
    "hw:mem_encryption_model",
    "hw:mem_page_size",
    "hw:numa_cpus.0",
    "hw:numa_cpus.12",
    "hw:numa_mem.0",
    "hw:numa_nodes",
    "hw:pci_numa_affinity_policy",
    "hw:pmem",
    "hw:pmu",
    "hw:redirected_usb_ports",
    "hw:serial_port_count",
    "hw:sound_model",
    "hw:tpm_model",
    "hw:tpm_secret_security",
    "hw:tpm_version",
    "hw:usb_model",
    "hw:vif_multiqueue_enabled",
    "hw:viommu_model",
    "hw:virtio_packed_ring",
    "hw:watchdog_action",
    "hw_rng:allowed",
    "hw_rng:rate_bytes",
    "hw_rng:rate_period",
    "hw_video:ram_max_mb",
    "os:secure_boot",
    "pci_passthrough:alias",
    "quota:cpu_limit",
    "quota:cpu_period",
    "quota:cpu_quota",
    "quota:cpu_reservation",
    "quota:cpu_shares",
    "quota:cpu_shares_level",
    "quota:cpu_shares_share",
    "quota:disk_io_limit",
    "quota:disk_io_reservation",
    "quota:disk_io_shares_level",
    "quota:disk_io_shares_share",
    "quota:disk_read_bytes_sec",
    "quota:disk_read_iops_sec",
    "quota:disk_total_bytes_sec",
    "quota:disk_total_iops_sec",
    "quota:disk_write_bytes_sec",
    "quota:disk_write_iops_sec",
    "quota:memory_limit",
    "quota:memory_reservation",
    "quota:memory_shares_level",
    "quota:memory_shares_share",
    "quota:vif_inbound_average",
    "quota:vif_inbound_burst",
    "quota:vif_inbound_peak",
    "quota:vif_limit",
    "quota:vif_outbound_average",
    "quota:vif_outbound_burst",
    "quota:vif_outbound_peak",
    "quota:vif_reservation",
    "quota:vif_shares_level",
    "quota:vif_shares_share",
    "vmware:hw_version",
    "vmware:storage_policy",
    "resources:VCPU",
    "resources1:MEMORY_MB",
    "resources_a:DISK_GB",
    "resources:PCPU",
    "resources:VGPU",
    "resources:CUSTOM_FPGA_X",
    "resources:PCI_DEVICE",
    "resources:SRIOV_NET_VF",
    "resources:NUMA_SOCKET",
    "resources:NUMA_CORE",
    "resources:NUMA_THREAD",
    "resources:NUMA_MEMORY_MB",
    "resources:IPV4_ADDRESS",
    "resources:VGPU_DISPLAY_HEAD",
    "resources:NET_BW_EGR_KILOBIT_PER_SEC",
    "resources:NET_BW_IGR_KILOBIT_PER_SEC",
    "resources:MEM_ENCRYPTION_CONTEXT",
    "resources:FPGA",
    "resources:PGPU",
    "resources:NET_PACKET_RATE_KILOPACKET_PER_SEC",
    "resources:NET_PACKET_RATE_EGR_KILOPACKET_PER_SEC",
    "resources:NET_PACKET_RATE_IGR_KILOPACKET_PER_SEC",
    "trait:HW_CPU_X86_AVX2",
    "trait1:CUSTOM_GOLD",
    "capabilities:hypervisor_type",
    "capabilities:cpu_info",
    "capabilities:cpu_info:features",
    "capabilities:vcpus",
    "capabilities:updated",
    "capabilities:instances",
]

# The fields of the compute service's image properties (Nova 34), and its old names for some of them.
PROPERTIES = [
    "hw_architecture",
    "hw_auto_disk_config",
    "hw_boot_menu",
    "hw_cdrom_bus",
    "hw_cpu_cores",
    "hw_cpu_max_cores",
    "hw_cpu_max_sockets",
    "hw_cpu_max_threads",
    "hw_cpu_policy",
    "hw_cpu_realtime_mask",
    "hw_cpu_sockets",
    "hw_cpu_thread_policy",
    "hw_cpu_threads",
    "hw_device_id",
    "hw_disk_bus",
    "hw_disk_type",
    "hw_emulation_architecture",
    "hw_ephemeral_encryption",
    "hw_ephemeral_encryption_format",
    "hw_ephemeral_encryption_secret_uuid",
    "hw_firmware_stateless",
    "hw_firmware_type",
    "hw_floppy_bus",
    "hw_input_bus",
    "hw_ipxe_boot",
    "hw_locked_memory",
    "hw_machine_type",
    "hw_maxphysaddr_bits",
    "hw_maxphysaddr_mode",
    "hw_mem_encryption",
    "hw_mem_encryption_model",
    "hw_mem_page_size",
    "hw_numa_cpus",
    "hw_numa_cpus.0",
    "hw_numa_mem",
    "hw_numa_mem.1",
    "hw_numa_nodes",
    "hw_pci_numa_affinity_policy",
    "hw_pmu",
    "hw_pointer_model",
    "hw_qemu_guest_agent",
    "hw_redirected_usb_ports",
    "hw_rescue_bus",
    "hw_rescue_device",
    "hw_rng_model",
    "hw_scsi_model",
    "hw_serial_port_count",
    "hw_sound_model",
    "hw_time_hpet",
    "hw_tpm_model",
    "hw_tpm_version",
    "hw_usb_model",
    "hw_video_model",
    "hw_video_ram",
    "hw_vif_model",
    "hw_vif_multiqueue_enabled",
    "hw_viommu_model",
    "hw_virtio_packed_ring",
    "hw_vm_mode",
    "hw_watchdog_action",
    "img_bdm_v2",
    "img_bittorrent",
    "img_block_device_mapping",
    "img_cache_in_nova",
    "img_compression_level",
    "img_config_drive",
    "img_hide_hypervisor_id",
    "img_hv_requested_version",
    "img_hv_type",
    "img_linked_clone",
    "img_mappings",
    "img_owner_id",
    "img_root_device_name",
    "img_signature",
    "img_signature_certificate_uuid",
    "img_signature_hash_method",
    "img_signature_key_type",
    "img_use_agent",
    "img_version",
    "os_admin_user",
    "os_command_line",
    "os_distro",
    "os_require_quiesce",
    "os_secure_boot",
    "os_skip_agent_inject_files_at_boot",
    "os_skip_agent_inject_ssh",
    "os_type",
    "traits_required",
    "architecture",
    "owner_id",
    "vmware_disktype",
    "vmware_image_version",
    "vmware_ostype",
    "auto_disk_config",
    "ipxe_boot",
    "xenapi_device_id",
    "xenapi_image_compression_level",
    "vmware_linked_clone",
    "xenapi_use_agent",
    "xenapi_skip_agent_inject_ssh",
    "xenapi_skip_agent_inject_files_at_boot",
    "cache_in_nova",
    "vm_mode",
    "bittorrent",
    "mappings",
    "block_device_mapping",
    "bdm_v2",
    "root_device_name",
    "hypervisor_version_requires",
    "hypervisor_type",
    "vmware_adaptertype",
    "trait:HW_CPU_X86_AVX2",
    "kernel_id",
    "ramdisk_id",
]

SEEN_ELSEWHERE = {
    "os_shutdown_timeout": "tests/functional/conductor/test_power.py",
    "os_require_quiesce": "tests/functional/test_server_images.py",
    "hw_architecture": "scheduler", "architecture": "scheduler", "img_hv_type": "scheduler",
    "hypervisor_type": "scheduler", "trait:{name}": "scheduler", "img_config_drive": "config drive",
    "hw_auto_disk_config": "tests/functional/compute/test_disk_config.py",
    "auto_disk_config": "tests/functional/compute/test_disk_config.py",
    "os_admin_user": "tests/functional/compute/test_guest_questions.py",
    "hw_rescue_bus": "tests/functional/test_server_rescue.py",
    "hw_rescue_device": "tests/functional/test_server_rescue.py",
    **dict.fromkeys(SIGNATURES, "tests/functional/test_signed_images.py"),
}  # fmt: skip
"""Properties that are obeyed by others than the hypervisor; their own tests show it."""

CHANGES_THE_XML: Mapping[str, tuple[str, str]] = {
    "hw_machine_type": ("q35", 'machine="q35"'),
    "hw_disk_bus": ("scsi", 'bus="scsi"'),
    "hw_vif_model": ("e1000", 'type="e1000"'),
    "hw_firmware_type": ("uefi", "<nvram>/state/variables.fd</nvram>"),
    "os_command_line": ("quiet splash", "<cmdline>quiet splash</cmdline>"),
    "kernel_id": ("k", "<kernel>"),
    "ramdisk_id": ("r", "<initrd>"),
    "hw_cpu_sockets": ("1", '<topology sockets="1" cores="4" threads="1" />'),
    "hw_cpu_cores": ("4", '<topology sockets="1" cores="4" threads="1" />'),
    "hw_cpu_threads": ("2", '<topology sockets="2" cores="1" threads="2" />'),
    "hw_cpu_max_sockets": ("2", '<topology sockets="2" cores="2" threads="1" />'),
    "hw_cpu_max_cores": ("1", '<topology sockets="4" cores="1" threads="1" />'),
    "hw_cpu_max_threads": ("1", '<topology sockets="4" cores="1" threads="1" />'),
    "hw_boot_menu": ("yes", '<bootmenu enable="yes" />'),
    "hw_cdrom_bus": ("usb", '<target dev="sdd" bus="usb" />'),
    "hw_scsi_model": ("lsilogic", '<controller type="scsi" model="lsilogic" />'),
    "hw_usb_model": ("nec-xhci", '<controller type="usb" model="nec-xhci" />'),
    "hw_rng_model": ("virtio", ""),  # the only one there is
    "hw_watchdog_action": ("reset", '<watchdog model="i6300esb" action="reset" />'),
    "hw_video_model": ("vga", '<model type="vga" />'),
    "hw_video_ram": ("16", '<model type="vga" vram="16384" />'),
    "hw_qemu_guest_agent": ("no", ""),
    "hw_time_hpet": ("true", '<timer name="hpet" present="yes" />'),
    "img_hide_hypervisor_id": ("true", '<hidden state="on" />'),
    "os_type": ("windows", '<clock offset="localtime" />'),
    "hw_vif_multiqueue_enabled": ("true", '<driver queues="4" />'),
    "root_device_name": ("/dev/vda", ""),
    "img_root_device_name": ("vda", ""),
}
BESIDE: Mapping[str, Mapping[str, str]] = {
    "hw_scsi_model": {"hw_disk_bus": "scsi"},
    "hw_video_ram": {"hw_video_model": "vga", "hw_video:ram_max_mb": "16"},
    "hw_video:ram_max_mb": {"hw_video_model": "vga", "hw_video_ram": "16"},
    "hw_rng:rate_period": {"hw_rng:rate_bytes": "7"},
}
"""What a property means nothing without."""

SPECS_SEEN_ELSEWHERE = ("resources", "trait{group}", "aggregate_instance_extra_specs", "quota:vif")
SPECS_CHANGE_THE_XML: Mapping[str, tuple[str, str]] = {
    **{f"hw:cpu_{part}": CHANGES_THE_XML[f"hw_cpu_{part}"] for part in ("sockets", "cores", "threads")},
    **{f"hw:cpu_max_{part}": CHANGES_THE_XML[f"hw_cpu_max_{part}"] for part in ("sockets", "cores", "threads")},
    "hw:boot_menu": CHANGES_THE_XML["hw_boot_menu"],
    "hw:hide_hypervisor_id": CHANGES_THE_XML["img_hide_hypervisor_id"],
    "hide_hypervisor_id": CHANGES_THE_XML["img_hide_hypervisor_id"],
    "hw:usb_model": CHANGES_THE_XML["hw_usb_model"],
    "hw:vif_multiqueue_enabled": CHANGES_THE_XML["hw_vif_multiqueue_enabled"],
    "hw:watchdog_action": CHANGES_THE_XML["hw_watchdog_action"],
    "hw_rng:allowed": ("false", ""),
    "hw_rng:rate_bytes": ("4096", '<rate bytes="4096" />'),
    "hw_rng:rate_period": ("2000", '<rate bytes="7" period="2000" />'),
    "hw_video:ram_max_mb": ("32", '<model type="vga" vram="16384" />'),
    **{
        f"quota:disk_{way}_{unit}_sec": ("9", f"<{way}_{unit}_sec>9</{way}_{unit}_sec>")
        for way in ("read", "write", "total")
        for unit in ("bytes", "iops")
    },
}


@pytest.mark.parametrize(("table", "names"), [(EXTRA_SPECS, SPECS), (IMAGE_PROPERTIES, PROPERTIES)])
def test_every_name_that_the_compute_service_knows_has_a_row(table: Properties, names: list[str]) -> None:
    assert [name for name in names if table.get(name) is None] == []


@pytest.mark.parametrize("table", [EXTRA_SPECS, IMAGE_PROPERTIES])
def test_every_row_has_one_standing_and_a_refused_one_says_why(table: Properties) -> None:
    assert len({row.name for row in table.rows}) == len(table.rows)
    for row in table.rows:
        assert row.standing in {OBEYED, REFUSED, PLAIN}
        assert bool(row.why) == (row.standing != PLAIN), row.name


def test_what_is_obeyed_by_the_hypervisor_changes_the_guest() -> None:
    obeyed = {row.name for row in IMAGE_PROPERTIES.rows if row.standing == OBEYED}
    assert obeyed == SEEN_ELSEWHERE.keys() | CHANGES_THE_XML.keys()
    specs = {row.name for row in EXTRA_SPECS.rows if row.standing == OBEYED}
    assert {name for name in specs if not name.startswith(SPECS_SEEN_ELSEWHERE)} == SPECS_CHANGE_THE_XML.keys()
    for name, (value, part) in {**CHANGES_THE_XML, **SPECS_CHANGE_THE_XML}.items():
        beside = BESIDE.get(name, {})
        made = _xml({**beside, name: value})
        assert part in made, name
        assert not part or name == "hw_video:ram_max_mb" or made != _xml(beside), name


def test_devices_that_are_not_wanted_are_left_out() -> None:
    assert "guest_agent" in _xml({}) and "guest_agent" not in _xml({"hw_qemu_guest_agent": "no"})
    assert "<rng" in _xml({}) and "<rng" not in _xml({"hw_rng:allowed": "false", "hw_rng_model": "virtio"})
    assert "watchdog" not in _xml({"hw:watchdog_action": "reset", "hw_watchdog_action": "disabled"})
    assert 'present="no"' in _xml({"hw_time_hpet": "no"})


@pytest.mark.parametrize(
    ("carried", "words"),
    [
        ({"hw:cpu_cores": "3"}, "ask for 3 cores, which 4 vCPUs cannot have"),
        ({"hw:cpu_cores": "2", "hw_cpu_max_cores": "1"}, "at most 1 cores"),
        ({"hw:cpu_sockets": "8"}, "8 sockets"),
        ({"hw_video_model": "vga", "hw_video_ram": "1"}, "hw_video:ram_max_mb allows 0"),
        ({"hw_video_ram": "1", "hw_video:ram_max_mb": "1"}, "hw_video_model 'vga' alone"),
        ({"hw_rng:rate_period": "1"}, "hw_rng:rate_bytes"),
        ({"hw_usb_model": "none", "hw_disk_bus": "usb"}, "hw_usb_model"),
        ({"quota:disk_total_iops_sec": "1", "quota:disk_read_iops_sec": "1"}, "the sum, or its parts"),
        ({"quota:disk_total_iops_sec": f"{10**16}"}, "The most"),
        ({"quota:vif_inbound_peak": "1"}, "quota:vif_inbound_peak means nothing without quota:vif_inbound_average"),
        ({"quota:vif_outbound_burst": "1", "quota:vif_outbound_average": "0"}, "quota:vif_outbound_burst means"),
        ({"quota:vif_inbound_average": "9", "quota:vif_inbound_peak": "8"}, "peak (8) must not be less than"),
        ({"quota:vif_inbound_average": "10000001"}, "quota:vif_inbound_average may be is 10000000"),
        ({"quota:vif_inbound_average": "1", "quota:vif_inbound_burst": f"{2**64}"}, "burst may be is 4000000"),
        ({"root_device_name": "/dev/sda"}, "on its bus it is '/dev/vda'"),
        ({"hw_machine_type": "q35", "hw_cdrom_bus": "ide"}, "hw_cdrom_bus"),
    ],
)
def test_what_contradicts_itself_is_refused(carried: dict[str, str], words: str) -> None:
    with pytest.raises(Invalid) as caught:
        hardware_of(carried, carried, 4)
    assert words in caught.value.message


def test_limits_of_nics_are_of_each_way_by_itself() -> None:
    assert limits_of({"quota:vif_inbound_average": "0", "quota:vif_inbound_burst": "0", "mine": "1"}) is None
    specs = {"quota:vif_outbound_average": "9", "quota:vif_outbound_peak": "9", "quota:vif_outbound_burst": "4000000"}
    assert limits_of(specs) == NicLimits(outbound=Rate(average=9, peak=9, burst=4000000))


@given(st.integers(1, 5000), st.dictionaries(st.sampled_from(["sockets", "cores", "threads"]), st.integers(1, 64)))
def test_a_topology_has_as_many_cpus_as_the_flavor_and_keeps_every_limit(vcpus: int, limits: dict[str, int]) -> None:
    specs = {f"hw:cpu_max_{part}": str(limit) for part, limit in limits.items()}
    try:
        found = hardware_of(specs, {}, vcpus).topology
    except Invalid:
        return
    assert (found is None) == (not limits)
    if found is not None:
        parts = dict(zip(("sockets", "cores", "threads"), found, strict=True))
        assert math.prod(found) == vcpus and all(parts[part] <= limit for part, limit in limits.items())


@pytest.mark.parametrize(
    ("specs", "properties", "vcpus", "queues"),
    [
        ({}, {}, 4, 1),
        ({"hw:vif_multiqueue_enabled": "true"}, {}, 4, 4),
        ({}, {"hw_vif_multiqueue_enabled": "yes"}, 64, 16),
        ({"hw:vif_multiqueue_enabled": "yes"}, {"hw_vif_multiqueue_enabled": "1"}, 1, 1),
        ({"hw:vif_multiqueue_enabled": "false"}, {"hw_vif_model": "e1000"}, 4, 1),
    ],
)
def test_a_nic_has_a_queue_for_each_vcpu_where_that_is_asked_for(
    specs: dict[str, str], properties: dict[str, str], vcpus: int, queues: int
) -> None:
    assert queues_of(specs, properties, vcpus) == queues


@pytest.mark.parametrize(
    ("specs", "properties"),
    [
        ({"hw:vif_multiqueue_enabled": "true"}, {"hw_vif_model": "e1000"}),
        ({"hw:vif_multiqueue_enabled": "true"}, {"hw_vif_multiqueue_enabled": "false"}),
    ],
)
def test_queues_that_a_nic_cannot_have_are_refused_before_it_is_made(
    specs: dict[str, str], properties: dict[str, str]
) -> None:
    with pytest.raises(Invalid, match="hw_vif_multiqueue_enabled"):
        hardware_of(specs, properties, 4)


def _xml(properties: Mapping[str, str]) -> str:
    """Return the XML of a guest whose flavor and image carry these; each finds its own by its name."""
    folder = Path("/state")
    files = GuestFiles(
        directory=folder,
        disks={"root": folder / "disk", "config": folder / "config"},
        bases={"root": folder / "base"},
        console_log=folder / "console.log",
        variables=folder / "variables.fd",
    )
    if properties.keys() & {"kernel_id", "ramdisk_id", "os_command_line"}:
        files = replace(files, kernel=folder / "kernel")
    if "ramdisk_id" in properties:
        files = replace(files, ramdisk=folder / "ramdisk")
    guest = GuestSpec(
        server_id="bbbbbbbb-0000-4000-8000-000000000001",
        name="instance-0000002a",
        vcpus=4,
        memory_mib=64,
        disks=local_disks(properties, image_id="i", root_mib=1024, config_drive="hw_cdrom_bus" in properties),
        extra_specs=properties,
        image=GuestImage(image_id="i", checksum="", size=1, disk_format="raw", virtual_size=1, properties=properties),
        nics=(
            Tap(
                port_id="p1",
                mac="fa:16:3e:00:00:01",
                device="tap1",
                model=properties.get("hw_vif_model", "virtio"),
                queues=queues_of(properties, properties, 4),
            ),
        ),
        metadata=GuestMetadata(hostname="web", name="web", project_id="42"),
    )
    return domain_xml(guest, files, kvm=True, owner="floe", version="1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("os:secure_boot", "required"),
        ("hw:mem_encryption", "yes"),
        ("hw:tpm_model", "tpm-crb"),
        ("hw:tpm_version", "2.0"),
        ("hw:cpu_policy", "dedicated"),
        ("hw:cpu_policy", "mixed"),
        ("hw:cpu_thread_policy", "require"),
        ("hw:emulator_threads_policy", "isolate"),
        ("hw:numa_nodes", "1"),
        ("hw:numa_mem.0", "256"),
        ("hw:mem_page_size", "large"),
        ("hw:mem_page_size", "2MB"),
        ("hw:locked_memory", "true"),
        ("hw:pmem", "BIG"),
        ("hw:pci_numa_affinity_policy", "required"),
        ("pci_passthrough:alias", "gpu:1"),
        ("accel:device_profile", "fast"),
        ("quota:cpu_quota", "10000"),
        ("quota:cpu_shares", "2048"),
        ("hw:sound_model", "ac97"),
        ("hw:pmu", "true"),
        ("hw:serial_port_count", "2"),
        ("capabilities:hypervisor_type", "QEMU"),
        ("group_policy", "isolate"),
        ("quota:vif_limit", "1000"),
        ("quota:memory_shares_level", "high"),
        ("resources:VCPU", "1"),
        ("resources:VCPU", "0"),
        ("resources1:MEMORY_MB", "512"),
        ("resources:PCPU", "2"),
    ],
)
def test_an_extra_spec_that_somebody_would_rely_on_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(Invalid) as caught:
        extra_specs.check_obeyed(structs.replace(FLAVOR, extra_specs={name: value}))
    for part in (name, value, "Flavor m1", "Use one without"):
        assert part in caught.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("os:secure_boot", "disabled"),
        ("hw:mem_encryption", "False"),
        ("hw:cpu_policy", "shared"),
        ("hw:cpu_thread_policy", "prefer"),
        ("hw:mem_page_size", "small"),
        ("hw:mem_page_size", "4"),
        ("hw:mem_page_size", "4KB"),
        ("hw:locked_memory", "no"),
        ("quota:cpu_limit", "0"),
        ("quota:cpu_quota", "-1"),
        ("quota:vif_shares_level", "normal"),
        ("quota:disk_total_bytes_sec", "0"),
        ("quota:vif_inbound_peak", "0"),
        ("resources:VCPU", "2"),
        ("resources:MEMORY_MB", "512"),
        ("resources:DISK_GB", "3"),
        ("hw:watchdog_action", "disabled"),
        ("hw_rng:allowed", "true"),
        ("trait:CUSTOM_GOLD", "required"),
        ("resources:CUSTOM_FPGA", "1"),
        ("anything", "goes"),
        ("my:own", "business"),
    ],
)
def test_what_holds_anyway_or_is_somebodys_own_is_passed_in_silence(name: str, value: str) -> None:
    extra_specs.check_obeyed(structs.replace(FLAVOR, extra_specs={name: value}))


def test_what_nobody_knows_in_a_known_namespace_is_refused() -> None:
    with pytest.raises(Invalid, match="nobody knows its extra spec hw:not_yet_invented"):
        extra_specs.check_obeyed(structs.replace(FLAVOR, extra_specs={"hw:not_yet_invented": "1"}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hw_disk_bus", "fdc"),
        ("hw_disk_bus", "bogus"),
        ("hw_scsi_model", "buslogic"),
        ("hw_video_model", "qxl"),
        ("hw_cdrom_bus", "virtio"),
        ("hw_vif_multiqueue_enabled", "perhaps"),
        ("hw_pointer_model", "usbtablet"),
        ("os_require_quiesce", "perhaps"),
        ("hw_firmware_type", "coreboot"),
        ("hw_vif_model", "vmxnet3"),
        ("hw_machine_type", "pc-q35-6.2"),
        ("os_secure_boot", "required"),
        ("os_secure_boot", "perhaps"),
        ("hw_firmware_stateless", "true"),
        ("hw_mem_encryption", "True"),
        ("hw_ephemeral_encryption", "1"),
        ("img_signature", "?"),
        ("img_signature_hash_method", "MD5"),
        ("img_signature_key_type", "ECC_SECT571K1"),
        ("img_signature_certificate_uuid", "../x"),
        ("hw_tpm_model", "tpm-tis"),
        ("hw_tpm_version", "1.2"),
        ("hw_cpu_policy", "dedicated"),
        ("hw_cpu_policy", "bogus"),
        ("hw_numa_nodes", "2"),
        ("hw_numa_nodes", "two"),
        ("hw_mem_page_size", "2048"),
        ("hw_vm_mode", "xen"),
        ("hw_architecture", "bogus"),
        ("img_hv_type", "bogus"),
        ("img_config_drive", "perhaps"),
        ("hw_video_ram", "much"),
        ("hw_video_ram", "257"),
        ("hw_cpu_cores", "9" * 5000),
        ("hw_watchdog_action", "explode"),
        ("block_device_mapping", '[{"snapshot_id": "x"}]'),
        ("os_command_line", "a\nb"),
        ("os_command_line", "x" * 2049),
    ],
)
def test_an_image_property_that_cannot_be_done_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(Invalid, match=name):
        image_properties.check_obeyed("i", {name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("os_type", "linux"),
        ("os_distro", "debian"),
        ("hw_scsi_model", "virtio-scsi"),
        ("hw_qemu_guest_agent", "yes"),
        ("hw_cpu_policy", "shared"),
        ("os_secure_boot", "optional"),
        ("hw_mem_encryption", "false"),
        ("hw_disk_bus", ""),
        ("hw_architecture", "X86_64"),
        ("block_device_mapping", "[]"),
        ("colour", "blue"),
    ],
)
def test_an_image_property_that_asks_for_what_holds_anyway_is_taken(name: str, value: str) -> None:
    image_properties.check_obeyed("i", {name: value})


def test_a_warning_is_one_sentence_of_a_bounded_length() -> None:
    assert warning([]) == ""
    assert warning(["a='1'", "b='2'"]) == "without effect here: a='1', b='2'"
    assert len(warning(["x" * 60] * 128)) <= 1000


@pytest.mark.parametrize(
    ("key", "value", "good"),
    [
        ("hw:cpu_cores", "0", False),
        ("hw:cpu_cores", "-1", False),
        ("hw:cpu_cores", " 2 ", True),
        ("hw:redirected_usb_ports", "16", False),
        ("hw:sound_model", "theremin", False),
        ("hw:pmu", "perhaps", False),
        ("hw:pmu", " TRUE ", True),
        ("os:secure_boot", "optional", False),
        ("resources:NONSENSE", "1", False),
        ("resources:CUSTOM_X", "x", False),
        ("resources_any-group1:VCPU", "1", True),
        ("quota:cpu_quota", "-1", True),
        ("quota:cpu_quota", "²", False),
        ("pci_passthrough:alias", "gpu", False),
        ("accel:nothing", "x", False),
        ("hide_hypervisor_id", "x", False),
        ("group_policy", "x", False),
        ("vmware:anything", "x", False),
        ("capabilities:cpu_info:vendor", "x", True),
        ("own:thing", "x", True),
    ],
)
def test_from_2_86_on_extra_specs_are_checked_as_the_compute_service_does(key: str, value: str, good: bool) -> None:
    if good:
        check_known({key: value})
    else:
        with pytest.raises(Invalid):
            check_known({key: value})


@given(st.sampled_from(SPECS), st.text(max_size=40))
def test_no_value_of_an_extra_spec_is_anything_but_refused_or_obeyed(name: str, value: str) -> None:
    flavor = structs.replace(FLAVOR, extra_specs={name: value})
    try:
        extra_specs.check_obeyed(flavor)
    except Invalid as error:
        assert name in error.message
        return
    try:
        hardware_of(flavor.extra_specs, {}, flavor.vcpus)
    except Invalid as error:
        assert name.rpartition("_")[0] in error.message or "hw:cpu_*" in error.message
