"""The devices of a guest that its user has tagged, as the guest is told of them: pure.

Source of what is told: Nova's user guide "Device tagging", and what Nova 34 makes of a device that has no address.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from floe.core.disks import tag_of
from floe.core.guests import GuestSpec
from floe.core.host_network import HostPort

PCI, NONE = "pci", "none"
_BUSES = ("scsi", "ide", "usb")
"""Those besides PCI that are told; on another one a disk is found by its serial number alone."""
_SINCE_TRUSTED = "2018-08-27"


class TaggedDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A NIC, which has a MAC, or a disk, which has a serial number."""

    tag: str
    bus: str = NONE
    address: str = NONE
    mac: str = ""
    serial: str = ""

    def told(self, version: str) -> dict[str, Any]:
        """Return what is told of it from `version` of the metadata on."""
        what: dict[str, Any] = {"type": "disk", "serial": self.serial}
        if self.mac:
            what = {"vf_trusted": False} if version >= _SINCE_TRUSTED else {}
            what |= {"type": "nic", "mac": self.mac}
        return {**what, "bus": self.bus, "address": self.address, "tags": [self.tag]}


def tagged(guest: GuestSpec, ports: Iterable[HostPort], addresses: Mapping[str, str]) -> Iterator[TaggedDevice]:
    """Give what is tagged of a guest with these ports, where its devices have these PCI addresses, by their names."""
    for port in ports:
        if port.device_tag:
            yield TaggedDevice(tag=port.device_tag, mac=port.mac, **_on_pci(addresses.get(port.tap)))
    for disk in guest.disks:
        if tag := tag_of(disk):
            where = _on_pci(addresses.get(disk.device)) or {"bus": disk.bus if disk.bus in _BUSES else NONE}
            yield TaggedDevice(tag=tag, serial=disk.role, **where)


def _on_pci(address: str | None) -> dict[str, str]:
    return {"bus": PCI, "address": address} if address else {}
