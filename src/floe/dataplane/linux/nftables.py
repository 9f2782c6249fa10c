"""The packet filter of a host as one atomic nft script: anti-spoofing and stateful security groups.

Two tables, both Floe's alone:

- `bridge floe` sees every frame that enters or leaves a tap. It drops what a guest may not send (another's
  MAC, IPv4 or ARP address, a router's or server's, DHCP server replies, anything but plain IPv4 and ARP), keeps
  guests and the host's own stack apart, lets through to the DHCP and metadata servers what they serve alone, and
  marks what remains with the number of the port it comes from, then of the port it goes to.
- `inet floe` sees the same IPv4 packets through br_netfilter, on bridges with guests, with connection tracking in a
  zone per segment, so that equal addresses in different networks never meet. There the security groups decide, by mark.

The data plane is IPv4 only: IPv6 from a guest or to it is dropped (except at ports without port security,
which pass whatever comes), and rules with ethertype IPv6 give nothing.

Connection tracking lets pass only replies and what is related. Packets in a connection's own direction are
judged by the rules one by one, so a rule that is revoked, or a port that is removed, ends the connections it
allowed at once, with no entry to flush.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

from floe.core.addresses import text_of
from floe.core.host_network import GroupRule, HostGroup, HostNetwork, HostPort, HostSegment
from floe.dataplane.checks import METADATA_ADDRESS, ipv4_network, is_mac, served_subnets
from floe.dataplane.linux import nic_limits
from floe.dataplane.linux.names import BRIDGE_PREFIX, bridge_name, dhcp_device, leg_device, short
from floe.dataplane.linux.ruleset import Item, Tables, braces, chain, named_map, named_set, whole

BRIDGE, INET = ("bridge", "floe"), ("inet", "floe")
"""Floe's tables: family and name."""

# Protocols that a security group rule may name, as the Network API lists them (IPv6's own left out).
PROTOCOLS = {
    "ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "icmp": 1, "igmp": 2, "ipip": 4, "ospf": 89,
    "pgm": 113, "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112,
}  # fmt: skip
_WITH_PORTS = {6: "tcp", 17: "udp", 33: "dccp", 132: "sctp", 136: "udplite"}
_ICMP = 1
_PLAIN = "ether type != ip jump other"
"""First in every chain: what has a tag, an LLC header or another type passes br_netfilter by, and no group is asked.

The kernel has taken a tag off a frame before `ip saddr` looks at it; `ether type` sees the frame as it was sent.
"""
_OTHER = (
    "ether type != arp drop",
    # nft reads ARP's fields where they are in Ethernet and IPv4, whatever the message says of itself.
    "meta length < 28 drop",
    "arp htype 1 arp ptype ip arp hlen 6 arp plen 4 arp operation { request, reply } return",
    "drop",
)
"""Of what is not IPv4, whole ARP messages alone go on."""
_ZONES = 65535


def rules(network: HostNetwork, physical: Iterable[str] = ()) -> Tables:
    """Return what the host's tables should hold; nothing where it has no networks.

    `physical` are the devices by which bridges lead out of the host.
    """
    if not network.segments:
        return {BRIDGE: {}, INET: {}}
    marks = port_marks(network.ports)
    return {BRIDGE: _bridge_table(network, marks, physical), INET: _inet_table(network, marks)}


def shielded(tables: Tables, network: HostNetwork) -> Tables:
    """Return the tables of a network for another one, that differs in what routers have of addresses alone."""
    return {**tables, BRIDGE: {**tables[BRIDGE], **_shields(network)}}


def ruleset(network: HostNetwork) -> str:
    """Return the script that makes the host's rules those of `network`, whatever they were, in one go."""
    return whole(rules(network))


def port_marks(ports: Iterable[HostPort]) -> dict[str, int]:
    """Return a packet mark for each port: made of its id, so that it stays as others come and go."""
    marks: dict[str, int] = {}
    taken = {0}
    for port_id in sorted(port.port_id for port in ports):
        mark = int(short(port_id, 8), 16) if short(port_id, 8) else 1
        while mark in taken:
            mark = (mark + 1) % 2**32
        taken.add(mark)
        marks[port_id] = mark
    return marks


def zone(segment: HostSegment) -> int:
    """Return the segment's conntrack zone, 1 to 65535; tags beyond that share zones."""
    return (segment.tag - 1) % _ZONES + 1


# -- table bridge ---------------------------------------------------------------------------------------


