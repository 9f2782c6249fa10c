"""What Floe does with the properties that flavors (extra specs) and images carry: a row for each. Pure.

A property is obeyed; or refused, where Floe does not do it; or plain, where it asks nothing of this cloud. A value that
asks for what holds anyway is plain under any name. The rows stand in `extra_specs` and `image_properties`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from floe.core.errors import Invalid

OBEYED, REFUSED, PLAIN = "obeyed", "refused", "plain"

_WARNING_MAX = 1000
"""Characters of a warning at most: an image may carry 128 properties of any length."""
_SHOWN_MAX = 60


class Values(msgspec.Struct, frozen=True, kw_only=True):
    """What a value may be, and how that is said; `low` and `high` bound a whole number."""

    pattern: str
    """Compiled when a value is first looked at: most of hundreds never are."""
    words: str
    low: int | None = None
    high: int | None = None

    def allow(self, text: str) -> bool:
        """Say whether a text is such a value."""
        if not re.fullmatch(self.pattern, text):
            return False
        if self.low is None and self.high is None:
            return True
        number = int(text)
        return (self.low is None or number >= self.low) and (self.high is None or number <= self.high)


def shaped(pattern: str, words: str) -> Values:
    """Return values that match a pattern."""
    return Values(pattern=pattern, words=words)


def one_of(*allowed: str) -> Values:
    """Return values that are one of some words."""
    words = f"{', '.join(allowed[:-1])} or {allowed[-1]}" if len(allowed) > 1 else repr(allowed[0])
    return shaped("|".join(re.escape(word) for word in allowed), words)


def any_case(*allowed: str) -> Values:
    """Return values that are one of some words, in capitals or not."""
    values = one_of(*allowed)
    return shaped(f"(?i:{values.pattern})", values.words)


def whole(low: int | None = None, high: int | None = None) -> Values:
    """Return whole numbers."""
    words = "a whole number"
    if low is not None and high is not None:
        words += f" from {low} to {high}"
    elif low is not None:
        words += f" of {low} or more"
    return Values(pattern=r"[ \t]*[+-]?[0-9](_?[0-9]){0,30}[ \t]*", words=words, low=low, high=high)


NO = r"(?i:\s*(0|f|false|off|n|no)\s*)"
YES = r"(?i:\s*(1|t|true|on|y|yes)\s*)"
TEXT = shaped(r"(?s:.*)", "any text")
BOOLEAN = shaped(f"{YES}|{NO}", "a boolean (true or false)")
NUMBER = whole()
AMOUNT = whole(0)
COUNT = whole(1)

PARAMETERS: Mapping[str, str] = {
    "{num}": r"\d+",
    "{group}": r"[a-zA-Z0-9_-]{0,64}",
    "{name}": r"[A-Z0-9_]+",
    "{key}": r".+",
    "{filter}": r"(?::\w+)*",
}
"""What stands in the names of rows that are families of names."""


class Property(msgspec.Struct, frozen=True, kw_only=True):
    """A row: the name (or family of names) and what is done with it.

    `harmless` is a pattern of values that ask for what holds anyway. `why` says, of a refused one, what this cloud does
    not do, and of an obeyed one what it does.
    """

    name: str
    values: Values = TEXT
    standing: str
    harmless: str = ""
    why: str = ""

    def of(self, value: str) -> str:
        """Return the standing of a value of this property."""
        return PLAIN if self.harmless and re.fullmatch(self.harmless, value) else self.standing


class Properties:
    """The rows of one kind of carrier, found by name."""

    def __init__(self, rows: Iterable[Property]) -> None:
        self.rows = tuple(rows)
        self._plain = {row.name: row for row in self.rows if "{" not in row.name}
        self._families = tuple((_family(row.name), row) for row in self.rows if "{" in row.name)

    def get(self, name: str) -> Property | None:
        """Return the row of a name."""
        found = self._plain.get(name)
        return found or next((row for family, row in self._families if family.fullmatch(name)), None)


def _family(name: str) -> re.Pattern[str]:
    """Return the pattern of the names that a row's name stands for."""
    pattern = re.escape(name)
    for parameter, meant in PARAMETERS.items():
        pattern = pattern.replace(re.escape(parameter), meant)
    return re.compile(pattern)


def check(table: Properties, carried: Mapping[str, str], carrier: str, what: str) -> None:
    """Raise Invalid for a property that is refused, and for a value that its property cannot have.

    `carrier` and `what` begin a refusal: `Flavor m1.small` and `extra spec`.
    """
    for name, value in sorted(carried.items()):
        row = table.get(name)
        if row is None:
            continue
        if not row.values.allow(value):
            raise Invalid(
                f"{carrier} cannot be used: its {what} {name} has the value {shown(value)}, and must be "
                f"{row.values.words}."
            )
        if row.of(value) == REFUSED:
            raise Invalid(
                f"{carrier} cannot be used: its {what} {name} has the value {shown(value)}, and this cloud {row.why}. "
                f"Use one without {name}."
            )


def shown(value: str) -> str:
    """Return a value as a message shows it: quoted, and cut where it is long."""
    return repr(value if len(value) <= _SHOWN_MAX else f"{value[: _SHOWN_MAX - 3]}...")


def warning(texts: Iterable[str]) -> str:
    """Return one sentence about all that is passed over, empty where there is nothing; of a bounded length."""
    found = list(texts)
    if not found:
        return ""
    text = f"without effect here: {', '.join(found)}"
    return text if len(text) <= _WARNING_MAX else f"{text[: _WARNING_MAX - 4]} ..."
