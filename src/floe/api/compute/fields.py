"""Types of fields that several compute bodies share, and how the API's looser spellings are read."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Annotated, Any, Literal

from msgspec import Meta

from floe.core.errors import Invalid
from floe.core.texts import is_printable

# fmt: off
Flag = bool | Literal[
    "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes",
    "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no",
]
# fmt: on
"""A boolean in a body, or one of the words the API takes for one there; `flag` reads the looser ones of queries too."""

HostName = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9\-._]*\Z")]
"""The name of a host, as Nova takes it."""

_TRUE = frozenset({"1", "t", "true", "on", "y", "yes"})
_FALSE = frozenset({"0", "f", "false", "off", "n", "no"})


def is_true(text: str) -> bool:
    """Say whether a text is a word for true; anything else is not."""
    return text.strip().lower() in _TRUE


def flag(value: bool | str, name: str) -> bool:
    """Read a boolean. Raises Invalid."""
    if isinstance(value, bool):
        return value
    word = value.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise Invalid(f"Invalid input for field/attribute {name}: {value[:40]!r} is neither true nor false.")


def printable(text: str, name: str) -> str:
    """Return a name or a description. Raises Invalid for one with control characters."""
    if not is_printable(text):
        raise Invalid(f"Invalid input for field/attribute {name}: {text[:80]!r} has characters that cannot be shown.")
    return text


def multiline(text: str, name: str) -> str:
    """Return a description, which may have more than one line. Raises Invalid for control characters."""
    printable(text.replace("\n", "").replace("\r", "").replace("\t", ""), name)
    return text


def ipv4(text: str | None, name: str) -> str | None:
    """Return an IPv4 address in its usual form. Raises Invalid."""
    return _address(text, name, IPv4Address, "IPv4")


def ipv6(text: str | None, name: str) -> str | None:
    """Return an IPv6 address in its shortest form. Raises Invalid."""
    return _address(text, name, IPv6Address, "IPv6")


def _address(text: str | None, name: str, kind: Any, label: str) -> str | None:
    if text is None:
        return None
    try:
        return str(kind(text))
    except AddressValueError:
        raise Invalid(f"Invalid input for field/attribute {name}: {text[:80]!r} is no {label} address.") from None