def _bridge_table(network: HostNetwork, marks: dict[str, int], physical: Iterable[str]) -> dict[str, Item]:
    ports = network.ports
    judged = [port for port in ports if port.up and port.port_security]
    down = {f'"{port.tap}"': "drop" for port in ports if not port.up}
    servers = [f'"{dhcp_device(s.network_id)}"' for s in network.segments if served_subnets(s)]
    legs = [f'"{leg_device(leg.port_id)}"' for router in network.routers for leg in router.legs]
    shields = _shields(network)
    sources = {f'"{port.tap}"': f"goto src_{_key(port)}" for port in ports if port.up}
    sources |= dict.fromkeys([*servers, *legs], "goto ip_only")
    # What ends here is asked nothing more: most frames by a router are between devices that no group is for.
    sinks = {f'"{port.tap}"': "jump ip_only" for port in judged} | dict.fromkeys(servers, "goto served")
    sinks |= dict.fromkeys(legs, "goto ip_only")
    hook = "type filter hook {} priority -350; policy accept;"
    return {
        "ends": _ends(network, physical),
        "sources": named_map("ifname", "verdict", sources | down),
        "sinks": named_map("ifname", "verdict", sinks | down),
        "marks": named_map("ifname", "mark", {f'"{port.tap}"': hex(marks[port.port_id]) for port in judged}),
        "prerouting": chain(["iifname vmap @sources"], hook.format("prerouting")),
        "forward": chain(
            [
                "oifname vmap @sinks",
                "meta mark != 0 iifname @ends meta mark set 0",
                "meta mark set oifname map @marks",
            ],
            hook.format("forward"),
        ),
        # The host's own stack and its guests have nothing to say to each other.
        "input": chain(["iifname @ends drop"], hook.format("input")),
        "output": chain(["oifname @ends drop"], hook.format("output")),
        "ip_only": chain(["meta mark set 0", _PLAIN]),
        "other": chain(_OTHER),
        "served": chain(
            [
                "meta mark set 0",
                _PLAIN,
                "ether type arp return",
                "ether type ip udp dport { 53, 67 } return",
                "ether type ip tcp dport { 53, 80 } return",
                "ether type ip icmp type { echo-request, echo-reply, destination-unreachable, time-exceeded } return",
                # Answers to whoever works in there (floe exec --network): no beginning of a connection, and high ports.
                "ether type ip tcp flags & (syn | ack) != syn return",
                "ether type ip udp dport 32768-60999 return",
                "drop",
            ]
        ),
        **shields,
        **{
            f"src_{_key(port)}": _source_chain(
                port, marks[port.port_id], shields, nic_limits.sent(network.limited.get(port.port_id))
            )
            for port in ports
            if port.up
        },
        **nic_limits.received(network),
    }


def _ends(network: HostNetwork, physical: Iterable[str] = ()) -> Item:
    """Return the set of all devices by which frames come into the host's bridges."""
    servers = [dhcp_device(segment.network_id) for segment in network.segments if served_subnets(segment)]
    legs = [leg_device(leg.port_id) for router in network.routers for leg in router.legs]
    names = (*(port.tap for port in network.ports), *servers, *legs, *physical)
    return named_set("ifname", [f'"{name}"' for name in names])


def _shields(network: HostNetwork) -> dict[str, Item]:
    """Return, per network, what keeps guests from its routers' and servers' addresses, whatever else they may send.

    So neither an allowed address pair nor a port without port security gets another's traffic by posing as a router,
    or gives others names and metadata of its own.
    """
    macs: dict[str, list[str]] = {}
    held: dict[str, list[str]] = {}
    for segment in network.segments:
        if servers := [subnet.dhcp_address for subnet in served_subnets(segment) if subnet.dhcp_address]:
            held[segment.network_id] = [*servers, METADATA_ADDRESS]
    own = {entry.address for port in network.ports for entry in port.addresses}
    for router in network.routers:
        for leg in router.legs:
            macs.setdefault(leg.network_id, []).append(leg.mac.lower())
            held.setdefault(leg.network_id, []).extend(text.partition("/")[0] for text in leg.addresses)
        if router.gateway is not None:
            held[router.gateway.network_id] += router.outer
            if router.next_hop and router.next_hop not in own:
                held[router.gateway.network_id].append(router.next_hop)
    items: dict[str, Item] = {}
    for network_id, addresses in held.items():
        key = short(network_id)
        items[f"held_{key}"] = named_set("ipv4_addr", _unique(addresses))
        own_macs = _unique(macs.get(network_id, ()))
        items[f"kept_{key}"] = chain(
            [
                *([f"ether saddr {braces(own_macs)} drop"] if own_macs else []),
                f"arp saddr ip @held_{key} drop",
                f"ip saddr @held_{key} drop",
            ]
        )
    return items


