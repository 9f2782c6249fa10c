"""The packet filter and address translation inside a router's namespace; pure.

One table, `ip floe`. A namespace has connection tracking of its own, so no zones are needed, and ranges that overlap
with another router's never meet.

Connection tracking decides once per flow how addresses are translated, and keeps to it. So each packet that is passed
on is asked whether the translation of its flow is one of those that are now in force: what a floating IP carried, in
either direction, ends with it, and at once, and no other flow does.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import msgspec

from floe.core.host_network import HostRouter, RouterLeg
from floe.dataplane.checks import METADATA_ADDRESS
from floe.dataplane.linux.names import inner_leg
from floe.dataplane.linux.ruleset import Item, braces, chain, named_map, named_set

TABLE = ("ip", "floe")
"""The table of a router's namespace: family and name."""

CONNECTIONS = 65536
"""How many connections a router keeps, about 20 MB of the kernel's memory: one tenant's share, and no more."""


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """Which translations of addresses are in force."""

    floating: frozenset[tuple[str, str]] = frozenset()
    """Floating IP and fixed address."""
    gateway: str | None = None
    """From where everything else leaves, or hairpins."""

    def ended(self, after: Translation) -> frozenset[str]:
        """Return the outer addresses of which some flow is no more, when this becomes `after`."""
        gone = {address for address, _ in self.floating - after.floating}
        return frozenset(gone | ({self.gateway} - {after.gateway, None} if self.gateway else set()))

    def keeps(self, original: tuple[str, str], reply: tuple[str, str], *, source: bool, target: bool) -> bool:
        """Say whether a flow of these sources and targets may go on, `source` or `target` of which is translated."""
        if target and (original[1], reply[0]) not in self.floating:
            return False
        return not source or reply[1] == self.gateway or (reply[1], original[0]) in self.floating


def translation(router: HostRouter) -> Translation:
    """Return what a router translates; nothing where it has no gateway that is up."""
    gateway = _gateway(router)
    if gateway is None:
        return Translation()
    return Translation(
        floating=frozenset((each.address, each.fixed) for each in router.floating), gateway=first_address(gateway)
    )


def rules(router: HostRouter, connections: int = CONNECTIONS) -> Mapping[str, Item]:
    """Return what the table of a router's namespace should hold."""
    gateway = _gateway(router)
    legs = [leg for leg in router.interfaces if router.up and leg.up]
    floating = router.floating if gateway is not None else ()
    pairs = [(each.address, each.fixed) for each in floating]
    devices = [_quoted(leg) for leg in legs]
    return {
        "interfaces": named_set("ifname", devices),
        "outer": named_set("ipv4_addr", _outer(router)),
        "inward": named_map("ipv4_addr", "ipv4_addr", dict(pairs)),
        "outward": named_map("ipv4_addr", "ipv4_addr", {fixed: address for address, fixed in pairs}),
        "inward_pairs": named_set("ipv4_addr . ipv4_addr", [f"{address} . {fixed}" for address, fixed in pairs]),
        "outward_pairs": named_set("ipv4_addr . ipv4_addr", [f"{fixed} . {address}" for address, fixed in pairs]),
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
        "targets": chain(["dnat to ip daddr map @inward"], "type nat hook prerouting priority dstnat; policy accept;"),
        "translated": chain(_translated(router, gateway), "type nat hook postrouting priority srcnat; policy accept;"),
        # What began before addresses were translated may not go on as it was.
        "left": chain(
            [f"oifname {_quoted(gateway)} ip saddr != @outer drop"] if gateway is not None and router.snat else [],
            "type filter hook postrouting priority 200; policy accept;",
        ),
        "passed": chain(
            _passed(router, gateway, connections), "type filter hook forward priority filter; policy drop;"
        ),
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
    return list(dict.fromkeys([*own, *(each.address for each in router.floating)]))


def _gateway(router: HostRouter) -> RouterLeg | None:
    gateway = router.gateway
    return gateway if gateway is not None and gateway.up and router.up else None


def _translated(router: HostRouter, gateway: RouterLeg | None) -> list[str]:
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
        *([f"{out} snat to {address}"] if router.snat else []),
    ]


def _passed(router: HostRouter, gateway: RouterLeg | None, connections: int) -> list[str]:
    """Return what goes through. The order counts: first what ends, then what may begin."""
    address = first_address(gateway) if gateway is not None else None
    other = f"ct reply ip daddr != {address} " if address else ""
    rules = [
        "ct status dnat ct original ip daddr . ct reply ip saddr != @inward_pairs drop",
        f"ct status snat {other}ct original ip saddr . ct reply ip daddr != @outward_pairs drop",
        "ct state { invalid, untracked } drop",
        # Those that have got in are marked: to count more than there may be stops no flow that is one of them.
        f"ct mark 0 ct count over {connections} drop",
        "ct mark 0 ct mark set 1",
        "iifname @interfaces jump sources",
        "iifname @interfaces oifname @interfaces accept",
    ]
    if gateway is None:
        return rules
    name = _quoted(gateway)
    if not router.snat:
        return [*rules, f"iifname @interfaces oifname {name} accept", f"iifname {name} oifname @interfaces accept"]
    return [
        *rules,
        # The rest of a flow whose floating IP went is not taken for a new one, from the gateway's address.
        f"oifname {name} ct state new tcp flags & (fin | syn | rst | ack) != syn reject with tcp reset",
        f"iifname @interfaces oifname {name} accept",
        f"iifname {name} oifname @interfaces ct status dnat accept",
        f"iifname {name} oifname @interfaces ct direction reply accept",
    ]


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
