"""How much the NICs of guests may send and receive, as rules; pure.

What a guest sends is counted as it comes, before anything else is asked of it; what it is sent, when all rules have let
it through, so that nobody takes a guest's share with what it does not get. What is over is dropped.

A limit is a bucket that fills at its rate. The kernel's holds what comes in a second, and the rule's `burst` besides.
"""

from __future__ import annotations

from floe.core.host_network import HostNetwork
from floe.core.nic_limits import NicLimits, Rate
from floe.dataplane.linux.names import short
from floe.dataplane.linux.ruleset import Item, Tables, chain, named_map

LARGEST = 65536
"""Bytes of the largest packet: guests and host hand one another what becomes many frames on a wire, as one."""
TRIAL: Tables = {("bridge", "floe_trial"): {"limited": chain(["limit rate over 1 bytes/second drop"])}}
"""What a kernel takes that can limit NICs."""


def sent(limits: NicLimits | None) -> list[str]:
    """Return the rules that drop what a guest sends beyond its limit."""
    return _over(limits.outbound) if limits is not None and limits.outbound is not None else []


def received(network: HostNetwork) -> dict[str, Item]:
    """Return what drops what comes to guests beyond their limits; nothing where none has one."""
    ways: dict[str, str] = {}
    chains: dict[str, Item] = {}
    for port in network.ports:
        limits = network.limited.get(port.port_id)
        if limits is not None and limits.inbound is not None:
            name = f"to_{short(port.port_id, 16)}"
            ways[f'"{port.tap}"'] = f"goto {name}"
            chains[name] = chain(_over(limits.inbound))
    if not ways:
        return {}
    hook = "type filter hook postrouting priority 0; policy accept;"
    return {
        "limited": named_map("ifname", "verdict", ways),
        "received": chain(["oifname vmap @limited"], hook),
        **chains,
    }


def _over(rate: Rate) -> list[str]:
    """Return the rules of a rate: what is over its peak takes nothing of its burst."""
    average = rate.average * 1000
    rules = [_limit(rate.peak * 1000, LARGEST)] if rate.peak else []
    return [*rules, _limit(average, max(LARGEST, rate.burst * 1024 - average))]


def _limit(rate: int, burst: int) -> str:
    return f"limit rate over {rate} bytes/second burst {burst} bytes counter drop"
