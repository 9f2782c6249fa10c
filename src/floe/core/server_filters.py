"""Which servers somebody wants to see."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import AddressValueError, IPv4Address
from typing import Any

from floe.core.errors import Invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFilter:
    """Conditions on servers; all of them must hold, and one that is None (or empty) holds for every server.

    `like` maps fields to SQL LIKE patterns (with `\\` as escape), `regular` to regular expressions that
    `regular_expression` has checked, `equal` to a value or a tuple of allowed values.
    """

    project_id: str | None = None
    like: Mapping[str, str] = field(default_factory=dict)
    regular: Mapping[str, str] = field(default_factory=dict)
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

    The compute API calls it a regular expression; most are no more than this. Raises Invalid for what goes beyond.
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


_ATOM = r"(?:\\[^A-Za-z0-9]|\\[dws]|\[\^?(?:[^\]\[\\&|~]|\\[^A-Za-z0-9])+\]|[^\\\[\](){}|*+?^$])"
_REGULAR = re.compile(rf"\^?(?:{_ATOM}[*+]?)*\$?")
_REPEATED = re.compile(rf"{_ATOM}[*+]")
MAX_REPEATS = 2
"""With one unbounded repetition more, a name as long as it may be takes a quarter of a second."""


def regular_expression(text: str, name: str) -> str:
    """Return a search text as a regular expression that a database may be given. Raises Invalid.

    Characters, classes (`[0-9]`) and `.`, each repeated by `*` or `+`. No groups and few repetitions (a search that
    may begin anywhere is one): a tenant's regular expression must not keep the database busy for ever.
    """
    if not _REGULAR.fullmatch(text):
        raise Invalid(
            f"Filter {name}={text[:80]!r} is not supported: of regular expressions only ^, $, '.', classes like [0-9], "
            "and * or + after one of these are. Escape any other character with a backslash to mean itself."
        )
    repeats = len(_REPEATED.findall(text)) + (not text.startswith("^"))
    if repeats > MAX_REPEATS or len(text) > 255:
        raise Invalid(
            f"Filter {name}={text[:80]!r} asks for too much: at most {MAX_REPEATS} repetitions after a ^, one less "
            "without, and 255 characters."
        )
    try:
        re.compile(text)
    except re.error as error:
        raise Invalid(f"Filter {name}={text[:80]!r} is no regular expression: {error}.") from None
    return "(?i)" + text


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
