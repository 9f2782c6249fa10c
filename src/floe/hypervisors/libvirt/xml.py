"""The domain XML of a guest: pure, built element by element, so that no value can become markup."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping

from floe.core.errors import HostFailure
from floe.core.guests import GuestPort, GuestSpec
from floe.hypervisors.protocol import GuestFiles

NAMESPACE = "urn:floe:guest:1"
"""Of our element in a domain's `<metadata>`; a domain without it is foreign."""

ALLOWED: Mapping[str, tuple[str, ...]] = {
    "hw_machine_type": ("pc", "q35"),
    "hw_disk_bus": ("virtio", "scsi", "ide"),
    "hw_vif_model": ("virtio", "e1000", "rtl8139"),
    "hw_firmware_type": ("bios",),
}
"""The values of image properties that change a guest's hardware; the first one is the default."""

DEFAULT_COMMAND_LINE = "root=/dev/vda console=ttyS0"

MANUFACTURER, PRODUCT, FAMILY = "OpenStack Foundation", "OpenStack Nova", "Virtual Machine"
"""What the firmware calls the machine: cloud-init looks for a metadata service only where it finds this product."""

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_TAP = re.compile(r"[A-Za-z0-9._-]{1,15}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.IGNORECASE)
_COMMAND_LINE_MAX = 2048
"""What an x86 kernel reads of its command line (COMMAND_LINE_SIZE)."""

_PREFIX = {"virtio": "vd", "scsi": "sd", "ide": "hd", "sata": "sd"}


def hardware(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the hardware choices of an image, defaults filled in. Raises HostFailure for one not allowed."""
    chosen = {}
    for name, allowed in ALLOWED.items():
        value = properties.get(name) or allowed[0]
        if value not in allowed:
            raise HostFailure(
                f"Image property {name} has the value {value!r}; this host supports {', '.join(allowed)}.",
                stage="guest",
            )
        chosen[name] = value
    if chosen["hw_machine_type"] == "q35" and chosen["hw_disk_bus"] == "ide":
        raise HostFailure(
            "Image property hw_disk_bus 'ide' does not go with hw_machine_type 'q35'; use virtio or scsi.",
            stage="guest",
        )
    return chosen


def domain_xml(guest: GuestSpec, files: GuestFiles, *, kvm: bool, owner: str, version: str) -> str:
    """Return the XML that defines a guest; `version` is Floe's own.

    Raises HostFailure for values the hardware does not allow.
    """
    if not _NAME.fullmatch(guest.name):
        raise HostFailure(f"{guest.name!r} cannot be the name of a guest.", stage="guest")
    chosen = hardware(guest.image.properties)
    domain = ET.Element("domain", type="kvm" if kvm else "qemu")
    _text(domain, "name", guest.name)
    _text(domain, "uuid", guest.server_id)
    _metadata(domain, guest, owner)
    _text(domain, "memory", str(guest.memory_mib), unit="MiB")
    _text(domain, "vcpu", str(guest.vcpus))
    _system(domain, guest, files, chosen)
    _firmware_tables(domain, guest, version)
    features = ET.SubElement(domain, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    if kvm:
        ET.SubElement(domain, "cpu", mode="host-model")
    else:
        # QEMU sets a quarter of the guest's memory aside for translated code by default.
        cache = min(128, max(16, guest.memory_mib // 8))
        _text(ET.SubElement(features, "tcg"), "tb-cache", str(cache), unit="MiB")
    ET.SubElement(domain, "clock", offset="utc")
    for event, action in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        _text(domain, event, action)
    _devices(domain, guest, files, chosen)
    ET.indent(domain)
    return ET.tostring(domain, encoding="unicode") + "\n"


def _metadata(domain: ET.Element, guest: GuestSpec, owner: str) -> None:
    ET.register_namespace("floe", NAMESPACE)
    ours = ET.SubElement(ET.SubElement(domain, "metadata"), f"{{{NAMESPACE}}}guest")
    _text(ours, f"{{{NAMESPACE}}}owner", owner)
    _text(ours, f"{{{NAMESPACE}}}server", guest.server_id)
    _text(ours, f"{{{NAMESPACE}}}name", guest.metadata.name)
    _text(ours, f"{{{NAMESPACE}}}project", guest.metadata.project_id)


def _system(domain: ET.Element, guest: GuestSpec, files: GuestFiles, chosen: Mapping[str, str]) -> None:
    system = ET.SubElement(domain, "os")
    _text(system, "type", "hvm", arch="x86_64", machine=chosen["hw_machine_type"])
    ET.SubElement(system, "smbios", mode="sysinfo")
    if files.kernel is None:
        ET.SubElement(system, "boot", dev="hd")
        return
    _text(system, "kernel", str(files.kernel))
    if files.ramdisk is not None:
        _text(system, "initrd", str(files.ramdisk))
    line = guest.image.properties.get("os_command_line") or DEFAULT_COMMAND_LINE
    if not line.isprintable() or len(line.encode()) > _COMMAND_LINE_MAX:
        raise HostFailure(
            f"Image property os_command_line must be one printable line of at most {_COMMAND_LINE_MAX} bytes.",
            stage="guest",
        )
    _text(system, "cmdline", line)


def _firmware_tables(domain: ET.Element, guest: GuestSpec, version: str) -> None:
    """Say in SMBIOS what Nova says there, so that software in guests knows what kind of cloud it is in."""
    system = ET.SubElement(ET.SubElement(domain, "sysinfo", type="smbios"), "system")
    _text(system, "entry", MANUFACTURER, name="manufacturer")
    _text(system, "entry", PRODUCT, name="product")
    _text(system, "entry", version, name="version")
    _text(system, "entry", guest.server_id, name="serial")
    _text(system, "entry", guest.server_id, name="uuid")
    _text(system, "entry", FAMILY, name="family")


def _devices(domain: ET.Element, guest: GuestSpec, files: GuestFiles, chosen: Mapping[str, str]) -> None:
    devices = ET.SubElement(domain, "devices")
    bus = chosen["hw_disk_bus"]
    disks = [(files.root_disk, "qcow2"), (files.ephemeral_disk, "raw"), (files.swap_disk, "raw")]
    for index, (path, kind) in enumerate((path, kind) for path, kind in disks if path is not None):
        disk = ET.SubElement(devices, "disk", type="file", device="disk")
        ET.SubElement(disk, "driver", name="qemu", type=kind, cache="writeback", discard="unmap")
        ET.SubElement(disk, "source", file=str(path))
        ET.SubElement(disk, "target", dev=f"{_PREFIX[bus]}{'abcd'[index]}", bus=bus)
    if bus == "scsi":
        ET.SubElement(devices, "controller", type="scsi", model="virtio-scsi")
    if files.config_drive is not None:
        # Debian's cloud kernel has no AHCI: a SATA CD-ROM would be invisible to it, an IDE one is not.
        cd_bus = "ide" if chosen["hw_machine_type"] == "pc" else "sata"
        disk = ET.SubElement(devices, "disk", type="file", device="cdrom")
        ET.SubElement(disk, "driver", name="qemu", type="raw")
        ET.SubElement(disk, "source", file=str(files.config_drive))
        ET.SubElement(disk, "target", dev=f"{_PREFIX[cd_bus]}d", bus=cd_bus)
        ET.SubElement(disk, "readonly")
    for port in guest.ports:
        _interface(devices, port, chosen["hw_vif_model"])
    serial = ET.SubElement(devices, "serial", type="pty")
    ET.SubElement(serial, "log", file=str(files.console_log), append="on")
    ET.SubElement(serial, "target", type="isa-serial", port="0")
    channel = ET.SubElement(devices, "channel", type="unix")
    ET.SubElement(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    rng = ET.SubElement(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")
    ET.SubElement(devices, "controller", type="usb", model="none")
    ET.SubElement(ET.SubElement(devices, "video"), "model", type="none")
    ET.SubElement(devices, "memballoon", model="none")


def _interface(devices: ET.Element, port: GuestPort, model: str) -> None:
    if not _TAP.fullmatch(port.tap) or not _MAC.fullmatch(port.mac):
        raise HostFailure(f"Port {port.port_id} has no usable tap or MAC address.", stage="guest")
    nic = ET.SubElement(devices, "interface", type="ethernet")
    ET.SubElement(nic, "mac", address=port.mac)
    ET.SubElement(nic, "target", dev=port.tap, managed="no")
    ET.SubElement(nic, "model", type=model)
    ET.SubElement(nic, "mtu", size=str(port.mtu))


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    """Add an element with text, less the characters that XML cannot hold."""
    ET.SubElement(parent, tag, attributes).text = _NOT_XML.sub("", text)
