"""Which devices, addresses and namespaces to make or remove: what should be, compared with what is there."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from floe.core.host_network import HostNetwork, HostPort, HostSegment
from floe.dataplane.checks import METADATA_ADDRESS, served_subnets
from floe.dataplane.linux.names import (
    INNER_DEVICE,
    OWNER,
    bridge_name,
    dhcp_device,
    leg_device,
    namespace_name,
    owns_device,
    owns_namespace,
    router_namespace,
)


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A network device as the kernel shows it; `master` names its bridge, `kind` is bridge, tun, veth ..."""

    name: str
    kind: str = ""
    master: str = ""
    mtu: int = 1500
    up: bool = False
    alias: str = ""
    mac: str = ""
    filtered: bool = False
    """Of a bridge: its packets pass the inet tables, whatever holds for all bridges."""
    queued: bool = False
    """Of a tap: it is one for several queues, and for a guest that knows of them alone."""
    held: bool = False
    """Of a tap: a guest has it."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line for `ip -batch`, and the port, network or router that fails when it does."""

    owner: str
    text: str


@dataclass(slots=True)
class LinkPlan:
    """What to do, in two batches: `before` the rules are in force, and `after`, when frames may flow."""

    before: list[Line] = field(default_factory=list)
    after: list[Line] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    """Names of devices and namespaces that go."""
    renewed: list[str] = field(default_factory=list)
    """Networks whose namespace is made anew, so that nothing is known of what is in it."""


def plan(
    network: HostNetwork,
    devices: Mapping[str, Device],
    namespaces: frozenset[str],
    joins: frozenset[str] = frozenset(),
) -> LinkPlan:
    """Return what turns the devices found into those of `network`; two empty batches when nothing differs.

    Of routers and physical networks only what is no longer wanted: `routers.join` and `physical.join` add the rest.
    """
    made = LinkPlan()
    segments = {segment.network_id: segment for segment in network.segments}
    served = {key: segment for key, segment in segments.items() if served_subnets(segment)}
    wanted = {port.tap for port in network.ports}
    wanted |= {bridge_name(network_id) for network_id in segments}
    wanted |= {dhcp_device(network_id) for network_id in served}
    wanted |= {leg_device(leg.port_id) for router in network.routers for leg in router.legs}
    wanted |= joins
    for name, device in devices.items():
        if owns_device(name, device.alias) and name not in wanted:
            made.before.append(Line(owner=device.alias.removeprefix(OWNER), text=f"link del dev {name}"))
            made.removed.append(name)
    inner = {namespace_name(network_id) for network_id in served}
    inner |= {router_namespace(router.router_id) for router in network.routers}
    for name in sorted(namespaces):
        if owns_namespace(name) and name not in inner:
            made.before.append(Line(owner=name, text=f"netns del {name}"))
            made.removed.append(name)
    asked = {port.network_id for port in network.ports}
    for segment in segments.values():
        _bridge(made, segment, devices.get(bridge_name(segment.network_id)), asked=segment.network_id in asked)
    for segment in served.values():
        _dhcp_end(made, segment, devices, namespaces)
    for port in network.ports:
        bridge = devices.get(bridge_name(port.network_id))
        _tap(
            made,
            port,
            segments[port.network_id],
            devices.get(port.tap),
            filtered=bridge is not None and bridge.filtered,
            queued=port.port_id in network.queued,
        )
    return made


def outside(network: HostNetwork) -> list[str]:
    """Return the devices of `network` that are in the host's own namespace."""
    bridges = [bridge_name(segment.network_id) for segment in network.segments]
    served = [dhcp_device(segment.network_id) for segment in network.segments if served_subnets(segment)]
    legs = [leg_device(leg.port_id) for router in network.routers for leg in router.legs]
    return [*bridges, *served, *legs, *(port.tap for port in network.ports)]


def addresses(segment: HostSegment, found: frozenset[str]) -> list[Line]:
    """Return what gives the inner device of a segment's namespace its addresses, given those found (CIDRs)."""
    name = namespace_name(segment.network_id)
    inside = f"netns exec {name} ip addr"
    wanted = {f"{METADATA_ADDRESS}/32": None}
    for subnet in served_subnets(segment):
        wanted[f"{subnet.dhcp_address}/{ipaddress.IPv4Network(subnet.cidr).prefixlen}"] = None
    owner = segment.network_id
    gone = [f"{inside} del {address} dev {INNER_DEVICE}" for address in sorted(found - wanted.keys())]
    new = [f"{inside} add {address} dev {INNER_DEVICE}" for address in wanted if address not in found]
    return [Line(owner=owner, text=text) for text in gone + new]


def removal(devices: Mapping[str, Device], namespaces: frozenset[str]) -> list[Line]:
    """Return what removes all of Floe's devices and namespaces from the host."""
    return plan(HostNetwork(), devices, namespaces).before


