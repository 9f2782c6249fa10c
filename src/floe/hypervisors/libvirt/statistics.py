"""What libvirt counts of a domain: blocking calls, which `LibvirtConnection.ask` runs."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any

from floe.core.errors import Conflict, HostFailure
from floe.core.guest_questions import Diagnostics, DiskUse, NicUse
from floe.hypervisors.libvirt.connection import bindings, quiet

_MEMORY = re.compile(r"balloon\.(?!current$|maximum$)(.+)")


def diagnostics(conn: Any, uuid: str) -> Diagnostics:
    """Return what a domain that runs has used. Raises HostFailure with cause `conflict` for one that does not."""
    libvirt, domain = bindings(), quiet(conn.lookupByUUIDString, uuid)
    if domain is None or int(domain.state()[0]) != libvirt.VIR_DOMAIN_RUNNING:
        raise HostFailure("The guest does not run.", stage="guest", cause=Conflict.kind)
    kinds = (
        libvirt.VIR_DOMAIN_STATS_VCPU
        | libvirt.VIR_DOMAIN_STATS_BLOCK
        | libvirt.VIR_DOMAIN_STATS_INTERFACE
        | libvirt.VIR_DOMAIN_STATS_BALLOON
    )
    # Without waiting: a domain that something is being done with tells what can be told beside it.
    ((_, counted),) = conn.domainListGetStats([domain], kinds, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT)
    return told(counted, macs(domain.XMLDesc()), int(domain.maxMemory()))


def told(counted: Mapping[str, Any], macs: Mapping[str, str], memory_max: int) -> Diagnostics:
    """Return the same of what libvirt tells in one table; pure."""

    def number(name: str) -> int:
        return int(counted.get(name, 0))

    cpus = range(number("vcpu.maximum"))
    disks = [f"block.{index}" for index in range(number("block.count"))]
    nics = [f"net.{index}" for index in range(number("net.count"))]
    return Diagnostics(
        cpus=tuple(number(f"vcpu.{index}.time") for index in cpus),
        disks=tuple(
            DiskUse(
                device=str(counted[f"{disk}.name"]),
                read_requests=number(f"{disk}.rd.reqs"),
                read_bytes=number(f"{disk}.rd.bytes"),
                write_requests=number(f"{disk}.wr.reqs"),
                write_bytes=number(f"{disk}.wr.bytes"),
                errors=number(f"{disk}.errors"),
            )
            for disk in disks
        ),
        nics=tuple(
            NicUse(
                device=(device := str(counted[f"{nic}.name"])),
                mac=macs.get(device, ""),
                rx_bytes=number(f"{nic}.rx.bytes"),
                rx_packets=number(f"{nic}.rx.pkts"),
                rx_errors=number(f"{nic}.rx.errs"),
                rx_drops=number(f"{nic}.rx.drop"),
                tx_bytes=number(f"{nic}.tx.bytes"),
                tx_packets=number(f"{nic}.tx.pkts"),
                tx_errors=number(f"{nic}.tx.errs"),
                tx_drops=number(f"{nic}.tx.drop"),
            )
            for nic in nics
        ),
        memory_max=memory_max,
        memory_used=number("balloon.current") or memory_max,
        memory={found[1]: int(value) for name, value in counted.items() if (found := _MEMORY.fullmatch(name))},
    )


def macs(xml: str) -> dict[str, str]:
    """Return the MAC of each tap in a domain's XML."""
    found = {}
    for element in ET.fromstring(xml).iterfind("devices/interface"):  # noqa: S314  # libvirt's own output
        target, mac = element.find("target"), element.find("mac")
        if target is not None and mac is not None:
            found[target.get("dev", "")] = mac.get("address", "")
    return found
