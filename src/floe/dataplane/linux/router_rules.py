"""The packet filter and address translation inside a router's namespace; pure.

One table, `ip floe`. A namespace has connection tracking of its own, so no zones are needed, and ranges that overlap
with another router's never meet.

Connection tracking decides once per flow how addresses are translated, and keeps to it. So each packet that is passed
on is asked whether the translation of its flow is one of those that are now in force: what a floating IP carried, in
either direction, ends with it, and at once, and no other flow does. Its flow remembers the answer until others are in
force, and needs not be asked again.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from floe.core.host_network import HostRouter, RouterLeg
from floe.core.port_forwardings import PROTOCOLS
from floe.dataplane.checks import METADATA_ADDRESS
from floe.dataplane.linux.names import inner_leg
from floe.dataplane.linux.ruleset import Item, braces, chain, named_map, named_set

TABLE = ("ip", "floe")
"""The table of a router's namespace: family and name."""

Forwarded = tuple[str, str, int, str, int]
"""Floating IP, protocol and external port; fixed address and internal port."""


class Ends(NamedTuple):
    """One direction of a flow; of a protocol without ports they are 0."""

    source: str
    target: str
    protocol: str = ""
    """Its name where ports of it can be forwarded."""
    source_port: int = 0
    target_port: int = 0


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """Which translations of addresses are in force."""

    floating: frozenset[tuple[str, str]] = frozenset()
    """Floating IP and fixed address."""
    forwarded: frozenset[Forwarded] = frozenset()
    gateway: str | None = None
    """From where everything else leaves, or hairpins."""

    def ended(self, after: Translation) -> frozenset[str]:
        """Return the outer addresses of which some flow is no more, when this becomes `after`."""
        gone = {address for address, _ in self.floating - after.floating}
        gone |= {address for address, *_ in self.forwarded - after.forwarded}
        return frozenset(gone | ({self.gateway} - {after.gateway, None} if self.gateway else set()))

    def mark(self) -> int:
        """Return what marks the flows that were judged by these: another number, but for chance, for any others."""
        text = f"{sorted(self.floating)} {sorted(self.forwarded)} {self.gateway}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") or 1

    def keeps(self, original: Ends, reply: Ends, *, source: bool, target: bool) -> bool:
        """Say whether a flow may go on, the `source` or `target` of which is translated."""
        if target and (original.target, reply.source) not in self.floating:
            ports = original.target, original.protocol, original.target_port, reply.source, reply.source_port
            if ports not in self.forwarded:
                return False
        return not source or reply.target == self.gateway or (reply.target, original.source) in self.floating


def translation(router: HostRouter) -> Translation:
    """Return what a router translates; nothing where it has no gateway that is up."""
    gateway = _gateway(router)
    if gateway is None:
        return Translation()
    return Translation(
        floating=frozenset((each.address, each.fixed) for each in router.floating),
        forwarded=frozenset(_forwarded(router)),
        gateway=first_address(gateway),
    )


