"""NICs of domains that run: blocking calls of libvirt, which `LibvirtConnection.ask` runs. Each may be repeated."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from floe.hypervisors.libvirt.connection import bindings, quiet


def attach(conn: Any, uuid: str, device: str, xml: str) -> None:
    """Give a domain that is on a NIC, unless it has one behind that tap; it is defined anew at each start."""
    domain = quiet(conn.lookupByUUIDString, uuid)
    if domain is not None and domain.isActive() and _behind(domain, device) is None:
        domain.attachDeviceFlags(xml, bindings().VIR_DOMAIN_AFFECT_LIVE)


def detach(conn: Any, uuid: str, device: str, *, ask: bool) -> bool:
    """Say whether a domain has no NIC behind a tap; one that has is asked to let go of it, where it is to be."""
    domain, libvirt = quiet(conn.lookupByUUIDString, uuid), bindings()
    if domain is None or not domain.isActive():
        return True
    found = _behind(domain, device)
    if found is None:
        return True
    if ask:
        # That it was asked before, and has not answered yet, is no error.
        quiet(domain.detachDeviceFlags, found, libvirt.VIR_DOMAIN_AFFECT_LIVE, ignore=libvirt.VIR_ERR_OPERATION_FAILED)
    return _behind(domain, device) is None


def _behind(domain: Any, device: str) -> str | None:
    """Return the element of the NIC that a domain which is on has behind a tap, None if it has none."""
    for element in ET.fromstring(domain.XMLDesc()).iterfind("devices/interface"):  # noqa: S314  # libvirt's own output
        target = element.find("target")
        if target is not None and target.get("dev") == device:
            return ET.tostring(element, encoding="unicode")
    return None
