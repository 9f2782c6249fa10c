"""How values of attributes are read, in bodies and filters: what Neutron converts is converted, the rest refused.

A converter takes a value and the name of its attribute, and returns what the core knows it as. Raises Invalid.
"""

from __future__ import annotations

import reprlib
import unicodedata
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from floe.api.kit import values
from floe.api.kit.resource import Convert
from floe.core.addresses import number_of, spelled_mac, text_of
from floe.core.errors import Invalid
from floe.core.tags import MAX_LENGTH

_TRUE, _FALSE = frozenset({"true", "1", "yes", "on", "t", "y"}), frozenset({"false", "0", "no", "off", "f", "n"})
_BASIC_PLANE = 0xFFFF
_PORTS = 65535
_MOST_ITEMS = 256


def flag(value: Any, name: str) -> bool:
    """Read a boolean: one, or the text or number that stands for it."""
    text = str(value).strip().lower() if isinstance(value, str | int) else ""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise _invalid(name, value, "no boolean (true or false)")


def number(value: Any, name: str) -> int:
    """Read a whole number: one, its text, or the whole part of a fraction."""
    if isinstance(value, float) and abs(value) < 2**63:
        return int(value)
    if not isinstance(value, int | str):
        raise _invalid(name, value, "no whole number")
    plain = value.strip() if isinstance(value, str) else int(value)
    return values.whole(plain, name, -(2**63), 2**63 - 1, fault=_fault)


def port_number(value: Any, name: str) -> int | None:
    """Read a port of TCP or UDP; None is any."""
    if value is None:
        return None
    found = number(value, name)
    if not 0 <= found <= _PORTS:
        raise Invalid(_fault(name, f"Invalid value for port {found}; it must be 0 to {_PORTS}"), reason="no_such_port")
    return found


def text(most: int) -> Convert:
    """Return the converter of texts of so many characters at most."""

    def read(value: Any, name: str) -> str:
        if not isinstance(value, str):
            raise _malformed(name, value, "no text")
        if len(value) > most:
            raise _malformed(name, value, f"longer than {most} characters")
        return value

    return read


def lowered(value: Any, name: str) -> str:
    """Read a text that means the same in any case."""
    if not isinstance(value, str):
        raise _malformed(name, value, "no text")
    return value.lower()


def name_text(value: Any, name: str) -> str:
    """Read a name: up to 255 printable characters of the basic plane, no space at an end, but for one line's end."""
    found: str = text(255)(value, name)
    line = found.removesuffix("\n") if len(found) > 1 else found
    if not all(map(_printable, line)) or any(unicodedata.category(end) == "Zs" for end in (line[:1], line[-1:]) if end):
        raise _malformed(name, value, "no name: a control character is in it, or a space at an end")
    return found


def ident(value: Any, name: str) -> str:
    """Read an id: a UUID in any spelling."""
    try:
        uuid.UUID(value)
    except (ValueError, AttributeError, TypeError):
        raise _malformed(name, value, "no UUID") from None
    return str(value)


def address(value: Any, name: str) -> str | None:
    """Read an IPv4 address; null and the empty text are none."""
    return None if value is None or value == "" else text_of(number_of(_ADDRESS(value, name), name))


def one_of(*known: Any) -> Convert:
    """Return the converter of a few values that are told apart by their spelling."""

    def read(value: Any, name: str) -> Any:
        if isinstance(value, list | dict) or value not in known:
            raise _malformed(name, value, f"none of {', '.join(map(str, known))}")
        return value

    return read


def demand_few(items: Sequence[Any], name: str) -> None:
    """Raise for a list that is longer than any in earnest, before its items are looked at."""
    if len(items) > _MOST_ITEMS:
        raise malformed(f"Invalid input for {name}: {len(items)} items; at most {_MOST_ITEMS} are taken.")


def listed(read: Convert, *, distinct: bool = True) -> Convert:
    """Return the converter of lists of something, in which nothing comes twice; null is an empty one."""

    def read_all(value: Any, name: str) -> list[Any]:
        items = [] if value is None else value
        if not isinstance(items, list):
            raise _malformed(name, value, "no list")
        demand_few(items, name)
        found = [read(item, name) for item in items]
        if distinct and len(set(found)) < len(found):
            twice = next(item for at, item in enumerate(items) if found[at] in found[:at])
            raise malformed(f"Invalid input for {name}: {_short(twice)} is given twice.")
        return found

    return read_all


def tag(value: Any, name: str) -> str:
    """Read a tag."""
    found: str = text(MAX_LENGTH)(value, name)
    return found


tag_list = listed(tag)
"""Reads tags, of which none comes twice."""


def pair(first: str, second: str, *, optional: Iterable[str] = ()) -> Convert:
    """Return the converter of objects with these two keys into pairs; what is optional and left out is None."""
    keys, needed = {first, second}, {first, second} - set(optional)

    def read(value: Any, name: str) -> tuple[str | None, str | None]:
        if not isinstance(value, dict) or not needed <= value.keys() or not value.keys() <= keys:
            raise _malformed(name, value, f"no object of {first} and {second}")
        if not all(isinstance(item, str) for item in value.values()):
            raise _malformed(name, value, f"no object of texts: {first}, {second}")
        return value.get(first), value.get(second)

    return read


def mac(value: Any, _name: str) -> Any:
    """Read a MAC address in any spelling; what is none stays as it is."""
    return spelled_mac(value) or value if isinstance(value, str) else value


def ethertype(value: Any, name: str) -> str:
    """Read an ethertype, whatever its case."""
    for known in ("IPv4", "IPv6"):
        if isinstance(value, str) and value.lower() == known.lower():
            return known
    raise Invalid(_fault(name, f"{_short(value)} is neither IPv4 nor IPv6"), reason="unknown_ethertype")


_ADDRESS = text(64)


def malformed(message: str) -> Invalid:
    """Return the error for a request that is not of the form it must have."""
    return Invalid(message, reason="malformed")


def _malformed(name: str, value: Any, wrong: str) -> Invalid:
    return malformed(_fault(name, f"{_short(value)} is {wrong}"))


def _invalid(name: str, value: Any, wrong: str) -> Invalid:
    return Invalid(_fault(name, f"{_short(value)} is {wrong}"))


def _fault(name: str, wrong: str) -> str:
    return f"Invalid input for {name}: {wrong}."


def _short(value: Any) -> str:
    whole = isinstance(value, list | dict)
    shown = (
        reprlib.repr(value)
        if whole
        else repr(value)
        if not isinstance(value, int) or abs(value) < 2**63
        else "a number of more than 64 bits"
    )
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _printable(character: str) -> bool:
    category = unicodedata.category(character)
    return ord(character) < _BASIC_PLANE and category[0] != "C" and (category[0] != "Z" or category == "Zs")
