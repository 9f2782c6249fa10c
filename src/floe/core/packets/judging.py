"""Which packets a port lets out and in: anti-spoofing and security groups."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from floe.core.host_network import GroupRule, HostPort
from floe.core.packets.scene import PROTOCOLS, Packet, Scene, Trail

_NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "ip": 0, "any": None}
_ECHO = (8, 0)
"""Type and code of an echo request."""
_PORT_SET = "openstack port set"


def network_of(text: str) -> IPv4Network | None:
    """Return an address or CIDR as a network; None where it is none of IPv4."""
    try:
        return IPv4Network(text, strict=False)
    except ValueError:
        return None


def within(address: str, text: str) -> bool:
    """Say whether an address is in a network, or is the same address."""
    network = network_of(text)
    return network is not None and IPv4Address(address) in network


def leaves(scene: Scene, trail: Trail, port: HostPort, packet: Packet) -> None:
    """Follow a packet from a guest into its network, at its port. Raises Stopped."""
    _up(scene, trail, port)
    may_send(scene, trail, port, packet.source)
    _judged(scene, trail, port, packet, "egress")


def arrives(scene: Scene, trail: Trail, port: HostPort, packet: Packet) -> None:
    """Follow a packet from a network to a guest, at its port. Raises Stopped."""
    _up(scene, trail, port)
    _judged(scene, trail, port, packet, "ingress")


def may_send(scene: Scene, trail: Trail, port: HostPort, source: str) -> None:
    """Raise Stopped where a port may not send from an address: what holds for answers too."""
    holder = _holder(scene, port, source)
    if holder is not None:
        raise trail.stop(
            "port", port.port_id,
            f"{source} is held on this network by {holder}: no guest may send from it",
            f"openstack port set --fixed-ip subnet=SUBNET {port.port_id}  # another address",
        )  # fmt: skip
    if not port.port_security:
        return
    if any(within(source, cidr) for cidr in _sources(port)):
        return
    own = ", ".join(entry.address for entry in port.addresses) or "none"
    raise trail.stop(
        "port", port.port_id,
        f"anti-spoofing: {source} is no address of this port (it has {own}) and no allowed address pair",
        f"{_PORT_SET} --allowed-address ip-address={source} {port.port_id}",
    )  # fmt: skip


def _sources(port: HostPort) -> list[str]:
    """Return what a port may send from with its own MAC, which is what guests send with."""
    pairs = [cidr for cidr, mac in port.allowed_pairs if mac.lower() == port.mac.lower()]
    return [*(entry.address for entry in port.addresses), *pairs]


def _holder(scene: Scene, port: HostPort, source: str) -> str | None:
    """Return who else holds an address on the port's network: a router, a floating IP, or the next hop outside."""
    own = {entry.address for each in scene.network.ports for entry in each.addresses}
    for router in scene.routers_on(port.network_id):
        legs = [leg for leg in router.legs if leg.network_id == port.network_id]
        if any(source == text.partition("/")[0] for leg in legs for text in leg.addresses):
            return "a router"
        if router.gateway is not None and router.gateway.network_id == port.network_id:
            if source in router.outer:
                return "a floating IP"
            if router.next_hop == source and source not in own:
                return "the gateway of the network"
    return None


def _up(scene: Scene, trail: Trail, port: HostPort) -> None:
    if port.up:
        return
    if port.network_id in scene.down and port.port_id not in scene.down:
        raise trail.stop(
            "network", port.network_id, "the network is down (admin_state_up is false)",
            f"openstack network set --enable {port.network_id}",
        )  # fmt: skip
    raise trail.stop(
        "port", port.port_id, "the port is down (admin_state_up is false)", f"{_PORT_SET} --enable {port.port_id}"
    )


