"""The machine itself as what a physical network leads to: a bridge of Floe's own with the gateway's address.

So a guest's floating IP is reached from the machine, or from within the sandbox, with nothing of a real network. With
`forwards` the machine also leads on to where it is itself connected: it translates, and what begins at a guest reaches
nothing of the machine's own.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from floe.core.host_network import HostNetwork, HostSegment
from floe.dataplane.linux.account import RUNTIME
from floe.dataplane.linux.links import Device, Line, LinkPlan
from floe.dataplane.linux.names import OWNER, machine_bridge, owns_device
from floe.dataplane.linux.ruleset import Item, braces, chain

TABLE = ("ip", "floe_outside")
"""The table of a machine that leads on: family and name."""

_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_BEFORE = RUNTIME / "ip_forward"
"""What the machine's own setting was, so that it is so again."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """By the name of each physical network that leads to this machine: its address there (with the prefix's length).

    That is for as long as this host has no part in that network; then it has the addresses of its subnets' gateways.
    """

    addresses: Mapping[str, str] = {}
    forwards: bool = False

    @property
    def leading(self) -> dict[str, str]:
        """The bridges by physical network."""
        return {physical: machine_bridge(physical) for physical in self.addresses}


NOWHERE = Machine()
"""A machine that is not the outside of anything."""


def plan(
    made: LinkPlan,
    machine: Machine,
    network: HostNetwork,
    devices: Mapping[str, Device],
    addresses: Mapping[str, list[str]],
) -> None:
    """Add to a plan what makes the machine's bridges, and the machine's addresses there what they should be."""
    segments = {segment.physical: segment for segment in network.segments if segment.physical}
    for physical, name in machine.leading.items():
        segment = segments.get(physical)
        owner = segment.network_id if segment else physical
        wanted = _gateways(segment) if segment else [machine.addresses[physical]]
        if taken := _taken(wanted, name, devices, addresses):
            wanted = []
            if segment:
                made.problems[owner] = taken
        made.before += [Line(owner=owner, text=text) for text in _bridge(name, physical, devices.get(name))]
        there = addresses.get(name, [])
        lines = [f"addr add {text} dev {name}" for text in wanted if text not in there]
        lines += [f"addr del {text} dev {name}" for text in there if text not in wanted]
        made.before += [Line(owner=owner, text=text) for text in lines]


def rules(machine: Machine) -> Mapping[str, Item]:
    """Return what the machine's table should hold; nothing where it does not lead on."""
    if not machine.forwards or not machine.addresses:
        return {}
    ours = braces(f'"{name}"' for name in machine.leading.values())
    return {
        "input": chain(
            [
                f"iifname != {ours} return",
                "ct state established,related accept",
                "icmp type { echo-request, destination-unreachable, time-exceeded } accept",
                "drop",
            ],
            "type filter hook input priority -10; policy accept;",
        ),
        "postrouting": chain(
            [f"iifname {ours} oifname != {ours} masquerade"],
            "type nat hook postrouting priority srcnat; policy accept;",
        ),
    }


def lead_on(machine: Machine) -> None:
    """Have the machine pass packets on, or no longer if it did not before it was the outside."""
    if machine.forwards and machine.addresses:
        if (found := _FORWARD.read_text().strip()) != "1":
            _BEFORE.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            _BEFORE.write_text(found)
            _FORWARD.write_text("1")
    elif _BEFORE.exists():
        _FORWARD.write_text(_BEFORE.read_text())
        _BEFORE.unlink()


def leads_on_wrongly(machine: Machine) -> bool:
    """Say whether `lead_on` would change anything."""
    if machine.forwards and machine.addresses:
        return _FORWARD.read_text().strip() != "1"
    return _BEFORE.exists()


def taken_by(
    wanted: Iterable[str], own: str, devices: Mapping[str, Device], addresses: Mapping[str, list[str]]
) -> tuple[str, str] | None:
    """Return the device and address of this machine whose range is also one of these, None where none is."""
    ranges = [ipaddress.IPv4Interface(text).network for text in wanted]
    for name, there in addresses.items():
        found = devices.get(name)
        if name == own or (found is not None and owns_device(name, found.alias)):
            continue
        for text in there:
            if any(ipaddress.IPv4Interface(text).network.overlaps(each) for each in ranges):
                return name, text
    return None


def _taken(
    wanted: Iterable[str], own: str, devices: Mapping[str, Device], addresses: Mapping[str, list[str]]
) -> str | None:
    found = taken_by(wanted, own, devices, addresses)
    if found is None:
        return None
    return (
        f"The machine has {found[1]} on {found[0]} already, in the range of {', '.join(wanted)}: it cannot be the"
        " outside there. Give the external network a subnet of another range (external_range at the first start)."
    )


def _gateways(segment: HostSegment) -> list[str]:
    return [
        f"{subnet.gateway}/{ipaddress.IPv4Network(subnet.cidr).prefixlen}"
        for subnet in segment.subnets
        if subnet.gateway
    ]


def _bridge(name: str, physical: str, found: Device | None) -> list[str]:
    texts = []
    if found is None:
        texts.append(f"link add name {name} type bridge forward_delay 0 mcast_snooping 0")
    if found is None or found.alias != OWNER + physical:
        texts += [f"link set dev {name} alias {OWNER}{physical}", f"link set dev {name} addrgenmode none"]
    if found is None or not found.up:
        texts.append(f"link set dev {name} up")
    return texts
