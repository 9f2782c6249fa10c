"""Query strings as tables: the parameters a call knows, and from which microversion on it refuses others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from urllib.parse import parse_qsl

import msgspec

from floe.api.kit.values import Fault, whole
from floe.core.errors import Invalid
from floe.core.versions import Version

MAX_BYTES = 16384
"""Bytes of a query string at most, as it stands on the wire."""
MAX_PARAMETERS = 64
"""Parameters of a query string at most, on every surface."""
MAX_ITEMS = 50
"""Times that one parameter may stand in a query, and items of a list within one, at most."""

_SAID = 12
"""How many known names an error repeats."""

Pairs = list[tuple[str, str]]
"""Names and values in the order sent."""


def query_fault(name: str, wrong: str) -> str:
    """Say what is wrong with a parameter, in the words most surfaces use."""
    return f"Invalid input for query parameters {name}: {wrong}."


def pairs_of(text: bytes) -> Pairs:
    """Read a query string, blanks kept. Raises Invalid for what is not UTF-8, and for too much of it.

    What a query costs grows with what it holds, so this is the one place where that is bounded for all calls.
    """
    if not text:
        return []
    if len(text) > MAX_BYTES:
        raise Invalid(f"The query string has {len(text)} bytes; at most {MAX_BYTES} are taken.")
    if (count := text.count(b"&") + 1) > MAX_PARAMETERS:
        raise Invalid(f"The query string has {count} parameters; at most {MAX_PARAMETERS} are taken.")
    try:
        pairs = parse_qsl(text.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise Invalid("The query string is not UTF-8, percent-encoded.") from None
    if len(pairs) > MAX_ITEMS:
        name, times = Counter(name for name, _ in pairs).most_common(1)[0]
        if times > MAX_ITEMS:
            raise Invalid(f"Query parameter {name[:80]!r} is given {times} times; at most {MAX_ITEMS} are taken.")
    return pairs


def items(text: str, name: str) -> list[str]:
    """Split a list at its commas. Raises Invalid past 50 items."""
    return few(text.split(","), name)


def few(found: list[str], name: str) -> list[str]:
    """Return a list that a query holds. Raises Invalid past 50 items."""
    if len(found) > MAX_ITEMS:
        raise Invalid(f"Query parameter {name[:80]!r} lists {len(found)} items; at most {MAX_ITEMS} are taken.")
    return found


class Param(msgspec.Struct, frozen=True):
    """One parameter of a query: its name, and the microversions that know it.

    `many` lets it stand more than once; of one that may not, a second is refused. `check` is given each text and the
    name, and raises Invalid. With `suffix`, a regular expression, the name is followed by what that matches.
    """

    name: str
    since: Version = (0, 0)
    until: Version = (9999, 9999)
    many: bool = False
    check: Callable[[str, str], object] | None = None
    suffix: str | None = None


class Query:
    """The table of one call's parameters.

    From version `closed` on others are refused, below it they are left out, so that a handler sees known ones alone;
    None: never refused.
    """

    def __init__(self, *params: Param, closed: Version | None = (0, 0), fault: Fault = query_fault) -> None:
        self.params = params
        self.closed = closed
        self._fault = fault
        self._named: dict[str, list[Param]] = {}
        for param in params:
            if param.suffix is None:
                self._named.setdefault(param.name, []).append(param)
        self._families = [(re.compile(f"{p.name}(?:{p.suffix})"), p) for p in params if p.suffix is not None]

    def known(self, pairs: Pairs, version: Version) -> Pairs:
        """Return the pairs that this table knows at a version. Raises Invalid for what it refuses."""
        found: Pairs = []
        seen: set[str] = set()
        for name, text in pairs:
            param = self._find(name, version)
            if param is None:
                if self.closed is not None and version >= self.closed:
                    raise Invalid(self._fault(repr(name[:80]), self._unknown(version)))
                continue
            if name in seen and not param.many:
                raise Invalid(self._fault(name[:80], "it may be given once only"))
            if param.check is not None:
                param.check(text, name)
            seen.add(name)
            found.append((name, text))
        return found

    def _find(self, name: str, version: Version) -> Param | None:
        for param in self._named.get(name, ()):
            if param.since <= version <= param.until:
                return param
        for pattern, param in self._families:
            if param.since <= version <= param.until and pattern.fullmatch(name):
                return param
        return None

    def _unknown(self, version: Version) -> str:
        names = sorted({p.name for p in self.params if p.since <= version <= p.until})
        known = f"; known here: {', '.join(names) or 'none'}" if len(names) <= _SAID else ""
        return f"it is not known here (additional properties are not allowed{known})"


NO_QUERY = Query()
"""Of a call that takes no parameters and refuses any."""
OPEN_QUERY = Query(closed=None)
"""Of a call that takes no parameters and ignores any."""


def shaped(pattern: str, shape: str) -> Callable[[str, str], object]:
    """Return a check that a parameter's whole text fits a regular expression; `shape` says it in words."""
    compiled = re.compile(pattern)

    def check(text: str, name: str) -> None:
        if compiled.fullmatch(text) is None:
            raise Invalid(query_fault(name, f"{text[:80]!r} is not {shape}"))

    return check


def counted(text: str, name: str) -> int:
    """Check that a parameter is a whole number of 0 or more, in digits alone."""
    return whole(text, name, cut=True, fault=query_fault)