def _source_chain(port: HostPort, mark: int, shields: Mapping[str, Item], limit: Sequence[str]) -> Item:
    """Return the chain that marks frames as the port's, and passes only those with an address pair of it.

    Of a port without port security it passes whatever is of no router and server: it has its mark to be counted.
    """
    mac = port.mac.lower()
    kept = f"kept_{short(port.network_id)}"
    marked, unlike = f"meta mark set {hex(mark)}", [f"jump {kept}"] if kept in shields else []
    if not port.port_security:
        return chain([*limit, marked, *unlike])
    rules = [
        *limit,
        marked,
        _PLAIN,
        *unlike,
        f"ether saddr {mac} ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 return",
        # Many a DHCP client looks at the port that an answer came to, not at the one it came from.
        "ether type ip udp sport 67 drop",
        "ether type ip udp dport 68 drop",
    ]
    for source, networks in _pairs(port).items():
        allowed = braces(networks)
        rules.append(f"ether saddr {source} ip saddr {allowed} return")
        rules.append(f"ether saddr {source} arp saddr ether {source} arp saddr ip {allowed} return")
    rules.append(f"ether saddr {mac} arp operation request arp saddr ether {mac} arp saddr ip 0.0.0.0 return")
    rules.append("drop")
    return chain(rules)


def _pairs(port: HostPort) -> dict[str, list[str]]:
    """Return, by MAC, the IPv4 networks that the port may send from."""
    found: dict[str, list[ipaddress.IPv4Network]] = {}
    own = [(entry.address, port.mac) for entry in port.addresses]
    for cidr, mac in (*own, *port.allowed_pairs):
        parsed = ipv4_network(cidr)
        if parsed is not None and is_mac(mac.lower()):
            found.setdefault(mac.lower(), []).append(parsed)
    return {mac: _collapsed(networks) for mac, networks in found.items()}


# -- table inet -----------------------------------------------------------------------------------------


def _inet_table(network: HostNetwork, marks: dict[str, int]) -> dict[str, Item]:
    judged = [port for port in network.ports if port.up and port.port_security]
    free = [hex(marks[port.port_id]) for port in network.ports if port.up and not port.port_security]
    groups = {group.group_id: group for group in network.groups}
    used = sorted({group for port in judged for group in port.groups})
    segments = {segment.network_id: segment for segment in network.segments}
    zones = {f'"{bridge_name(segment.network_id)}"': f"goto zone_{zone(segment)}" for segment in network.segments}
    own = f'iifname != "{BRIDGE_PREFIX}*" return'
    replies = ["ct state related accept", "ct direction reply ct state established accept", "ct state invalid drop"]
    items = _member_sets(network, [groups[group] for group in used if group in groups])
    for way, key in (("from_port", "out"), ("to_port", "in")):
        verdicts = {hex(marks[port.port_id]): f"jump {key}_{_key(port)}" for port in judged}
        items[way] = named_map("mark", "verdict", verdicts)
    items |= {f"zone_{zone(segment)}": chain([f"ct zone set {zone(segment)}"]) for segment in network.segments}
    # Frames come from the ends themselves only while one is not in its bridge: they are not for the host.
    items["entries"] = named_map("ifname", "verdict", zones | dict.fromkeys(_ends(network).body, "drop"))
    items["zones"] = chain(["iifname vmap @entries"], "type filter hook prerouting priority raw; policy accept;")
    for name, hook, way in (
        ("egress", "prerouting priority mangle", "from_port"),
        ("ingress", "forward priority filter", "to_port"),
    ):
        unjudged = "meta mark 0 return" if way == "to_port" or not free else f"meta mark {braces(['0', *free])} return"
        judging = [unjudged, own, *replies, f"meta mark vmap @{way}"]
        items[name] = chain(judging, f"type filter hook {hook}; policy accept;")
    for group_id in used:
        rules = groups[group_id].rules if group_id in groups else ()
        for direction, key in (("egress", "out"), ("ingress", "in")):
            texts = [_rule(rule) for rule in rules if rule.direction == direction]
            items[f"{key}_sg_{short(group_id, 16)}"] = chain(_unique(texts))
    for port in judged:
        items |= _port_chains(port, segments[port.network_id])
    return items


