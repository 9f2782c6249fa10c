"""Extra specs of flavors whose names say what they do, and what Floe does with each.

A key is `namespace:name`. In the namespaces below only these names, with these values, are good; what stands in
another namespace, or in none, is the operator's own and goes unchecked. Source: the compute API's 2.86, and the list of
extra specs that its validation knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from floe.core.errors import Invalid
from floe.core.nic_limits import RATES, WAYS
from floe.core.properties import (
    AMOUNT,
    BOOLEAN,
    COUNT,
    NO,
    NUMBER,
    OBEYED,
    REFUSED,
    TEXT,
    YES,
    Properties,
    Property,
    Values,
    check,
    one_of,
    shaped,
    shown,
    whole,
)
from floe.core.servers import ServerFlavor

# What a refusal says that this cloud does not do; image properties ask for the same.
NO_DEDICATED_CPUS = "gives servers no CPUs of their own"
NO_NUMA = "lays out no NUMA nodes"
NO_HUGE_PAGES = "gives servers memory in pages of the usual size only"
NO_LOCKED_MEMORY = "does not lock the memory of servers"
NO_MEMORY_ENCRYPTION = "does not encrypt the memory of servers"
NO_DISK_ENCRYPTION = "does not encrypt the disks of servers"
NO_SECURE_BOOT = "starts servers without secure boot"
NO_TPM = "gives servers no TPM"
NO_DEVICES = "gives servers no devices of the host"
NO_SOUND = "gives servers no sound device"
NO_VIOMMU = "gives servers no IOMMU"
NO_PACKED_RINGS = "leaves the rings of virtio devices split"
NO_PMU = "leaves a server's performance counters as its hypervisor has them"
NO_REDIRECTION = "redirects no USB devices"
ONE_SERIAL_PORT = "gives a server one serial port"
OWN_TOPOLOGY = "the guest's sockets, cores and threads; what its vCPUs cannot have is refused"
OWN_WATCHDOG = "a watchdog (i6300esb) that does this when it is not fed"
OWN_BOOT_MENU = "the firmware offers its boot menu"
OWN_QUEUES = "each NIC (virtio) has a queue for each vCPU, at most 16"
OWN_USB = "the guest's USB controller"
OWN_HIDING = "the guest is not told that KVM runs it; emulated ones never are"
_NO_LIMITS = "limits a server's disks and NICs, and nothing else of what it takes beyond its vCPUs, memory and disk"
_OWN_LIMITS = "each disk of the guest may do so much; 0 is no limit"
_NIC_LIMITS = {
    "average": "each NIC of the guest has so many kB a second, on hosts that can limit them; 0 is no limit",
    "peak": "how fast a burst may be, in kB a second; with an average alone",
    "burst": "how many KiB may come at once, at least those of a second and 64 more; with an average alone",
}
_OWN_RNG = "the guest's device of randomness (virtio), or none, or so many bytes in so many milliseconds"
_NO_CAPABILITIES = "chooses hosts by traits and aggregates, not by capabilities"
_NO_VMWARE = "has no VMware hypervisors"
_OWN_AMOUNTS = "takes of a host what the flavor's vcpus, ram and disk say"

_UNSIGNED = 2**32 - 1
"""What libvirt takes for such an amount."""
CPU_LIST = shaped(r"\^?\d+((-\d+)?(,\^?\d+(-\d+)?)?)*", "a list of CPUs like 0-3,^2")
SMALL_PAGES = r"small|any|4([kK]i?)?([bB]|bit)?"
PAGE_SIZE = shaped(r"large|small|any|\d+([kKMGT]i?)?(b|bit|B)?", "large, small, any or a size")
MEMORY_ENCRYPTION = one_of("amd-sev", "amd-sev-es", "amd-sev-snp", "intel-tdx")
DISK_ENCRYPTION = one_of("plain", "luks", "luksv2")
SOUND = one_of("sb16", "es1370", "pcspk", "ac97", "ich6", "ich9", "usb", "virtio")
USB = one_of("none", "nec-xhci", "qemu-xhci")
VIOMMU = one_of("intel", "smmuv3", "virtio", "auto")
WATCHDOG = one_of("none", "pause", "poweroff", "reset", "disabled")
TPM_MODEL = one_of("tpm-tis", "tpm-crb")
TPM_VERSION = one_of("1.2", "2.0")

OWN_CLASSES = ("VCPU", "MEMORY_MB", "DISK_GB")
OTHER_CLASSES = (
    *("PCI_DEVICE", "SRIOV_NET_VF", "NUMA_SOCKET", "NUMA_CORE", "NUMA_THREAD", "NUMA_MEMORY_MB", "IPV4_ADDRESS"),
    *("VGPU", "VGPU_DISPLAY_HEAD", "NET_BW_EGR_KILOBIT_PER_SEC", "NET_BW_IGR_KILOBIT_PER_SEC", "FPGA", "PGPU"),
    *("MEM_ENCRYPTION_CONTEXT", "NET_PACKET_RATE_KILOPACKET_PER_SEC", "NET_PACKET_RATE_EGR_KILOPACKET_PER_SEC"),
    *("NET_PACKET_RATE_IGR_KILOPACKET_PER_SEC", "CUSTOM_{name}"),
)
"""Resource classes that a flavor may ask for and that no host here offers: the scheduler says so, host by host."""


def _refused(name: str, values: Values, why: str, harmless: str = "") -> Property:
    return Property(name=name, values=values, standing=REFUSED, why=why, harmless=harmless)


def _obeyed(name: str, values: Values, why: str, harmless: str = "") -> Property:
    return Property(name=name, values=values, standing=OBEYED, why=why, harmless=harmless)


def _limits() -> list[Property]:
    """Return the rows of `quota:`; zero is no limit, and neither is a level of `normal`."""
    rows = []
    for kind in ("cpu", "memory", "disk_io", "vif"):
        rows += [
            _refused(f"quota:{kind}_limit", AMOUNT, _NO_LIMITS, "0+"),
            _refused(f"quota:{kind}_reservation", NUMBER, _NO_LIMITS, "0+"),
            _refused(f"quota:{kind}_shares_level", one_of("custom", "high", "normal", "low"), _NO_LIMITS, "normal"),
            _refused(f"quota:{kind}_shares_share", AMOUNT, _NO_LIMITS),
        ]
    rows += [
        _refused("quota:cpu_shares", AMOUNT, _NO_LIMITS),
        _refused("quota:cpu_period", AMOUNT, _NO_LIMITS, "0+"),
        _refused("quota:cpu_quota", NUMBER, _NO_LIMITS, r"0+|-[0-9]+"),
    ]
    for way in ("read", "write", "total"):
        rows += [_obeyed(f"quota:disk_{way}_{unit}_sec", AMOUNT, _OWN_LIMITS, "0+") for unit in ("bytes", "iops")]
    for way in WAYS:
        rows += [_obeyed(f"quota:vif_{way}_{rate}", AMOUNT, _NIC_LIMITS[rate], "0+") for rate in RATES]
    return rows


EXTRA_SPECS = Properties(
    (
        _refused("hw:cpu_policy", one_of("dedicated", "shared", "mixed"), NO_DEDICATED_CPUS, "shared"),
        _refused("hw:cpu_thread_policy", one_of("prefer", "isolate", "require"), NO_DEDICATED_CPUS, "prefer"),
        _refused("hw:cpu_dedicated_mask", CPU_LIST, NO_DEDICATED_CPUS),
        _refused("hw:cpu_realtime", BOOLEAN, NO_DEDICATED_CPUS, NO),
        _refused("hw:cpu_realtime_mask", CPU_LIST, NO_DEDICATED_CPUS),
        _refused("hw:emulator_threads_policy", one_of("isolate", "share"), NO_DEDICATED_CPUS, "share"),
        *(_obeyed(f"hw:cpu_{part}", COUNT, OWN_TOPOLOGY) for part in ("sockets", "cores", "threads")),
        *(_obeyed(f"hw:cpu_max_{part}", COUNT, OWN_TOPOLOGY) for part in ("sockets", "cores", "threads")),
        _refused("hw:mem_page_size", PAGE_SIZE, NO_HUGE_PAGES, SMALL_PAGES),
        _refused("hw:locked_memory", BOOLEAN, NO_LOCKED_MEMORY, NO),
        _refused("hw:numa_nodes", COUNT, NO_NUMA),
        _refused("hw:numa_cpus.{num}", CPU_LIST, NO_NUMA),
        _refused("hw:numa_mem.{num}", COUNT, NO_NUMA),
        _refused(
            "hw:pci_numa_affinity_policy",
            one_of("required", "preferred", "legacy", "socket"),
            NO_NUMA,
            "preferred|legacy",
        ),
        _refused("hw:mem_encryption", BOOLEAN, NO_MEMORY_ENCRYPTION, NO),
        _refused("hw:mem_encryption_model", MEMORY_ENCRYPTION, NO_MEMORY_ENCRYPTION),
        _refused("hw:ephemeral_encryption", BOOLEAN, NO_DISK_ENCRYPTION, NO),
        _refused("hw:ephemeral_encryption_format", DISK_ENCRYPTION, NO_DISK_ENCRYPTION, "plain"),
        _refused("hw:tpm_model", TPM_MODEL, NO_TPM),
        _refused("hw:tpm_version", TPM_VERSION, NO_TPM),
        _refused("hw:tpm_secret_security", one_of("user", "host", "deployment"), NO_TPM),
        _refused("hw:pmem", shaped(r"([a-zA-Z0-9_]+(,)?)+", "a list of names"), NO_DEVICES),
        _obeyed("hw:boot_menu", BOOLEAN, OWN_BOOT_MENU, NO),
        _obeyed("hw:hide_hypervisor_id", BOOLEAN, OWN_HIDING, NO),
        _obeyed("hide_hypervisor_id", BOOLEAN, OWN_HIDING, NO),
        _refused("hw:pmu", BOOLEAN, NO_PMU),
        _refused("hw:redirected_usb_ports", whole(0, 15), NO_REDIRECTION, "0+"),
        _refused("hw:serial_port_count", AMOUNT, ONE_SERIAL_PORT, "1"),
        _refused("hw:sound_model", SOUND, NO_SOUND),
        _obeyed("hw:usb_model", USB, OWN_USB),
        _obeyed("hw:vif_multiqueue_enabled", BOOLEAN, OWN_QUEUES, NO),
        _refused("hw:viommu_model", VIOMMU, NO_VIOMMU),
        _refused("hw:virtio_packed_ring", BOOLEAN, NO_PACKED_RINGS, NO),
        _obeyed("hw:watchdog_action", WATCHDOG, OWN_WATCHDOG, "disabled"),
        _obeyed("hw_rng:allowed", BOOLEAN, _OWN_RNG, YES),
        _obeyed("hw_rng:rate_bytes", whole(0, _UNSIGNED), _OWN_RNG),
        _obeyed("hw_rng:rate_period", whole(1, _UNSIGNED), _OWN_RNG),
        _obeyed("hw_video:ram_max_mb", AMOUNT, "the most that an image's hw_video_ram may ask for"),
        _refused("os:secure_boot", one_of("required", "disabled"), NO_SECURE_BOOT, "disabled"),
        _refused(
            "pci_passthrough:alias",
            shaped(r"[^:]+:\d+(?:\s*,\s*[^:]+:\d+)*", "a list like alias:1"),
            NO_DEVICES,
        ),
        _refused("accel:device_profile", TEXT, NO_DEVICES),
        *_limits(),
        *(_refused(f"resources{{group}}:{name}", NUMBER, _OWN_AMOUNTS) for name in OWN_CLASSES),
        _refused("resources{group}:PCPU", NUMBER, NO_DEDICATED_CPUS, "0+"),
        *(
            _obeyed(f"resources{{group}}:{name}", NUMBER, "asked of hosts, of which none offers it")
            for name in OTHER_CLASSES
        ),
        _obeyed("trait{group}:{name}", one_of("required", "forbidden"), "hosts that have the trait, or have it not"),
        _refused(
            "group_policy", one_of("isolate", "none"), "has hosts that are one provider of resources each", "none"
        ),
        _obeyed("aggregate_instance_extra_specs:{key}", TEXT, "hosts of aggregates whose metadata is so"),
        *(
            _refused(f"capabilities:{name}", TEXT, _NO_CAPABILITIES)
            for name in (
                *("id", "uuid", "service_id", "host", "vcpus", "memory_mb", "local_gb", "vcpus_used"),
                *("memory_mb_used", "local_gb_used", "hypervisor_type", "hypervisor_version", "hypervisor_hostname"),
                *("free_ram_mb", "free_disk_gb", "current_workload", "running_vms", "disk_available_least", "host_ip"),
                *("mapped", "cpu_allocation_ratio", "ram_allocation_ratio", "disk_allocation_ratio"),
                *("total_usable_ram_mb", "total_usable_disk_gb", "disk_mb_used", "free_disk_mb", "vcpus_total"),
                *("num_instances", "num_io_ops", "failed_builds", "aggregates", "cell_uuid", "updated"),
            )
        ),
        *(
            _refused(f"capabilities:{name}{{filter}}", TEXT, _NO_CAPABILITIES)
            for name in (
                *("cpu_info", "metrics", "stats", "numa_topology", "supported_hv_specs", "pci_device_pools"),
                *("nodename", "pci_stats", "supported_instances", "limits", "instances"),
            )
        ),
        _refused("vmware:hw_version", TEXT, _NO_VMWARE),
        _refused("vmware:storage_policy", TEXT, _NO_VMWARE),
    )
)

_NAMESPACES = re.compile(
    r"(resources[a-zA-Z0-9_-]{0,64}|trait[a-zA-Z0-9_-]{0,64}|hw|hw_rng|hw_video|quota|os|pci_passthrough|accel"
    r"|aggregate_instance_extra_specs|capabilities|vmware):.*",
    re.DOTALL,
)


def check_known(specs: Mapping[str, str]) -> None:
    """Raise Invalid for a key in a known namespace that is not known, or whose value cannot be meant."""
    for key, value in specs.items():
        row = EXTRA_SPECS.get(key)
        if row is not None and not row.values.allow(value):
            raise Invalid(f"Validation failed; extra spec {key!r} must be {row.values.words} (it is {shown(value)}).")
        if row is None and _NAMESPACES.fullmatch(key):
            raise Invalid(f"Validation failed; extra spec '{key}' does not appear to be a valid extra spec.")


def check_obeyed(flavor: ServerFlavor) -> None:
    """Raise Invalid for what of a flavor's extra specs is not done here, or known to nobody in a known namespace.

    `resources:VCPU` and the like may repeat what the flavor has anyway.
    """
    specs = flavor.extra_specs
    amounts = {"VCPU": flavor.vcpus, "MEMORY_MB": flavor.memory_mib, "DISK_GB": disk_gib(flavor)}
    own = {f"resources:{name}": amount for name, amount in amounts.items()}
    asking = {
        key: value
        for key, value in specs.items()
        if not (key in own and NUMBER.allow(value) and int(value) == own[key])
    }
    check(EXTRA_SPECS, asking, f"Flavor {flavor.name}", "extra spec")
    unknown = sorted(filter(_unknown, specs))
    if unknown:
        raise Invalid(
            f"Flavor {flavor.name} cannot be used: nobody knows its extra spec {unknown[0][:80]}. Use one without it."
        )


def disk_gib(flavor: ServerFlavor) -> int:
    """Return what a server of a flavor takes of its host's disk; swap counts in whole GiB."""
    return flavor.root_gib + flavor.ephemeral_gib + -(-flavor.swap_mib // 1024)


def _unknown(key: str) -> bool:
    """Say whether a key stands in a known namespace without being known: below 2.86 it may be set all the same."""
    return _NAMESPACES.fullmatch(key) is not None and EXTRA_SPECS.get(key) is None
