"""Properties of images that say what a server made of it needs, and what Floe does with each.

Source: the compute service's list of image properties, with its old names for some of them. Properties that are not
here are the user's own.
"""

from __future__ import annotations

from collections.abc import Mapping

from floe.core import extra_specs as asks
from floe.core.disks import DISK_BUSES
from floe.core.errors import Invalid
from floe.core.nics import VIF_MODELS
from floe.core.properties import (
    AMOUNT,
    NO,
    NUMBER,
    OBEYED,
    PLAIN,
    REFUSED,
    TEXT,
    WARNED,
    YES,
    Properties,
    Property,
    Values,
    any_case,
    ignored,
    one_of,
    shown,
)

MACHINE_TYPES = ("pc", "q35")
FIRMWARES = ("bios",)

HARDWARE: Mapping[str, tuple[str, ...]] = {
    "hw_machine_type": MACHINE_TYPES,
    "hw_disk_bus": DISK_BUSES,
    "hw_vif_model": VIF_MODELS,
    "hw_firmware_type": FIRMWARES,
}
"""The values of the properties that change a guest's hardware; the first one is the default."""

_ARCHITECTURES = any_case(
    *("x86_64", "i686", "aarch64", "armv6", "armv7l", "armv7b", "ppc64le", "ppc64", "ppcle", "ppc", "ppcemb", "s390x"),
    *("s390", "alpha", "cris", "ia64", "lm32", "m68k", "microblaze", "microblazeel", "mips", "mipsel", "mips64"),
    *("mips64el", "openrisc", "parisc", "parisc64", "sh4", "sh4eb", "sparc", "sparc64", "unicore32", "xtensa"),
    *("xtensaeb", "amd64", "x64", "i386", "i486", "i586", "x86_32", "arm64"),
)
_HYPERVISORS = any_case(
    *("kvm", "qemu", "kqemu", "fake", "baremetal", "bhyve", "docker", "hyperv", "ironic", "lxc", "lxd", "openvz"),
    *("parallels", "phyp", "test", "uml", "vbox", "vz", "vmware", "xen", "zvm", "prsm"),
)
_BUSES = one_of("fdc", "ide", "sata", "scsi", "usb", "virtio", "xen", "lxc", "uml")
COMMAND_LINE_MAX = 2048
"""What an x86 kernel reads of its command line (COMMAND_LINE_SIZE)."""
_NO_SIGNATURES = "checks an image's SHA-512, not signatures"
_NO_VOLUMES = "has no volumes that an image could stand for"
_UEFI = "starts servers with a BIOS, not UEFI"


def _refused(name: str, why: str, harmless: str = "", values: Values = TEXT) -> Property:
    return Property(name=name, values=values, standing=REFUSED, why=why, harmless=harmless)


def _warned(name: str, harmless: str = "", values: Values = TEXT) -> Property:
    return Property(name=name, values=values, standing=WARNED, harmless=harmless)


def _obeyed(name: str, values: Values = TEXT) -> Property:
    return Property(name=name, values=values, standing=OBEYED)


def _plain(name: str) -> Property:
    return Property(name=name, standing=PLAIN)


