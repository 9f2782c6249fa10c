"""How the networks that are physical ones are joined to what the host has of them; pure.

What a physical network is called, and the device that leads there, are the host's own. A bridge is joined by a veth
pair, any other device is put into the segment's bridge. Where the host has none of that name, the segment is a bridge
with nothing else on it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from floe.core.host_network import HostNetwork, HostSegment
from floe.dataplane.linux.links import Device, Line, LinkPlan, join_bridge
from floe.dataplane.linux.names import OWNER, bridge_name, owns_device, physical_device, their_device

_MTU = 1500
"""Of a bridge that is being made."""


class Join(msgspec.Struct, frozen=True, kw_only=True):
    """A segment, and the device that leads to its physical network."""

    segment: HostSegment
    device: str
    is_bridge: bool

    @property
    def end(self) -> str:
        """The device in the segment's bridge."""
        return physical_device(self.segment.network_id) if self.is_bridge else self.device

    @property
    def made(self) -> tuple[str, ...]:
        """The devices that are made for it."""
        ident = self.segment.network_id
        return (physical_device(ident), their_device(ident)) if self.is_bridge else ()


def joins(
    network: HostNetwork, leading: Mapping[str, str], devices: Mapping[str, Device], own: Collection[str] = ()
) -> tuple[list[Join], dict[str, str]]:
    """Return what is to be joined, and per network why it cannot be; `leading` has the devices by physical network.

    `own` are bridges that Floe makes for it.
    """
    found: list[Join] = []
    problems: dict[str, str] = {}
    taken: dict[str, str] = {}
    for segment in network.segments:
        name = leading.get(segment.physical) if segment.physical else None
        if name is None:
            continue
        if name in own:
            found.append(Join(segment=segment, device=name, is_bridge=True))
            continue
        device = devices.get(name)
        problem = _problem(segment, name, device, devices)
        if not problem and device is not None and device.kind != "bridge":
            if name in taken:
                problem = f"Device {name} leads to network {taken[name]} already."
            taken[name] = segment.network_id
        if problem or device is None:
            problems[segment.network_id] = problem or ""
        else:
            found.append(Join(segment=segment, device=name, is_bridge=device.kind == "bridge"))
    return found, problems


def join(made: LinkPlan, network: HostNetwork, wanted: Iterable[Join], devices: Mapping[str, Device]) -> None:
    """Add to a plan what joins the physical networks, and lets go of devices that lead to one no more."""
    ends = {each.end for each in wanted}
    bridges = {bridge_name(segment.network_id) for segment in network.segments if segment.physical}
    taps = {port.tap for port in network.ports}
    for name, device in devices.items():
        if device.master in bridges and name not in ends | taps and not owns_device(name, device.alias):
            made.before.append(Line(owner=device.master, text=f"link set dev {name} nomaster"))
    for each in wanted:
        if each.is_bridge:
            _pair(made, each, devices)
        else:
            owner = each.segment.network_id
            join_bridge(made, owner, each.device, bridge_name(owner), devices.get(each.device))


def _pair(made: LinkPlan, wanted: Join, devices: Mapping[str, Device]) -> None:
    owner, mtu = wanted.segment.network_id, wanted.segment.mtu
    ours, theirs = wanted.made
    found, other = devices.get(ours), devices.get(theirs)
    if found is None or other is None:
        made.before += [Line(owner=owner, text=f"link del dev {name}") for name in (ours, theirs) if name in devices]
        found = other = None
        bridge = devices.get(wanted.device)
        beyond = bridge.mtu if bridge is not None else _MTU  # a bridge takes the least of its ports'
        texts = [
            f"link add name {ours} mtu {mtu} type veth peer name {theirs} mtu {beyond}",
            *(f"link set dev {name} alias {OWNER}{owner} addrgenmode none" for name in (ours, theirs)),
        ]
        made.before += [Line(owner=owner, text=text) for text in texts]
    elif found.mtu != mtu:
        made.before.append(Line(owner=owner, text=f"link set dev {ours} mtu {mtu}"))
    join_bridge(made, owner, ours, bridge_name(owner), found)
    join_bridge(made, owner, theirs, wanted.device, other)


def _problem(segment: HostSegment, name: str, device: Device | None, devices: Mapping[str, Device]) -> str | None:
    where = f"Device {name!r}, to which physical network {segment.physical!r} leads,"
    if device is None:
        return f"{where} is not on this host."
    if owns_device(name, device.alias):
        return f"{where} is one that Floe made."
    master = devices.get(device.master)
    if device.master and (master is None or not owns_device(master.name, master.alias)):
        return f"{where} is part of {device.master}: name that one instead."
    return None
