"""How whole numbers and moments are read from text, on every surface: one rule for each."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta

from floe.core.errors import Invalid

Digits = Annotated[str, Meta(pattern=r"^[0-9]+\Z", max_length=10)]
Count = int | Digits
"""A whole number of 0 or more in a body, or its digits as text."""

MOST = 2**31 - 1
"""The largest number that may be asked for where nothing smaller is said: what a column of 32 bits holds."""

_WHOLE = re.compile(r"[+-]?0*([0-9]{1,19})", re.ASCII)
_SAID = 40
"""How much of what was sent an error repeats."""

Fault = Callable[[str, str], str]
"""(name of the field, what is wrong with it) -> the sentence of the error."""


def field_fault(name: str, wrong: str) -> str:
    """Say what is wrong with a field, in the words most surfaces use."""
    return f"Invalid input for field/attribute {name}: {wrong}."


def whole(
    value: int | str, name: str, low: int = 0, high: int = MOST, *, cut: bool = False, fault: Fault = field_fault
) -> int:
    """Read a whole number between `low` and `high`: a number, or ASCII digits with or without a sign.

    With `cut` a larger one means `high`, as a page's limit does. Raises Invalid.
    """
    number = value if isinstance(value, int) else _number(value, name, fault)
    if number > high and cut:
        return high
    if not low <= number <= high:
        raise Invalid(fault(name, f"{_short(value)} is not between {low} and {high}"))
    return number


def is_digits(text: str) -> bool:
    """Say whether a text is ASCII digits alone; `str.isdigit` takes `²` for one."""
    return text.isascii() and text.isdigit()


def moment(text: str, name: str, *, fault: Fault = field_fault) -> datetime:
    """Read a time as ISO 8601 writes it, in UTC; one without a zone is UTC. Raises Invalid.

    A query string turns the + of a zone into a space, which is therefore read as one.
    """
    try:
        found = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(fault(name, f"{_short(text)} is no time like 2030-01-31T12:00:00Z")) from None


def _number(text: str, name: str, fault: Fault) -> int:
    found = _WHOLE.fullmatch(text)
    if found is None:
        raise Invalid(fault(name, f"{_short(text)} is no whole number"))
    return -int(found[1]) if text.startswith("-") else int(found[1])


def _short(value: int | str) -> str:
    if isinstance(value, int):
        return str(value) if abs(value) < 10**_SAID else "a number of more than 40 digits"
    return repr(value if len(value) <= _SAID else value[:_SAID] + "...")
