"""Properties of images that say what a server made of it needs, and what Floe does with each.

Source: the compute service's list of image properties, with its old names for some of them. Properties that are not
here are the user's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from floe.core import extra_specs as asks
from floe.core.disk_config import DISABLED
from floe.core.disks import DISK_BUSES, cdrom_bus
from floe.core.errors import Invalid
from floe.core.image_signatures import VALUES as SIGNATURES
from floe.core.nics import VIF_MODELS
from floe.core.properties import (
    AMOUNT,
    BOOLEAN,
    COUNT,
    NO,
    NUMBER,
    OBEYED,
    PLAIN,
    REFUSED,
    TEXT,
    YES,
    Properties,
    Property,
    Values,
    any_case,
    check,
    one_of,
    shaped,
    shown,
    whole,
)

MACHINE_TYPES = ("pc", "q35")
FIRMWARES = ("bios", "uefi")
UEFI_TRAIT = "CUSTOM_FIRMWARE_UEFI"
"""Of hosts with the firmware that `uefi` asks for; no trait that all clouds know says so."""
SCSI_MODELS = ("virtio-scsi", "lsilogic", "lsisas1068", "lsisas1078", "vmpvscsi")

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
_NO_VOLUMES = "has no volumes that an image could stand for"
_NO_POINTER = "gives servers no pointer and no screen"
_NO_FLOPPIES = "gives servers no floppy drive"
_NO_IPXE = "boots servers from their disks"
_HARDWARE_SAYS = {
    "hw_machine_type": "the guest's machine",
    "hw_disk_bus": "the bus of its disks",
    "hw_vif_model": "the model of its NICs",
    "hw_firmware_type": "its firmware; uefi: hosts that have it, variables of its own, and flavors of 192 MiB or more",
}
_STATELESS = "keeps the variables of a server's UEFI on its disk"


def _refused(name: str, why: str, harmless: str = "", values: Values = TEXT) -> Property:
    return Property(name=name, values=values, standing=REFUSED, why=why, harmless=harmless)


def _obeyed(name: str, why: str, values: Values = TEXT, harmless: str = "") -> Property:
    return Property(name=name, values=values, standing=OBEYED, why=why, harmless=harmless)


def _plain(name: str) -> Property:
    return Property(name=name, standing=PLAIN)


IMAGE_PROPERTIES = Properties(
    (
        *(_obeyed(name, _HARDWARE_SAYS[name], one_of(*allowed)) for name, allowed in HARDWARE.items()),
        *(_obeyed(name, "hosts of this architecture", _ARCHITECTURES) for name in ("hw_architecture", "architecture")),
        *(_obeyed(name, "hosts of this hypervisor", _HYPERVISORS) for name in ("img_hv_type", "hypervisor_type")),
        _obeyed("img_config_drive", "a config drive, also where none is asked for", one_of("optional", "mandatory")),
        *(_obeyed(f"{file}_id", f"the {file} that the guest boots") for file in ("kernel", "ramdisk")),
        _obeyed("os_command_line", "the kernel's command line"),
        _obeyed("trait:{name}", "hosts that have the trait, or have it not"),
        # security
        _refused(
            "os_secure_boot", asks.NO_SECURE_BOOT, "disabled|optional", one_of("required", "disabled", "optional")
        ),
        _refused("hw_firmware_stateless", _STATELESS, NO),
        _refused("hw_mem_encryption", asks.NO_MEMORY_ENCRYPTION, NO),
        _refused("hw_mem_encryption_model", asks.NO_MEMORY_ENCRYPTION, values=asks.MEMORY_ENCRYPTION),
        _refused("hw_ephemeral_encryption", asks.NO_DISK_ENCRYPTION, NO),
        _refused("hw_ephemeral_encryption_format", asks.NO_DISK_ENCRYPTION, "plain", asks.DISK_ENCRYPTION),
        _refused("hw_ephemeral_encryption_secret_uuid", asks.NO_DISK_ENCRYPTION),
        _refused("cinder_encryption_key_id", asks.NO_DISK_ENCRYPTION),
        _refused("hw_tpm_model", asks.NO_TPM, values=asks.TPM_MODEL),
        _refused("hw_tpm_version", asks.NO_TPM, values=asks.TPM_VERSION),
        *(
            _obeyed(name, "all four: the image is verified by what they say", values)
            for name, values in SIGNATURES.items()
        ),
        # CPUs and memory of the server's own
        _refused("hw_cpu_policy", asks.NO_DEDICATED_CPUS, "shared", one_of("dedicated", "shared", "mixed")),
        _refused("hw_cpu_thread_policy", asks.NO_DEDICATED_CPUS, "prefer", one_of("prefer", "isolate", "require")),
        _refused("hw_cpu_realtime_mask", asks.NO_DEDICATED_CPUS),
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
        *(_obeyed(f"hw_cpu_{part}", asks.OWN_TOPOLOGY, COUNT) for part in ("sockets", "cores", "threads")),
        *(_obeyed(f"hw_cpu_max_{part}", asks.OWN_TOPOLOGY, COUNT) for part in ("sockets", "cores", "threads")),
        _obeyed("hw_boot_menu", asks.OWN_BOOT_MENU, BOOLEAN, NO),
        _obeyed("hw_cdrom_bus", "the bus of the config drive", one_of("ide", "sata", "scsi", "usb")),
        _obeyed("hw_rescue_bus", "the bus of the disk of a stable rescue with the image", one_of(*DISK_BUSES)),
        _obeyed("hw_rescue_device", "what a stable rescue with the image boots", one_of("disk", "cdrom")),
        _obeyed("hw_scsi_model", "the controller of disks on the bus scsi", one_of(*SCSI_MODELS)),
        _obeyed("hw_usb_model", asks.OWN_USB, asks.USB),
        _obeyed("hw_rng_model", "the guest's device of randomness", one_of("virtio")),
        _obeyed("hw_watchdog_action", asks.OWN_WATCHDOG, asks.WATCHDOG, "disabled"),
        _obeyed("hw_video_model", "the guest's video device", one_of("none", "vga", "cirrus", "virtio", "bochs")),
        _obeyed("hw_video_ram", "MiB of the video device vga, at most the flavor's hw_video:ram_max_mb", whole(0, 256)),
        _obeyed("hw_qemu_guest_agent", "the channel to the guest's agent, which is there unless this is no", BOOLEAN),
        _obeyed("hw_time_hpet", "whether the guest has a high precision event timer", BOOLEAN),
        _obeyed("img_hide_hypervisor_id", asks.OWN_HIDING, BOOLEAN, NO),
        _obeyed(
            "os_type", "windows: local time, and Hyper-V's interfaces with KVM", one_of("linux", "windows"), "linux"
        ),
        *(
            _obeyed(name, "taken where it is the name that the root disk has on its bus, else refused")
            for name in ("root_device_name", "img_root_device_name")
        ),
        *(
            _obeyed(
                name,
                "OS-DCF:diskConfig where a create names none; 'disabled' refuses AUTO",
                shaped(f"{YES}|{NO}|{DISABLED}", "a boolean (true or false), or disabled"),
            )
            for name in ("hw_auto_disk_config", "auto_disk_config")
        ),
        _obeyed("os_shutdown_timeout", "seconds that a guest has to shut down", AMOUNT),
        _obeyed("os_admin_user", "the user whose password a guest's agent sets"),
        _refused("hw_floppy_bus", _NO_FLOPPIES, values=_BUSES),
        _refused("hw_input_bus", _NO_POINTER, values=one_of("usb", "virtio")),
        _refused("hw_pointer_model", _NO_POINTER, values=one_of("usbtablet")),
        *(_refused(name, _NO_IPXE, NO) for name in ("hw_ipxe_boot", "ipxe_boot")),
        *(
            _refused(name, "leaves addresses of memory as wide as the hypervisor has them", values=values)
            for name, values in (
                ("hw_maxphysaddr_mode", one_of("passthrough", "emulate")),
                ("hw_maxphysaddr_bits", NUMBER),
            )
        ),
        _refused("hw_pmu", asks.NO_PMU),
        _refused("hw_redirected_usb_ports", asks.NO_REDIRECTION, "0+", NUMBER),
        _refused("hw_serial_port_count", asks.ONE_SERIAL_PORT, "1", NUMBER),
        _refused("hw_sound_model", asks.NO_SOUND, values=asks.SOUND),
        _obeyed("hw_vif_multiqueue_enabled", asks.OWN_QUEUES, BOOLEAN, NO),
        _refused("hw_viommu_model", asks.NO_VIOMMU, values=asks.VIOMMU),
        _refused("hw_virtio_packed_ring", asks.NO_PACKED_RINGS, NO),
        *(
            _refused(name, "does not choose hosts by the version of their hypervisor")
            for name in ("img_hv_requested_version", "hypervisor_version_requires")
        ),
        _obeyed("os_require_quiesce", "images of the server are made of frozen file systems", BOOLEAN, NO),
        # what says something about the image, or to other hypervisors
        *(
            _plain(name)
            for name in (
                *("hw_device_id", "xenapi_device_id", "img_bittorrent", "bittorrent", "img_bdm_v2", "bdm_v2"),
                *("img_cache_in_nova", "cache_in_nova", "img_compression_level"),
                *("xenapi_image_compression_level", "img_linked_clone", "vmware_linked_clone", "img_mappings"),
                *("mappings", "img_owner_id", "owner_id", "img_use_agent", "xenapi_use_agent", "img_version"),
                *("vmware_image_version", "os_distro", "vmware_ostype", "os_version"),
                *("os_skip_agent_inject_files_at_boot", "xenapi_skip_agent_inject_files_at_boot"),
                *("hw_disk_type", "vmware_disktype", "vmware_adaptertype"),
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
    if chosen["hw_machine_type"] == "q35":
        for name, bus in (("hw_disk_bus", chosen["hw_disk_bus"]), ("hw_cdrom_bus", cdrom_bus(properties))):
            if bus == "ide":
                raise Invalid(
                    f"Image property {name} 'ide' does not go with hw_machine_type 'q35'; use virtio or scsi."
                )
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


def quiesces(properties: Mapping[str, str]) -> bool | None:
    """Say whether a guest writes out its file systems before its disk is copied; None where it may fail to.

    Raises Invalid where it must and has no agent that could.
    """
    agent, must = (
        re.fullmatch(YES, properties.get(name, "")) for name in ("hw_qemu_guest_agent", "os_require_quiesce")
    )
    if must and not agent:
        raise Invalid("QEMU guest agent is not enabled: os_require_quiesce needs hw_qemu_guest_agent=yes on the image.")
    return True if must else None if agent else False


def check_obeyed(image_id: str, properties: Mapping[str, str]) -> None:
    """Raise Invalid for what of an image's properties is not done here. An empty value asks for nothing."""
    hardware(properties)
    command_line(properties, "")
    asked = {name: value for name, value in properties.items() if value}
    check(IMAGE_PROPERTIES, asked, f"Image {image_id}", "property")