def _bridge(made: LinkPlan, segment: HostSegment, found: Device | None, *, asked: bool) -> None:
    name, owner = bridge_name(segment.network_id), segment.network_id
    if found is None:
        # Ports forward at once (no learning pause), and the bridge itself keeps out: no address, no queries.
        made.before.append(Line(owner=owner, text=f"link add name {name} type bridge forward_delay 0 mcast_snooping 0"))
    elif found.kind != "bridge":
        made.problems[owner] = f"Device {name} exists and is no bridge (kind {found.kind!r})."
        return
    if found is None or found.alias != OWNER + owner:
        # The alias first and alone: a device that cannot have the rest must still be known as Floe's.
        made.before.append(Line(owner=owner, text=f"link set dev {name} alias {OWNER}{owner}"))
        made.before.append(Line(owner=owner, text=f"link set dev {name} addrgenmode none mtu {segment.mtu}"))
    elif found.mtu != segment.mtu:
        made.before.append(Line(owner=owner, text=f"link set dev {name} mtu {segment.mtu}"))
    if found is None or not found.up:
        made.before.append(Line(owner=owner, text=f"link set dev {name} up"))
    if found is not None and found.filtered and not asked:
        # No guest is here, so no group: what is between routers and the outside goes on with no connection tracked.
        made.after.append(Line(owner=owner, text=f"link set dev {name} type bridge nf_call_iptables 0"))


def _dhcp_end(made: LinkPlan, segment: HostSegment, devices: Mapping[str, Device], namespaces: frozenset[str]) -> None:
    """Connect the segment's namespace by a veth pair.

    Where one of the two is missing both are made anew: servers inside are bound to the device that went.
    """
    owner, bridge = segment.network_id, bridge_name(segment.network_id)
    outer, inner = dhcp_device(owner), namespace_name(owner)
    found = devices.get(outer)
    mtu = segment.mtu
    inside = f"netns exec {inner} ip link set dev"
    texts: list[str] = []
    if found is None or inner not in namespaces:
        made.renewed.append(owner)
        if found is not None:
            texts.append(f"link del dev {outer}")
            found = None
        if inner in namespaces:
            texts.append(f"netns del {inner}")
        texts += [
            f"netns add {inner}",
            f"link add name {outer} mtu {mtu} type veth peer name {INNER_DEVICE} mtu {mtu} netns {inner}",
            f"link set dev {outer} alias {OWNER}{owner} addrgenmode none",
            f"{inside} lo up",
            f"{inside} {INNER_DEVICE} addrgenmode none up",
        ]
    elif found.mtu != mtu:
        texts += [f"link set dev {outer} mtu {mtu}", f"{inside} {INNER_DEVICE} mtu {mtu}"]
    made.before += [Line(owner=owner, text=text) for text in texts]
    join_bridge(made, owner, outer, bridge, found)


def _tap(
    made: LinkPlan, port: HostPort, segment: HostSegment, found: Device | None, *, filtered: bool, queued: bool
) -> None:
    """Make the tap, or take a tap or veth end of that name which is there and on nobody else's bridge."""
    name, owner, bridge = port.tap, port.port_id, bridge_name(port.network_id)
    if found is not None:
        ours = found.alias.startswith(OWNER)
        if found.kind not in ("tun", "veth") or (found.master and not ours):
            where = f" on {found.master}" if found.master else ""
            made.problems[owner] = f"Device {name} exists and is not Floe's (kind {found.kind!r}{where})."
            return
        if ours and found.kind == "tun" and found.queued != queued and not found.held:
            # It is of one kind for good. One that a guest has stays: that guest is to go on, and knows which it is.
            made.before.append(Line(owner=owner, text=f"link del dev {name}"))
            found = None
    if found is None:
        several = " multi_queue" if queued else ""
        made.before.append(Line(owner=owner, text=f"tuntap add dev {name} mode tap{several}"))
    if found is None or found.alias != OWNER + owner:
        # The alias first and alone: a device that cannot have the rest must still be known as Floe's.
        made.before.append(Line(owner=owner, text=f"link set dev {name} alias {OWNER}{owner}"))
        made.before.append(Line(owner=owner, text=f"link set dev {name} addrgenmode none mtu {segment.mtu}"))
    elif found.mtu != segment.mtu:
        made.before.append(Line(owner=owner, text=f"link set dev {name} mtu {segment.mtu}"))
    if not filtered:
        # The port's own line, though the bridge is others' too: who cannot have its groups asked does not join.
        made.before.append(Line(owner=owner, text=f"link set dev {bridge} type bridge nf_call_iptables 1"))
    join_bridge(made, owner, name, bridge, found)


def join_bridge(made: LinkPlan, owner: str, name: str, bridge: str, found: Device | None) -> None:
    """Put a device into a bridge and bring it up, once the rules are in force."""
    # Two requests: within one the kernel may bring it up first, and the host's own stack would hear its frames.
    if found is None or found.master != bridge:
        made.after.append(Line(owner=owner, text=f"link set dev {name} master {bridge}"))
    if found is None or not found.up:
        made.after.append(Line(owner=owner, text=f"link set dev {name} up"))
