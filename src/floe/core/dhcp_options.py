"""Options that a port's DHCP client is told besides those of its subnet: which there are, and what each may say.

Names are those of dnsmasq, by which users know them from Neutron; numbers are those of RFC 2132 and its successors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from floe.core import addresses
from floe.core.errors import FloeError, Invalid

FIELD = "extra_dhcp_opts"
MOST = 32
"""Options of one port: more than an answer of DHCP has room for."""
LONGEST = 255
"""Bytes of a value (RFC 2132: the length of an option is one byte)."""
BLANK = frozenset({3, 121})
"""Options whose value may be empty, router and classless-static-route: the port is told of none then."""


class Kind(Enum):
    """What a value is made of."""

    ADDRESSES = "IPv4 addresses, with commas between"
    NUMBER = "a whole number"
    TEXT = "text"
    DOMAINS = "domain names (or for sip-server IPv4 addresses), with commas between"
    ROUTES = "destinations and next hops in turns (10.0.0.0/8,10.0.0.1), with commas between"
    ANY = "IPv4 addresses, a whole number, bytes (0a:1b:2c), or text"


class Option(NamedTuple):
    """An option; `name` is "" for one that has a number alone."""

    number: int
    name: str
    kind: Kind
    size: int = 0
    """Bytes of a number."""


def _known() -> Mapping[str, Option]:
    numbers = {
        "time-offset": (2, 4), "boot-file-size": (13, 2), "ip-forward-enable": (19, 1),
        "non-local-source-routing": (20, 1), "max-datagram-reassembly": (22, 2), "default-ttl": (23, 1), "mtu": (26, 2),
        "all-subnets-local": (27, 1), "router-discovery": (31, 1), "trailer-encapsulation": (34, 1),
        "arp-timeout": (35, 4), "ethernet-encap": (36, 1), "tcp-ttl": (37, 1), "tcp-keepalive": (38, 4),
        "netbios-nodetype": (46, 1), "T1": (58, 4), "T2": (59, 4), "client-arch": (93, 2), "ipv6-only": (108, 4),
    }  # fmt: skip
    lists = {
        "netmask": 1, "router": 3, "dns-server": 6, "log-server": 7, "lpr-server": 9, "swap-server": 16,
        "policy-filter": 21, "router-solicitation": 32, "static-route": 33, "nis-server": 41, "ntp-server": 42,
        "netbios-ns": 44, "netbios-dd": 45, "x-windows-fs": 48, "x-windows-dm": 49, "nis+-server": 65,
        "mobile-ip-home": 68, "smtp-server": 69, "pop3-server": 70, "nntp-server": 71, "irc-server": 74,
        "tftp-server-address": 150, "server-ip-address": 255,
    }  # fmt: skip
    texts = {
        "domain-name": 15, "root-path": 17, "extension-path": 18, "nis-domain": 40, "nis+-domain": 64,
        "tftp-server": 66, "bootfile-name": 67, "posix-timezone": 100, "tzdb-timezone": 101,
    }  # fmt: skip
    others = {
        "netbios-scope": 47, "vendor-class": 60, "user-class": 77, "rapid-commit": 80, "client-interface-id": 94,
        "client-machine-id": 97, "vendor-id-encap": 125,
    }  # fmt: skip
    found = [Option(number, name, Kind.NUMBER, size) for name, (number, size) in numbers.items()]
    found += [Option(number, name, Kind.ADDRESSES) for name, number in lists.items()]
    found += [Option(number, name, Kind.TEXT) for name, number in texts.items()]
    found += [Option(number, name, Kind.ANY) for name, number in others.items()]
    found += [Option(119, "domain-search", Kind.DOMAINS), Option(120, "sip-server", Kind.DOMAINS)]
    found.append(Option(121, "classless-static-route", Kind.ROUTES))
    found.append(Option(249, "", Kind.ROUTES))  # what older Windows guests ask for instead of 121
    return {key: option for option in found for key in (option.name.lower(), str(option.number)) if key}


KNOWN = _known()
"""By name in lower case, and by number."""
_OWN = frozenset({12, 28, *range(50, 58), 61, 81, 82, 118})
"""What says how server and client speak to each other, or comes of the port itself: dnsmasq alone says that."""
_LAST = 254
_WRITTEN = re.compile(r"[ -~]+")
_BYTES = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2})+")
_DOMAIN = re.compile(
    r"(?=.{1,253}\Z)[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*\.?"
)


def option_of(name: str) -> Option:
    """Return the option of a name or number. Raises Invalid."""
    option = KNOWN.get(name.lower())
    if option is None and re.fullmatch(r"[0-9]{1,3}", name) and 1 <= int(name) <= _LAST:
        option = KNOWN.get(str(int(name))) or Option(int(name), "", Kind.ANY)
    if option is None:
        named = ", ".join(sorted(known.name for known in set(KNOWN.values()) if known.name))
        raise Invalid(
            f"Invalid input for {FIELD}: {_short(name)} is no opt_name; it must be a number from 1 to {_LAST} or one of"
            f" {named}."
        )
    if option.number in _OWN:
        raise Invalid(f"Invalid input for {FIELD}: option {name} is what the DHCP server itself says; leave it out.")
    return option


def form_of(option: Option, value: str) -> Kind | None:
    """Return what a value is, of an option that takes it; None for a value that the option does not take.

    It is never `Kind.ANY`, and of bytes it is `Kind.NUMBER`: both are written as they are.
    """
    if not value:
        return option.kind if option.number in BLANK else None
    if len(value) > LONGEST or not _WRITTEN.fullmatch(value):
        return None
    if option.kind is not Kind.ANY:
        return option.kind if _is(option, value) else None
    if _are_addresses(value):
        return Kind.ADDRESSES
    if _BYTES.fullmatch(value) or (re.fullmatch(r"[0-9]{1,10}", value) and int(value) < 2**32):
        return Kind.NUMBER
    return Kind.TEXT


def merged(held: Sequence[tuple[str, str]], asked: Sequence[tuple[str, str | None]]) -> tuple[tuple[str, str], ...]:
    """Return the options a port has after a change: what is asked for is added or changed, by None removed.

    Raises Invalid.
    """
    found = {option_of(name).number: (name, value) for name, value in held}
    seen: set[int] = set()
    for name, value in asked:
        option = option_of(name)
        if option.number in seen:
            raise Invalid(f"Invalid input for {FIELD}: option {name} is given twice.")
        seen.add(option.number)
        if value is None:
            found.pop(option.number, None)
        elif form_of(option, value) is None:
            raise Invalid(
                f"Invalid input for {FIELD}: {_short(value)} is no value of option {name}; it must be {_needs(option)},"
                f" in at most {LONGEST} printable ASCII characters of one line."
            )
        else:
            found[option.number] = (name, value)
    if len(found) > MOST:
        raise Invalid(f"Invalid input for {FIELD}: {len(found)} options; a port may have at most {MOST}.")
    return tuple(found.values())


def _is(option: Option, value: str) -> bool:
    match option.kind:
        case Kind.ADDRESSES:
            return _are_addresses(value)
        case Kind.NUMBER:
            plain = re.fullmatch(r"-?[0-9]{1,10}", value) is not None
            least = -(2**31) if option.name == "time-offset" else 0
            return plain and least <= int(value) < 2 ** (8 * option.size)
        case Kind.DOMAINS:
            return all(_DOMAIN.fullmatch(name) for name in value.split(","))
        case Kind.ROUTES:
            parts = value.split(",")
            return len(parts) % 2 == 0 and all(map(_is_network, parts[::2])) and _are_addresses(",".join(parts[1::2]))
        case _:
            return True


def _are_addresses(value: str) -> bool:
    try:
        return all(addresses.text_of(addresses.number_of(part)) == part for part in value.split(","))
    except FloeError:
        return False


def _is_network(text: str) -> bool:
    try:
        return "/" in text and bool(addresses.network_of(text, FIELD))
    except FloeError:
        return False


def _needs(option: Option) -> str:
    return f"{option.kind.value} of {option.size} bytes" if option.kind is Kind.NUMBER else option.kind.value


def _short(value: str) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
