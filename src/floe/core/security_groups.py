"""Security groups: named sets of rules; what no rule admits is dropped."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from ipaddress import ip_network
from typing import Any, NamedTuple

import msgspec

from floe.core import addresses
from floe.core.errors import Invalid
from floe.core.host_network import GroupRule

DEFAULT = "default"
DEFAULT_DESCRIPTION = "Default security group"

PROTOCOLS: Mapping[str, int] = {
    "ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "hopopt": 0, "icmp": 1, "igmp": 2, "ip": 0, "ipip": 4,
    "ipv6-encap": 41, "ipv6-frag": 44, "ipv6-icmp": 58, "icmpv6": 58, "ipv6-nonxt": 59, "ipv6-opts": 60,
    "ipv6-route": 43, "ospf": 89, "pgm": 113, "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136,
    "vrrp": 112,
}  # fmt: skip
"""Names that Neutron takes, and their IANA numbers."""
_ICMP_OF_IPV6 = {"icmp": "ipv6-icmp", "icmpv6": "ipv6-icmp", "1": "58"}
_WITH_PORTS = frozenset({6, 17, 33, 132, 136})
_ICMP = frozenset({1, 58})
_IPV6_ALONE = frozenset({41, 43, 44, 58, 59, 60})
_ALL_PORTS = (1, 65535)
_NFT_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 132: "sctp", 136: "udplite"}


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule as the database holds it; the fields are those of the API reference."""

    id: str
    group_id: str
    project_id: str
    direction: str
    ethertype: str = "IPv4"
    protocol: str | None = None
    port_min: int | None = None
    port_max: int | None = None
    remote_cidr: str | None = None
    remote_group: str | None = None
    remote_address_group: str | None = None
    description: str = ""
    tags: tuple[str, ...] = ()
    created_at: datetime
    updated_at: datetime
    revision: int = 0


class PluggedRule(NamedTuple):
    """As much of a rule as a host is told."""

    direction: str
    ethertype: str
    protocol: str | None
    port_min: int | None
    port_max: int | None
    remote_cidr: str | None
    remote_group: str | None
    remote_address_group: str | None


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A group as the database holds it."""

    id: str
    project_id: str
    name: str
    description: str = ""
    default: bool = False
    rules: tuple[Rule, ...] = ()
    tags: tuple[str, ...] = ()
    created_at: datetime
    updated_at: datetime
    revision: int = 0


def default_rules(group_id: str) -> tuple[dict[str, Any], ...]:
    """Return what every project's first group starts with: all out, and in from its own members."""
    rules: list[dict[str, Any]] = []
    for ethertype in ("IPv4", "IPv6"):
        rules.append({"direction": "ingress", "ethertype": ethertype, "remote_group": group_id})
        rules.append({"direction": "egress", "ethertype": ethertype})
    return tuple(checked_rule(rule) for rule in rules)


def new_group_rules() -> tuple[dict[str, Any], ...]:
    """Return what a group that a user makes starts with: all out."""
    return tuple(checked_rule({"direction": "egress", "ethertype": ethertype}) for ethertype in ("IPv4", "IPv6"))


