"""The domain XML of a guest: pure, built element by element, so that no value can become markup."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from floe.core.disks import RESCUE, Disk
from floe.core.errors import HostFailure, Invalid
from floe.core.guest_hardware import Hardware, hardware_of
from floe.core.guests import GuestImage, GuestSpec
from floe.core.image_properties import command_line
from floe.hypervisors.libvirt.devices import boot_order, disk_xml, limited, nic_xml
from floe.hypervisors.protocol import GuestFiles

NAMESPACE = "urn:floe:guest:1"
"""Of our element in a domain's `<metadata>`; a domain without it is foreign."""

BOOTS = "boots"
"""What of our element says which boot the domain was started for; one without it is of the first."""

DEFAULT_COMMAND_LINE = "root=/dev/{root} console=ttyS0"
"""Of a kernel that its image gives none: `root` is what Linux calls the first disk of a bus."""

MANUFACTURER, PRODUCT, FAMILY = "OpenStack Foundation", "OpenStack Nova", "Virtual Machine"
"""What the firmware calls the machine: cloud-init looks for a metadata service only where it finds this product."""

UEFI = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
"""Where the package ovmf of Debian and Ubuntu has the firmware, without secure boot."""

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def domain_xml(
    guest: GuestSpec,
    files: GuestFiles,
    *,
    kvm: bool,
    owner: str,
    version: str,
    account: tuple[int, int] | None = None,
    boots: int = 1,
) -> str:
    """Return the XML that defines a guest for that boot of it.

    `version` is Floe's own, `account` the user and group that it runs as.

    Raises HostFailure for values the hardware does not allow.
    """
    if not _NAME.fullmatch(guest.name):
        raise HostFailure(f"{guest.name!r} cannot be the name of a guest.", stage="guest")
    try:
        buses = [disk.bus for disk in guest.disks]
        machine = hardware_of(guest.extra_specs, guest.image.properties, guest.vcpus, buses)
        command = command_line(_booted(guest).properties, DEFAULT_COMMAND_LINE.format(root=_root(guest)))
    except Invalid as error:
        raise HostFailure(error.message, stage="guest", cause=Invalid.kind) from error
    disks = [(disk, limited(disk_xml(disk, files.disks[disk.role]), machine.limits)) for disk in guest.disks]
    order = _order(guest, files, disks)
    domain = ET.Element("domain", type="kvm" if kvm else "qemu")
    _text(domain, "name", guest.name)
    _text(domain, "uuid", guest.server_id)
    _metadata(domain, guest, owner, boots)
    _text(domain, "memory", str(guest.memory_mib), unit="MiB")
    _text(domain, "vcpu", str(guest.vcpus))
    _system(domain, files, machine, command, order)
    _firmware_tables(domain, guest, version)
    features = ET.SubElement(domain, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    if kvm:
        _for_kvm(features, machine)
        _topology(ET.SubElement(domain, "cpu", mode="host-model"), machine)
    else:
        if machine.topology is not None:
            _topology(ET.SubElement(domain, "cpu"), machine)
        # QEMU sets a quarter of the guest's memory aside for translated code by default.
        cache = min(128, max(16, guest.memory_mib // 8))
        _text(ET.SubElement(features, "tcg"), "tb-cache", str(cache), unit="MiB")
    clock = ET.SubElement(domain, "clock", offset="localtime" if machine.windows else "utc")
    if machine.hpet is not None:
        ET.SubElement(clock, "timer", name="hpet", present="yes" if machine.hpet else "no")
    for event, action in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        _text(domain, event, action)
    _devices(domain, guest, files, disks, machine)
    if account is not None:
        _user(domain, *account)
    ET.indent(domain)
    return ET.tostring(domain, encoding="unicode") + "\n"


def _order(guest: GuestSpec, files: GuestFiles, disks: Sequence[tuple[Disk, ET.Element]]) -> list[str]:
    """Return the firmware's names of what to boot from; the disk of a rescue has a mark instead.

    For it need not be the first: all others may be where they ever were.
    """
    if guest.rescue is None:
        return boot_order([(disk.boot_index, made) for disk, made in disks if disk.boot_index is not None])
    for disk, made in disks:
        if disk.role == RESCUE and files.kernel is None:
            ET.SubElement(made, "boot", order="1")
    return []


def _booted(guest: GuestSpec) -> GuestImage:
    return guest.image if guest.rescue is None else guest.rescue


def _root(guest: GuestSpec) -> str:
    """Return what Linux calls the disk that a guest boots from."""
    booted = min(
        (disk for disk in guest.disks if disk.boot_index is not None),
        key=lambda disk: disk.boot_index or 0,
        default=None,
    )
    if booted is None:
        return "vda"
    return booted.device if booted.bus == "virtio" else f"sd{booted.device[2:]}"


def _metadata(domain: ET.Element, guest: GuestSpec, owner: str, boots: int) -> None:
    ET.register_namespace("floe", NAMESPACE)
    ours = ET.SubElement(ET.SubElement(domain, "metadata"), f"{{{NAMESPACE}}}guest")
    _text(ours, f"{{{NAMESPACE}}}owner", owner)
    _text(ours, f"{{{NAMESPACE}}}server", guest.server_id)
    _text(ours, f"{{{NAMESPACE}}}name", guest.metadata.name)
    _text(ours, f"{{{NAMESPACE}}}project", guest.metadata.project_id)
    _text(ours, f"{{{NAMESPACE}}}{BOOTS}", str(boots))


def _user(domain: ET.Element, user: int, group: int) -> None:
    # Its files are its own already. What libvirt adds by itself, AppArmor's or SELinux's label, is left to it.
    label = ET.SubElement(domain, "seclabel", type="static", model="dac", relabel="no")
    _text(label, "label", f"+{user}:+{group}")


def _system(domain: ET.Element, files: GuestFiles, machine: Hardware, command: str, boots: Sequence[str]) -> None:
    system = ET.SubElement(domain, "os")
    _text(system, "type", "hvm", arch="x86_64", machine=machine.machine)
    if machine.uefi:
        # Named, not chosen by libvirt, which would write its choice into the definition and change it with an upgrade.
        _text(system, "loader", str(UEFI), readonly="yes", type="pflash")
        _text(system, "nvram", str(files.variables))
    ET.SubElement(system, "smbios", mode="sysinfo")
    if files.kernel is None:
        for device in boots:
            ET.SubElement(system, "boot", dev=device)
        if machine.boot_menu:
            ET.SubElement(system, "bootmenu", enable="yes")
        return
    _text(system, "kernel", str(files.kernel))
    if files.ramdisk is not None:
        _text(system, "initrd", str(files.ramdisk))
    _text(system, "cmdline", command)


def _firmware_tables(domain: ET.Element, guest: GuestSpec, version: str) -> None:
    """Say in SMBIOS what Nova says there, so that software in guests knows what kind of cloud it is in."""
    system = ET.SubElement(ET.SubElement(domain, "sysinfo", type="smbios"), "system")
    _text(system, "entry", MANUFACTURER, name="manufacturer")
    _text(system, "entry", PRODUCT, name="product")
    _text(system, "entry", version, name="version")
    _text(system, "entry", guest.server_id, name="serial")
    _text(system, "entry", guest.server_id, name="uuid")
    _text(system, "entry", FAMILY, name="family")


def _topology(cpu: ET.Element, machine: Hardware) -> None:
    if machine.topology is not None:
        sockets, cores, threads = map(str, machine.topology)
        ET.SubElement(cpu, "topology", sockets=sockets, cores=cores, threads=threads)


def _for_kvm(features: ET.Element, machine: Hardware) -> None:
    if machine.windows:
        interfaces = ET.SubElement(features, "hyperv")
        for name in ("relaxed", "vapic"):
            ET.SubElement(interfaces, name, state="on")
        ET.SubElement(interfaces, "spinlocks", state="on", retries="8191")
    if machine.hidden:
        ET.SubElement(ET.SubElement(features, "kvm"), "hidden", state="on")


def _devices(
    domain: ET.Element,
    guest: GuestSpec,
    files: GuestFiles,
    disks: Sequence[tuple[Disk, ET.Element]],
    machine: Hardware,
) -> None:
    devices = ET.SubElement(domain, "devices")
    last_on_scsi = max((index for index, (disk, _) in enumerate(disks) if disk.bus == "scsi"), default=None)
    for index, (_, made) in enumerate(disks):
        devices.append(made)
        if index == last_on_scsi:
            ET.SubElement(devices, "controller", type="scsi", model=machine.scsi_model)
    devices.extend([nic_xml(nic) for nic in guest.nics])
    serial = ET.SubElement(devices, "serial", type="pty")
    ET.SubElement(serial, "log", file=str(files.console_log), append="on")
    ET.SubElement(serial, "target", type="isa-serial", port="0")
    if machine.agent:
        channel = ET.SubElement(devices, "channel", type="unix")
        ET.SubElement(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    if machine.rng:
        _rng(devices, machine)
    ET.SubElement(devices, "controller", type="usb", model=machine.usb_model)
    video = ET.SubElement(ET.SubElement(devices, "video"), "model", type=machine.video)
    if machine.video_mib:
        video.set("vram", str(machine.video_mib * 1024))
    if machine.watchdog is not None:
        ET.SubElement(devices, "watchdog", model="i6300esb", action=machine.watchdog)
    ET.SubElement(devices, "memballoon", model="none")


def _rng(devices: ET.Element, machine: Hardware) -> None:
    rng = ET.SubElement(devices, "rng", model="virtio")
    if machine.rng_bytes:
        rate = ET.SubElement(rng, "rate", bytes=str(machine.rng_bytes))
        if machine.rng_period is not None:
            rate.set("period", str(machine.rng_period))
    _text(rng, "backend", "/dev/urandom", model="random")


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    """Add an element with text, less the characters that XML cannot hold."""
    ET.SubElement(parent, tag, attributes).text = _NOT_XML.sub("", text)


def told(metadata: str, name: str) -> str | None:
    """Return what our metadata element says, which libvirt hands out with or without the prefix's binding."""
    try:
        root = ET.fromstring(metadata)  # noqa: S314  # libvirt's own output
    except ET.ParseError:
        return None
    for element in root.iter():
        if element.tag.rpartition("}")[2] == name:
            return element.text
    return None