IMAGE_PROPERTIES = Properties(
    (
        *(_obeyed(name, one_of(*allowed)) for name, allowed in HARDWARE.items()),
        _obeyed("hw_architecture", _ARCHITECTURES),
        _obeyed("architecture", _ARCHITECTURES),
        _obeyed("img_hv_type", _HYPERVISORS),
        _obeyed("hypervisor_type", _HYPERVISORS),
        _obeyed("img_config_drive", one_of("optional", "mandatory")),
        _obeyed("kernel_id"),
        _obeyed("ramdisk_id"),
        _obeyed("os_command_line"),
        _obeyed("trait:{name}"),
        # security
        _refused(
            "os_secure_boot", asks.NO_SECURE_BOOT, "disabled|optional", one_of("required", "disabled", "optional")
        ),
        _refused("hw_firmware_stateless", _UEFI, NO),
        _refused("hw_mem_encryption", asks.NO_MEMORY_ENCRYPTION, NO),
        _refused("hw_mem_encryption_model", asks.NO_MEMORY_ENCRYPTION, values=asks.MEMORY_ENCRYPTION),
        _refused("hw_ephemeral_encryption", asks.NO_DISK_ENCRYPTION, NO),
        _refused("hw_ephemeral_encryption_format", asks.NO_DISK_ENCRYPTION, "plain", asks.DISK_ENCRYPTION),
        _refused("hw_ephemeral_encryption_secret_uuid", asks.NO_DISK_ENCRYPTION),
        _refused("cinder_encryption_key_id", asks.NO_DISK_ENCRYPTION),
        _refused("hw_tpm_model", asks.NO_TPM, values=asks.TPM_MODEL),
        _refused("hw_tpm_version", asks.NO_TPM, values=asks.TPM_VERSION),
        *(
            _refused(f"img_signature{part}", _NO_SIGNATURES)
            for part in ("", "_hash_method", "_certificate_uuid", "_key_type")
        ),
        # CPUs and memory of the server's own
        _refused("hw_cpu_policy", asks.NO_DEDICATED_CPUS, "shared", one_of("dedicated", "shared", "mixed")),
        _refused("hw_cpu_thread_policy", asks.NO_DEDICATED_CPUS, "prefer", one_of("prefer", "isolate", "require")),
        _warned("hw_cpu_realtime_mask"),
        _refused("hw_mem_page_size", asks.NO_HUGE_PAGES, asks.SMALL_PAGES),
        _refused("hw_locked_memory", asks.NO_LOCKED_MEMORY, NO),
        _refused("hw_numa_nodes", asks.NO_NUMA, values=NUMBER),
        _refused("hw_numa_cpus.{num}", asks.NO_NUMA),
        _refused("hw_numa_mem.{num}", asks.NO_NUMA, values=NUMBER),
        _refused("hw_numa_cpus", asks.NO_NUMA),
        _refused("hw_numa_mem", asks.NO_NUMA),
        _refused(
            "hw_pci_numa_affinity_policy",
            asks.NO_NUMA,
            "preferred|legacy",
            one_of("required", "legacy", "preferred", "socket"),
        ),
        # another machine than there is
        _refused("hw_emulation_architecture", "emulates no other architecture", "x86_64|amd64", _ARCHITECTURES),
        _refused("hw_vm_mode", "runs fully virtualized servers only", "hvm", one_of("hvm", "xen", "uml", "exe")),
        _refused("vm_mode", "runs fully virtualized servers only", "hvm|hv", one_of("hvm", "hv", "xen", "uml", "exe")),
        *(_refused(f"{prefix}block_device_mapping", _NO_VOLUMES, r"\s*|\[\s*\]") for prefix in ("", "img_")),
        # shape and devices
        *(_warned(f"hw_cpu_{part}", harmless, NUMBER) for part, harmless in (("sockets", ""), ("cores", "1"))),
        _warned("hw_cpu_threads", "1", NUMBER),
        *(_warned(f"hw_cpu_max_{part}", values=NUMBER) for part in ("sockets", "cores", "threads")),
        _warned("hw_boot_menu", NO),
        _warned("hw_cdrom_bus", "ide", _BUSES),
        _warned("hw_disk_type"),
        _warned("vmware_disktype"),
        _warned("vmware_adaptertype"),
        _warned("hw_floppy_bus", values=_BUSES),
        _warned("hw_input_bus", values=one_of("usb", "virtio")),
        _warned("hw_pointer_model", values=one_of("usbtablet")),
        _warned("hw_ipxe_boot", NO),
        _warned("ipxe_boot", NO),
        _warned("hw_maxphysaddr_mode", values=one_of("passthrough", "emulate")),
        _warned("hw_maxphysaddr_bits", values=NUMBER),
        _warned("hw_pmu"),
        _warned("hw_qemu_guest_agent", YES),
        _warned("hw_redirected_usb_ports", "0+", NUMBER),
        _warned("hw_rescue_bus", values=_BUSES),
        _warned("hw_rescue_device", values=one_of("cdrom", "disk", "floppy", "fs", "lun")),
        _warned("hw_rng_model", "virtio", one_of("virtio")),
        _warned("hw_time_hpet", NO),
        _warned("hw_serial_port_count", "1", NUMBER),
        _warned(
            "hw_scsi_model",
            "virtio-scsi",
            one_of("buslogic", "ibmvscsi", "lsilogic", "lsisas1068", "lsisas1078", "virtio-scsi", "vmpvscsi"),
        ),
        _warned("hw_sound_model", values=asks.SOUND),
        _warned("hw_usb_model", "none", asks.USB),
        _warned(
            "hw_video_model",
            "none",
            one_of("cirrus", "qxl", "vga", "vmvga", "xen", "virtio", "gop", "none", "bochs"),
        ),
        _warned("hw_video_ram", "0+", AMOUNT),
        _warned("hw_vif_multiqueue_enabled", NO),
        _warned("hw_viommu_model", values=asks.VIOMMU),
        _warned("hw_virtio_packed_ring", NO),
        _warned("hw_watchdog_action", "disabled", asks.WATCHDOG),
        _warned("img_hide_hypervisor_id", NO),
        _warned("img_hv_requested_version"),
        _warned("hypervisor_version_requires"),
        _warned("img_root_device_name"),
        _warned("root_device_name"),
        _warned("os_require_quiesce", NO),
        _warned("os_type", "linux", one_of("linux", "windows")),
        _obeyed("os_shutdown_timeout", AMOUNT),
        # what says something about the image, or to other hypervisors
        *(
            _plain(name)
            for name in (
                *("hw_auto_disk_config", "auto_disk_config", "hw_device_id", "xenapi_device_id", "img_bittorrent"),
                *("bittorrent", "img_bdm_v2", "bdm_v2", "img_cache_in_nova", "cache_in_nova", "img_compression_level"),
                *("xenapi_image_compression_level", "img_linked_clone", "vmware_linked_clone", "img_mappings"),
                *("mappings", "img_owner_id", "owner_id", "img_use_agent", "xenapi_use_agent", "img_version"),
                *("vmware_image_version", "os_admin_user", "os_distro", "vmware_ostype", "os_version"),
                *("os_skip_agent_inject_files_at_boot", "xenapi_skip_agent_inject_files_at_boot"),
                *("os_skip_agent_inject_ssh", "xenapi_skip_agent_inject_ssh", "traits_required"),
            )
        ),
    )
)