def _judged(scene: Scene, trail: Trail, port: HostPort, packet: Packet, direction: str) -> None:
    """Ask the security groups."""
    if not port.port_security:
        trail.passes("port", port.port_id, f"port security is off: {direction} is not judged")
        return
    groups = {group.group_id: group for group in scene.network.groups}
    for group_id in sorted(set(port.groups)):
        if group_id not in groups:
            continue
        ids = scene.rules.get(group_id, ())
        for number, rule in enumerate(groups[group_id].rules):
            if rule.direction == direction and admits(scene, rule, packet):
                rule_id = ids[number] if number < len(ids) else None
                trail.passes("security_group", group_id, f"{direction} rule admits {described(rule)}", rule=rule_id)
                return
    raise _refusal(scene, trail, port, packet, direction)


def _refusal(scene: Scene, trail: Trail, port: HostPort, packet: Packet, direction: str) -> Exception:
    other = f"from {packet.source}" if direction == "ingress" else f"to {packet.target}"
    named = sorted(set(port.groups), key=lambda group: (scene.name(group) == "default", scene.name(group)))
    if not named:
        return trail.stop(
            "port", port.port_id, f"the port is in no security group, so nothing admits {packet.words} {other}",
            f"{_PORT_SET} --security-group GROUP {port.port_id}",
        )  # fmt: skip
    which = " or ".join(f"{scene.name(group)} ({group})" for group in named)
    option = "" if packet.port is None else f" --dst-port {packet.port}"
    way = " --egress" if direction == "egress" else ""
    command = f"openstack security group rule create{way} --protocol {packet.protocol}{option}"
    remote = f" --remote-ip {packet.source if direction == 'ingress' else packet.target}/32"
    if packet.from_anybody and direction == "ingress":
        remote = ""
    return trail.stop(
        "security_group", named[0], f"no {direction} rule of security group {which} admits {packet.words} {other}",
        f"{command}{remote} {shlex.quote(named[0])}",
    )  # fmt: skip


def admits(scene: Scene, rule: GroupRule, packet: Packet) -> bool:
    """Say whether a rule, of the direction that is asked for, admits a packet."""
    remote = packet.source if rule.direction == "ingress" else packet.target
    return rule.ethertype == "IPv4" and _of_remote(scene, rule, remote) and _of_protocol(rule, packet)


def described(rule: GroupRule) -> str:
    """Return a rule as a few words: `tcp 22-80 from 10.0.0.0/8`."""
    words = [rule.protocol or "any protocol"]
    if rule.port_min is not None:
        far = rule.port_max if rule.port_max is not None else rule.port_min
        words.append(str(rule.port_min) if far == rule.port_min else f"{rule.port_min}-{far}")
    side = "from" if rule.direction == "ingress" else "to"
    remote = f"members of {rule.remote_group}" if rule.remote_group else rule.remote_cidr or "anywhere"
    return f"{' '.join(words)} {side} {remote}"


def _of_remote(scene: Scene, rule: GroupRule, address: str) -> bool:
    if rule.remote_group:
        return any(within(address, member) for member in _members(scene, rule.remote_group))
    if rule.remote_cidr:
        return within(address, rule.remote_cidr)
    return True


def _members(scene: Scene, group_id: str) -> Iterable[str]:
    for group in scene.network.groups:
        if group.group_id == group_id:
            yield from group.remote_members
    for port in scene.network.ports:
        if group_id in port.groups:
            yield from (entry.address for entry in port.addresses)
            yield from (cidr for cidr, _ in port.allowed_pairs)


def _of_protocol(rule: GroupRule, packet: Packet) -> bool:
    name = (rule.protocol or "any").lower()
    number = int(name) if name.isascii() and name.isdigit() else _NUMBERS.get(name, -1)
    if not number:
        return number is None or name == "0"
    if number != PROTOCOLS.get(packet.protocol):
        return False
    low, high = rule.port_min, rule.port_max
    if packet.port is None:
        return low is None or (low == _ECHO[0] and high in {None, _ECHO[1]})
    if low is None and high is None:
        return True
    first = low if low is not None else high or 0
    return first <= packet.port <= (high if high is not None else first)