def checked_rule(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Check a rule and return it complete. Raises Invalid, naming the field.

    Keys: direction, ethertype, protocol, port_min, port_max, description, and at most one of remote_cidr,
    remote_group and remote_address_group. All ports are no
    range; ICMP of IPv6 has one name and one number, whatever it was called.
    """
    ethertype, protocol = asked.get("ethertype") or "IPv4", protocol_of(asked.get("protocol"))
    if ethertype == "IPv6":
        protocol = _ICMP_OF_IPV6.get(protocol or "", protocol)
    elif protocol is not None and int(PROTOCOLS.get(protocol, protocol)) in _IPV6_ALONE:
        raise Invalid(
            f"Invalid ethertype {ethertype} for protocol {protocol}: it is one of IPv6.",
            reason="protocol_of_other_type",
        )
    low, high = asked.get("port_min"), asked.get("port_max")
    if (low, high) == _ALL_PORTS:
        low = high = None
    _check_range(protocol, low, high)
    remotes = {name: asked.get(name) or None for name in ("remote_cidr", "remote_group", "remote_address_group")}
    if sum(remote is not None for remote in remotes.values()) > 1:
        raise Invalid(
            "Only one of remote_ip_prefix, remote_group_id and remote_address_group_id may be given.",
            reason="several_remotes",
        )
    remote_cidr = remotes["remote_cidr"]
    if remote_cidr is not None:
        remote_cidr, version = addresses.prefix_of(remote_cidr, "remote_ip_prefix")
        if ethertype != f"IPv{version}":
            raise Invalid(
                f"Conflicting value ethertype {ethertype} for CIDR {remote_cidr} in remote_ip_prefix: "
                f"that is of ethertype IPv{version}.",
                reason="prefix_of_other_type",
            )
    return {
        "direction": asked["direction"],
        "ethertype": ethertype,
        "protocol": protocol,
        "port_min": low,
        "port_max": high,
        **remotes,
        "remote_cidr": remote_cidr,
        "description": asked.get("description") or "",
    }


def fingerprint(rule: Rule) -> str:
    """Return a text that is the same for two rules of a group that mean the same."""
    parts: list[Any] = [rule.direction, rule.ethertype, _number(rule.protocol), rule.port_min, rule.port_max]
    remote = rule.remote_cidr
    parts += ["" if remote in {"0.0.0.0/0", "::/0"} else remote, rule.remote_group]
    if rule.remote_address_group is not None:
        parts.append(rule.remote_address_group)
    return "|".join("" if part is None else str(part) for part in parts)


def host_rule(rule: PluggedRule) -> GroupRule:
    """Return the rule as a host applies it."""
    number = _number(rule.protocol)
    return GroupRule(
        direction=rule.direction,
        ethertype=rule.ethertype,
        protocol=None if number is None else _NFT_NAMES.get(number, str(number)),
        port_min=rule.port_min,
        port_max=rule.port_max,
        remote_cidr=None if rule.remote_cidr is None else str(ip_network(rule.remote_cidr, strict=False)),
        # To a host, an address group is a group of which it has no members of its own.
        remote_group=rule.remote_group or rule.remote_address_group,
    )


def protocol_of(asked: str | int | None) -> str | None:
    """Return a protocol's name in lower case, or its number as text; None for any. Raises Invalid."""
    text = "any" if asked is None else str(asked).lower()
    if text == "any":
        return None
    if text in PROTOCOLS:
        return text
    text = text.strip()
    if text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) <= 255:
        return str(int(text))
    known = ", ".join(sorted(PROTOCOLS))
    raise Invalid(
        f"Invalid input for protocol: {str(asked)[:40]!r} is not known; use any, 0 to 255, or one of {known}.",
        reason="unknown_protocol",
    )


def _number(protocol: str | None) -> int | None:
    """Return the IP protocol number; None for any, which `ip` and 0 mean too."""
    if protocol is None:
        return None
    number = int(protocol) if protocol.isdecimal() else PROTOCOLS[protocol]
    return None if protocol in {"ip", "0"} else number


def _check_range(protocol: str | None, low: int | None, high: int | None) -> None:
    if low is None and high is None:
        return
    if protocol is None:
        raise Invalid(
            "Invalid input for port_range_min and port_range_max: they need a protocol.",
            reason="range_without_protocol",
        )
    number = _number(protocol)
    if number in _ICMP:
        _check_icmp(low, high)
        return
    if number not in _WITH_PORTS:
        raise Invalid(
            f"Invalid input for port_range_min and port_range_max: they need protocol tcp, udp, sctp, dccp, udplite or"
            f" icmp (protocol is {protocol}).",
            reason="protocol_without_ports",
        )
    for name, value in (("port_range_min", low), ("port_range_max", high)):
        if value is not None and not 1 <= value <= 65535:
            raise Invalid(
                f"Invalid input for {name}: Invalid value for port {value}; it must be between 1 and 65535.",
                reason="no_such_port",
            )
    if low is None or high is None or low > high:
        raise Invalid(
            f"Invalid input for port_range_min and port_range_max: give both, or neither for all ports;"
            f" port_range_min must be <= port_range_max (they are {low} and {high}).",
            reason="bad_range",
        )


def _check_icmp(low: int | None, high: int | None) -> None:
    for name, what, value in (("port_range_min", "type", low), ("port_range_max", "code", high)):
        if value is not None and not 0 <= value <= 255:
            raise Invalid(
                f"Invalid input for {name}: Invalid value for ICMP {what} {value}; it must be 0 to 255.",
                reason="no_icmp_value",
            )
    if low is None:
        raise Invalid(
            f"Invalid input for port_range_max: the ICMP type (port-range-min) is missing for the code {high}.",
            reason="no_icmp_type",
        )