def rules(router: HostRouter) -> Mapping[str, Item]:
    """Return what the table of a router's namespace should hold."""
    gateway = _gateway(router)
    legs = [leg for leg in router.interfaces if router.up and leg.up]
    floating = router.floating if gateway is not None else ()
    pairs = [(each.address, each.fixed) for each in floating]
    forwarded = _forwarded(router) if gateway is not None else []
    devices = [_quoted(leg) for leg in legs]
    return {
        "interfaces": named_set("ifname", devices),
        "outer": named_set("ipv4_addr", _outer(router)),
        "inward": named_map("ipv4_addr", "ipv4_addr", dict(pairs)),
        "outward": named_map("ipv4_addr", "ipv4_addr", {fixed: address for address, fixed in pairs}),
        "inward_pairs": named_set("ipv4_addr . ipv4_addr", [f"{address} . {fixed}" for address, fixed in pairs]),
        "outward_pairs": named_set("ipv4_addr . ipv4_addr", [f"{fixed} . {address}" for address, fixed in pairs]),
        "inward_ports": named_map(
            "ipv4_addr . inet_proto . inet_service",
            "ipv4_addr . inet_service",
            {f"{address} . {name} . {port}": f"{fixed} . {inner}" for address, name, port, fixed, inner in forwarded},
        ),
        **{f"{protocol}_pairs": _pairs_of_ports(forwarded, protocol) for protocol in PROTOCOLS},
        "own": chain(_sources(router, legs, routed=False)),
        "sources": chain(_sources(router, legs, routed=True)),
        "input": chain(
            [
                f"ip daddr != {METADATA_ADDRESS} accept",
                'iifname "lo" accept',
                "ct direction reply accept",
                "jump own",
                "tcp dport 80 accept",
                "drop",
            ],
            "type filter hook input priority filter; policy accept;",
        ),
        "targets": chain(
            ["dnat to ip daddr map @inward", "dnat ip to ip daddr . meta l4proto . th dport map @inward_ports"],
            "type nat hook prerouting priority dstnat; policy accept;",
        ),
        "translated": chain(
            _translated(router, gateway, legs), "type nat hook postrouting priority srcnat; policy accept;"
        ),
        # What began before addresses were translated may not go on as it was.
        "left": chain(
            [f"{_but(router, legs)}oifname {_quoted(gateway)} ip saddr != @outer drop"]
            if gateway is not None and router.snat
            else [],
            "type filter hook postrouting priority 200; policy accept;",
        ),
        "aimed": chain(_aimed()),
        **_judged(router),
        "inward_ways": chain(_inward(router, gateway, legs)),
        "passed": chain(_passed(router, gateway, legs), "type filter hook forward priority filter; policy drop;"),
    }


def first_address(leg: RouterLeg) -> str | None:
    """Return the address from which a leg speaks for others."""
    return str(ipaddress.IPv4Interface(leg.addresses[0]).ip) if leg.addresses else None


def _outer(router: HostRouter) -> list[str]:
    """Return the addresses by which a router, and what is behind it, is known outside."""
    gateway = _gateway(router)
    if gateway is None:
        return []
    own = [text.partition("/")[0] for text in gateway.addresses]
    return list(dict.fromkeys([*own, *router.outer]))


def _forwarded(router: HostRouter) -> list[Forwarded]:
    """Return where each external port leads."""
    found: list[Forwarded] = []
    for each in router.forwarded:
        first, last = each.external
        step = 0 if each.internal[0] == each.internal[1] else 1
        found += [
            (each.address, each.protocol, port, each.fixed, each.internal[0] + step * (port - first))
            for port in range(first, last + 1)
        ]
    return found


def _pairs_of_ports(forwarded: list[Forwarded], protocol: str) -> Item:
    pairs = [f"{address} . {port} . {to} . {inner}" for address, name, port, to, inner in forwarded if name == protocol]
    return named_set("ipv4_addr . inet_service . ipv4_addr . inet_service", pairs)


def _aimed() -> list[str]:
    """Return what lets go on only flows whose targets are translated as they would be now."""
    ports = "ct original ip daddr . ct original proto-dst . ct reply ip saddr . ct reply proto-src"
    return [
        "ct original ip daddr . ct reply ip saddr @inward_pairs return",
        *(f"ct protocol {protocol} {ports} @{protocol}_pairs return" for protocol in PROTOCOLS),
        "drop",
    ]


def _gateway(router: HostRouter) -> RouterLeg | None:
    gateway = router.gateway
    return gateway if gateway is not None and gateway.up and router.up else None


def _translated(router: HostRouter, gateway: RouterLeg | None, legs: list[RouterLeg]) -> list[str]:
    """Return how sources are translated: of what leaves, and of what comes back in to another guest, or the same.

    The latter must be answered by way of the router, also where both are on one network.
    """
    address = first_address(gateway) if gateway is not None else None
    if gateway is None or address is None:
        return []
    out, turned = f"oifname {_quoted(gateway)}", "iifname @interfaces oifname @interfaces ct status dnat"
    return [
        f"{out} snat to ip saddr map @outward",
        f"{turned} snat to ip saddr map @outward",
        f"{turned} snat to {address}",
        *([f"{_but(router, legs)}{out} snat to {address}"] if router.snat else []),
    ]


