"""How much of a namespace's connection tracking one guest, or a router, may take; pure.

A table of its own, in which a set counts the connections of each that began any. It is never made anew while there are
connections that it has counted: neither a changed rule nor a restart gives a guest its share again.

The kernel's counting (`ct count`) looks at each connection of a list when one more is added: with 16,000 in a list that
takes milliseconds of a processor, for each packet that a flooder sends. So a share is counted in small parts, and which
part is a connection's its addresses and ports say, by a hash that nobody outside knows. None may have more than its
share; from about two thirds of it on, it may happen that a part is full and others are not.
"""

from __future__ import annotations

from collections.abc import Mapping

from floe.dataplane.linux.names import BRIDGE_PREFIX
from floe.dataplane.linux.ruleset import Item, chain, counting_set

TABLE = ("inet", "floe_shares")
"""The table of the shares: family and name."""

GUEST = 16384
ROUTER = 65536
"""Connections that each keeps at most, a NIC of a guest in its host's table: 5 and 20 MB of the kernel's memory."""

COUNTED = "shares"
"""The set of those of whom connections are counted: a mark, and the number of a part of the share."""

_PART = 64
_MOST_PARTS = 1 << 20


def of_guests(connections: int) -> Mapping[str, Item]:
    """Return what counts, on a host's bridges, what begins at each port; or comes to it from none that is here.

    Connections bear their port's mark. They are counted when the rules have let them leave, or arrive.
    """
    rules = [
        "ct mark != 0 accept",
        "meta mark 0 accept",
        f'iifname != "{BRIDGE_PREFIX}*" accept',
        "ct state != new ct mark set meta mark accept",
        "ct mark set meta mark",
        *_counted("ct mark", connections, "ct mark set 0 "),
    ]
    return {
        COUNTED: _SHARES,
        "begun": chain(rules, "type filter hook prerouting priority -149; policy accept;"),
        "received": chain(rules, "type filter hook forward priority 1; policy accept;"),
    }


def of_router(connections: int) -> Mapping[str, Item]:
    """Return what counts, in a router's namespace, what it is to pass on and has not marked as judged."""
    rules = ["ct mark != 0 accept", "ct state != new accept", *_counted("meta mark", connections)]
    return {COUNTED: _SHARES, "begun": chain(rules, "type filter hook forward priority -1; policy accept;")}


_SHARES = counting_set("mark . mark", _MOST_PARTS)


def _counted(whose: str, connections: int, undo: str = "") -> list[str]:
    """Return the rules that drop what begins above a share. What got in is marked, and asked no more."""
    parts, most = max(1, connections // _PART), min(connections, _PART)
    return [
        # The second of each matches what has ports, or something in their place. IPv6 is of ports without security.
        *(
            f"meta mark set jhash {family} saddr . {family} daddr . {what} mod {parts} offset 1"
            for family in ("ip", "ip6")
            for what in ("meta l4proto", "@th,0,32")
        ),
        f"add @{COUNTED} {{ {whose} . meta mark ct count over {most} }} {undo}counter drop",
    ]
