"""Where devices of domains are on their PCI buses: blocking calls of libvirt, which `LibvirtConnection.ask` runs."""

from __future__ import annotations

import uuid
import xml.etree.ElementTree as ET
from typing import Any

from msgspec.structs import replace

from floe.core.guests import GuestSpec
from floe.hypervisors.libvirt.connection import bindings, quiet


def addresses_in(xml: str) -> dict[str, str]:
    """Return the PCI addresses in the XML of a domain, by the names of disks and taps: `0000:00:03.0`."""
    devices, found = ET.fromstring(xml).find("devices"), {}  # noqa: S314  # libvirt's own output
    for device in () if devices is None else devices:
        target, at = device.find("target"), device.find("address")
        if target is not None and at is not None and at.get("type") == "pci":
            parts = {name: int(at.get(name, "0"), 16) for name in ("domain", "bus", "slot", "function")}
            found[target.get("dev", "")] = "{domain:04x}:{bus:02x}:{slot:02x}.{function:x}".format(**parts)
    return found


def now(conn: Any, server_id: str) -> dict[str, str]:
    """Return the addresses that devices of a domain have, none where there is no such domain."""
    domain = quiet(conn.lookupByUUIDString, server_id)
    return {} if domain is None else addresses_in(domain.XMLDesc())


def imagined(guest: GuestSpec) -> GuestSpec:
    """Return a guest that is none, and has the devices of this one."""
    ident = _imagined_id(guest.server_id)
    return replace(guest, server_id=ident, name=f"imagined-{ident}")


def at_start(conn: Any, xml: str) -> dict[str, str]:
    """Return the addresses that libvirt gives the devices of a domain of this XML, which it then forgets.

    Always the same for one XML. What is left of it where the process dies is taken for the same by the next attempt.
    """
    domain = conn.defineXML(xml)
    try:
        return addresses_in(domain.XMLDesc())
    finally:
        domain.undefineFlags(bindings().VIR_DOMAIN_UNDEFINE_KEEP_NVRAM)


def forget(conn: Any, server_id: str) -> None:
    """Forget what a process left that died in `at_start`."""
    domain = quiet(conn.lookupByUUIDString, _imagined_id(server_id))
    if domain is not None:
        quiet(domain.undefineFlags, bindings().VIR_DOMAIN_UNDEFINE_KEEP_NVRAM)


def _imagined_id(server_id: str) -> str:
    return str(uuid.uuid5(uuid.UUID(server_id), "imagined"))