def _judged(router: HostRouter) -> dict[str, Item]:
    """Return what is asked of a flow's first packet here, and again once other translations are in force: what ends.

    A flow that was judged is marked by the translations of then; one without a mark is counted first (`shares`). What
    changes with a translation is apart, and short.
    """
    now = translation(router)
    other = f"ct reply ip daddr != {now.gateway} " if now.gateway else ""
    mark = hex(now.mark())
    return {
        "judged": chain([f"ct mark {mark} return", "goto judged_anew"]),
        "judged_anew": chain(
            [
                "ct status dnat jump aimed",
                f"ct status snat {other}ct original ip saddr . ct reply ip daddr != @outward_pairs drop",
                "ct state { invalid, untracked } drop",
                "goto remembered",
            ]
        ),
        "remembered": chain([f"ct mark set {mark}"]),
    }


def _passed(router: HostRouter, gateway: RouterLeg | None, legs: list[RouterLeg]) -> list[str]:
    """Return what goes through. The order counts: first what ends, then what may begin."""
    inward = [f"iifname {_quoted(gateway)} goto inward_ways"] if gateway is not None else []
    rules = ["jump judged", *inward, "iifname @interfaces jump sources", *_between(legs)]
    if gateway is None:
        return rules
    name, opened = _quoted(gateway), [leg for leg in legs if router.is_open(leg)]
    if not router.snat and len(opened) == len(legs):
        return [*rules, f"iifname @interfaces oifname {name} accept"]
    ways = [f"iifname {_names(opened)} oifname {name} accept"] if opened else []
    fixed = [each.fixed for each in router.floating]
    if router.snat:
        # The rest of a flow whose floating IP went is not taken for a new one, from the gateway's address.
        late = "ct state new tcp flags & (fin | syn | rst | ack) != syn reject with tcp reset"
        ways += [f"{_but(router, legs)}oifname {name} {late}", f"iifname @interfaces oifname {name} accept"]
    elif fixed:  # from another scope nothing leaves but as what is of the outside's
        ways.append(f"iifname @interfaces oifname {name} ip saddr {braces(fixed)} accept")
    return [*rules, *ways]


def _inward(router: HostRouter, gateway: RouterLeg | None, legs: list[RouterLeg]) -> list[str]:
    """Return what comes in by the gateway."""
    opened = [leg for leg in legs if router.is_open(leg)]
    if gateway is None:
        return []
    if not router.snat and len(opened) == len(legs):
        return ["oifname @interfaces accept"]
    return [
        *([f"oifname {_names(opened)} accept"] if opened else []),
        "oifname @interfaces ct status dnat accept",
        "oifname @interfaces ct direction reply accept",
    ]


def _between(legs: list[RouterLeg]) -> list[str]:
    """Return what passes from interface to interface: within one scope, and by a floating IP anywhere."""
    scopes: dict[str, list[RouterLeg]] = {}
    for leg in legs:
        scopes.setdefault(leg.scope, []).append(leg)
    if len(scopes) <= 1:
        return ["iifname @interfaces oifname @interfaces accept"]
    names = [_names(alike) for alike in scopes.values()]
    return [
        *(f"iifname {name} oifname {name} accept" for name in names),
        "iifname @interfaces oifname @interfaces ct status dnat accept",
    ]


def _but(router: HostRouter, legs: list[RouterLeg]) -> str:
    """Return what is true of packets from all interfaces but those behind which nothing is translated."""
    opened = [leg for leg in legs if router.is_open(leg)]
    return f"iifname != {_names(opened)} " if opened else ""


def _names(legs: list[RouterLeg]) -> str:
    return braces([_quoted(leg) for leg in legs])


def _sources(router: HostRouter, legs: list[RouterLeg], *, routed: bool) -> list[str]:
    """Return what lets through only what comes from a subnet of the interface it comes by, or by a route there."""
    found = []
    for leg in legs:
        subnets = [ipaddress.IPv4Interface(text).network for text in leg.addresses]
        behind = [
            ipaddress.IPv4Network(route.destination)
            for route in router.routes
            if routed and any(ipaddress.IPv4Address(route.nexthop) in subnet for subnet in subnets)
        ]
        allowed = [str(network) for network in ipaddress.collapse_addresses([*subnets, *behind])]
        if "0.0.0.0/0" in allowed:
            found.append(f"iifname {_quoted(leg)} return")
        elif allowed:
            found.append(f"iifname {_quoted(leg)} ip saddr {braces(allowed)} return")
    return [*found, "drop"]


def _quoted(leg: RouterLeg) -> str:
    return f'"{inner_leg(leg.port_id)}"'