def hardware(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the hardware choices of an image, defaults filled in. Raises Invalid for one not allowed."""
    chosen = {}
    for name, allowed in HARDWARE.items():
        value = properties.get(name) or allowed[0]
        if value not in allowed:
            known = ", ".join(allowed)
            raise Invalid(f"Image property {name} has the value {value[:80]!r}; this cloud supports {known}.")
        chosen[name] = value
    if chosen["hw_machine_type"] == "q35" and chosen["hw_disk_bus"] == "ide":
        raise Invalid("Image property hw_disk_bus 'ide' does not go with hw_machine_type 'q35'; use virtio or scsi.")
    return chosen


def command_line(properties: Mapping[str, str], default: str) -> str:
    """Return the command line of an image's kernel. Raises Invalid for one that cannot be passed to it."""
    line = properties.get("os_command_line") or default
    if not line.isprintable() or len(line.encode()) > COMMAND_LINE_MAX:
        raise Invalid(
            f"Image property os_command_line must be one printable line of at most {COMMAND_LINE_MAX} bytes "
            f"(it is {shown(line)})."
        )
    return line


def without_effect(image_id: str, properties: Mapping[str, str]) -> list[str]:
    """Return what of an image's properties asks for something and changes nothing, as `name=value`.

    Raises Invalid for what is refused, and for hardware that is not there. An empty value asks for nothing.
    """
    hardware(properties)
    command_line(properties, "")
    asked = {name: value for name, value in properties.items() if value}
    return list(ignored(IMAGE_PROPERTIES, asked, f"Image {image_id}", "property"))