def _port_chains(port: HostPort, segment: HostSegment) -> dict[str, Item]:
    """Return the port's two chains: DHCP and metadata always, then its groups, then nothing more."""
    servers = [subnet.dhcp_address for subnet in served_subnets(segment) if subnet.dhcp_address]
    groups = sorted(set(port.groups))
    outward = [
        f"ip daddr {braces(['255.255.255.255', *servers])} udp sport 68 udp dport 67 accept",
        f"ip daddr {METADATA_ADDRESS} tcp dport 80 accept",
        *[f"jump out_sg_{short(group, 16)}" for group in groups],
        "drop",
    ]
    inward = [f"jump in_sg_{short(group, 16)}" for group in groups]
    if servers:
        inward.insert(0, f"ip saddr {braces(servers)} udp sport 67 udp dport 68 accept")
    return {f"out_{_key(port)}": chain(outward), f"in_{_key(port)}": chain([*inward, "drop"])}


def _member_sets(network: HostNetwork, used: Sequence[HostGroup]) -> dict[str, Item]:
    """Return a set for each group that some rule names as its remote."""
    wanted = sorted({rule.remote_group for group in used for rule in group.rules if rule.remote_group})
    groups = {group.group_id: group for group in network.groups}
    sets: dict[str, Item] = {}
    for group_id in wanted:
        members: list[ipaddress.IPv4Network] = []
        remote = groups[group_id].remote_members if group_id in groups else ()
        here = [port for port in network.ports if group_id in port.groups]
        local = [entry.address for port in here for entry in port.addresses]
        paired = [cidr for port in here for cidr, _ in port.allowed_pairs]
        for text in (*remote, *local, *paired):
            parsed = ipv4_network(text)
            if parsed is not None:
                members.append(parsed)
        sets[f"sg_{short(group_id, 16)}"] = named_set("ipv4_addr", _apart(members), "interval")
    return sets


def _rule(rule: GroupRule) -> str | None:
    """Return the match and verdict of one rule; None where it cannot match an IPv4 packet."""
    if rule.ethertype != "IPv4":
        return None
    # Every rule must match IPv4 alone: the table is of family inet.
    parts = ["meta nfproto ipv4"]
    side = "saddr" if rule.direction == "ingress" else "daddr"
    if rule.remote_group:
        parts = [f"ip {side} @sg_{short(rule.remote_group, 16)}"]
    elif rule.remote_cidr:
        remote = ipv4_network(rule.remote_cidr)
        if remote is None:
            return None
        if remote.prefixlen:
            parts = [f"ip {side} {_network_text(remote)}"]
    if rule.protocol is not None and rule.protocol.lower() != "any":
        protocol = _protocol_match(rule)
        if protocol is None:
            return None
        parts.append(protocol)
    return " ".join(part for part in [*parts, "accept"] if part)


def _protocol_match(rule: GroupRule) -> str | None:
    name = (rule.protocol or "").lower()
    number = PROTOCOLS.get(name)
    if number is None:
        if not name.isascii() or not name.isdigit() or int(name) > 255:
            return None
        number = int(name)
    if number == 0:
        return ""  # the API's "any protocol", as a number
    low, high = rule.port_min, rule.port_max
    if number == _ICMP and low is not None:
        return f"icmp type {int(low)}" + (f" icmp code {int(high)}" if high is not None else "")
    if number in _WITH_PORTS and (low is not None or high is not None):
        first = int(low if low is not None else high or 0)
        last = int(high if high is not None else first)
        ports = str(first) if first == last else f"{first}-{last}"
        return f"{_WITH_PORTS[number]} dport {ports}"
    return f"ip protocol {number}"


# -- text -----------------------------------------------------------------------------------------------


def _key(port: HostPort) -> str:
    return short(port.port_id, 16)


def _collapsed(networks: Iterable[ipaddress.IPv4Network]) -> list[str]:
    return [_network_text(network) for network in ipaddress.collapse_addresses(networks)]


def _apart(networks: Iterable[ipaddress.IPv4Network]) -> list[str]:
    """Return networks of which none is in another; neighbours are not joined, so that each can come and go alone."""
    wide = list(ipaddress.collapse_addresses(network for network in networks if network.prefixlen < 32))
    single = {int(network.network_address) for network in networks if network.prefixlen == 32}
    outside = sorted(single) if not wide else [n for n in sorted(single) if not _within(n, wide)]
    return [*(_network_text(network) for network in wide), *(text_of(number) for number in outside)]


def _within(number: int, networks: Iterable[ipaddress.IPv4Network]) -> bool:
    return any(int(network.network_address) <= number <= int(network.broadcast_address) for network in networks)


def _network_text(network: ipaddress.IPv4Network) -> str:
    return str(network.network_address) if network.prefixlen == 32 else str(network)


def _unique(texts: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(text for text in texts if text))
