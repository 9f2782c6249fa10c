"""Which servers somebody wants to see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import AddressValueError, IPv4Address
from typing import Any

from floe.core.errors import Invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFilter:
    """Conditions on servers; all of them must hold, and one that is None (or empty) holds for every server.

    `like` maps fields to SQL LIKE patterns (with `\\` as escape), `equal` to a value or a tuple of allowed values.
    """

    project_id: str | None = None
    like: Mapping[str, str] = field(default_factory=dict)
    equal: Mapping[str, Any] = field(default_factory=dict)
    states: tuple[tuple[str, tuple[str | None, ...] | None], ...] | None = None
    """Allowed pairs of vm_state and task_states (None: any). An empty tuple: no server fits."""
    changed_since: datetime | None = None
    changed_before: datetime | None = None
    deleted: bool | None = False
    """None: gone or not."""
    tags: tuple[str, ...] = ()
    any_tags: tuple[str, ...] = ()
    not_tags: tuple[str, ...] = ()
    not_any_tags: tuple[str, ...] = ()
    addresses: tuple[int, int] | None = None
    """The first and the last IPv4 address, as numbers, between which one of the server's must be."""
    nothing: bool = False
    """No server fits: it was asked for what none can have."""


def like_pattern(text: str, name: str) -> str:
    r"""Turn a search text into a LIKE pattern: `^` and `$` anchor, `.` is any character, `.*` any text, `\` escapes.

    The compute API calls it a regular expression; what goes beyond these is refused (Invalid), since a
    tenant's regular expression could keep the database busy for ever.
    """
    start, end = text.startswith("^"), text.endswith("$") and not text.endswith("\\$")
    body = text[1 if start else 0 : len(text) - (1 if end else 0)]
    found, at = [], 0
    while at < len(body):
        character = body[at]
        if character == "\\" and at + 1 < len(body):
            at += 1
            found.append(_literal(body[at]))
        elif character == ".":
            if body[at + 1 : at + 2] == "*":
                at += 1
                found.append("%")
            elif body[at + 1 : at + 2] == "+":
                at += 1
                found.append("_%")
            else:
                found.append("_")
        elif character in "[](){}|*+?^$":
            raise Invalid(
                f"Filter {name}={text!r} is not supported: of regular expressions only ^, $, '.', '.*', '.+' and "
                f"'\\' are (found {character!r}). Escape it with a backslash to mean the character itself."
            )
        else:
            found.append(_literal(character))
        at += 1
    return ("" if start else "%") + "".join(found) + ("" if end else "%")


def _literal(character: str) -> str:
    return "\\" + character if character in "%_\\" else character


def address_range(text: str) -> tuple[int, int]:
    """Return the addresses an `ip` filter means: one, or all that begin with whole numbers: `10.0.`, `^10.0.0.`.

    Raises Invalid. The compute API calls it a regular expression; addresses are kept as numbers here.
    """
    plain = text.removeprefix("^").removesuffix("$").removesuffix(".*").replace("\\.", ".")
    parts = plain.rstrip(".").split(".")
    try:
        first = IPv4Address(".".join((parts + ["0"] * 4)[: max(4, len(parts))]))
        last = IPv4Address(".".join((parts + ["255"] * 4)[: max(4, len(parts))]))
    except AddressValueError:
        raise Invalid(
            f"Filter ip={text!r} is not supported: name an IPv4 address, or its first numbers like '10.0.0.'."
        ) from None
    return int(first), int(last)
