"""Scheduler hints: what a user tells about where a server should go. Those that are not known ask nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, TypeAlias

import msgspec

from floe.core import host_queries
from floe.core.errors import Invalid
from floe.core.ids import is_uuid
from floe.core.properties import shown

Network: TypeAlias = IPv4Network | IPv6Network

MAX_BYTES = 16 * 1024
"""Of all hints of a server, as JSON."""

_IDENTS = ("same_host", "different_host")
_NEAR, _CIDR = "build_near_host_ip", "cidr"
_FOLLOWED = frozenset({"group", *_IDENTS, "query", _NEAR})
_DEFAULT_CIDR = "/24"
_PREFIX, _MEANT = re.compile(r"/[0-9.]{1,15}"), f"the length of a network's prefix, like {_DEFAULT_CIDR}"


def checked(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return hints as they are kept, servers to be with and apart from in lists. Raises Invalid, naming the hint.

    None asks nothing. Hints that nobody knows may hold anything.
    """
    found = {name: value for name, value in asked.items() if value is not None}
    if len(msgspec.json.encode(found)) > MAX_BYTES:
        raise Invalid(f"Scheduler hints have more than {MAX_BYTES} bytes.")
    for name in _IDENTS:
        if name in found:
            value = found[name]
            found[name] = [_uuid(each, name) for each in (value if isinstance(value, list) else [value])]
    if "group" in found:
        _uuid(found["group"], "group")
    if _CIDR in found and not (isinstance(found[_CIDR], str) and _PREFIX.fullmatch(found[_CIDR])):
        raise _wrong(_CIDR, found[_CIDR], _MEANT)
    if "target_cell" in found and not (isinstance(found["target_cell"], str) and 0 < len(found["target_cell"]) < 256):
        raise _wrong("target_cell", found["target_cell"], "a text of 1 to 255 characters")
    query(found)
    near(found)
    return found


def query(hints: Mapping[str, Any]) -> host_queries.Condition | None:
    """Return the condition on hosts that hints hold. Raises Invalid where it cannot be read."""
    return host_queries.read(hints["query"]) if "query" in hints else None


def near(hints: Mapping[str, Any]) -> Network | None:
    """Return the network that a server's host is to be in. Raises Invalid where it is none."""
    return _network(hints[_NEAR], hints.get(_CIDR, _DEFAULT_CIDR)) if _NEAR in hints else None


def unheeded(hints: Mapping[str, Any]) -> list[str]:
    """Return what of hints changes nothing, as a warning says it."""
    followed = _FOLLOWED | {_CIDR} if _NEAR in hints else _FOLLOWED
    return [f"hint {name[:80]}={shown(str(value))}" for name, value in sorted(hints.items()) if name not in followed]


def told(hints: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return hints as the compute API shows them: lists of texts."""
    return {name: [_text(each) for each in _listed(value)] for name, value in hints.items()}


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _network(address: Any, cidr: str) -> Network:
    if not isinstance(address, str):
        raise _wrong(_NEAR, address, "an IP address")
    try:
        ip_address(address)
    except ValueError:
        raise _wrong(_NEAR, address, "an IP address") from None
    try:
        return ip_network(address + cidr, strict=False)
    except ValueError:
        raise _wrong(_CIDR, cidr, _MEANT) from None


def _uuid(value: Any, name: str) -> str:
    if not isinstance(value, str) or not is_uuid(value):
        raise _wrong(name, value, "a UUID")
    return value


def _wrong(name: str, value: Any, right: str) -> Invalid:
    return Invalid(f"Invalid input for field/attribute os:scheduler_hints.{name}: {str(value)[:80]!r} is not {right}.")
