"""The name a guest calls itself, made from what the user calls the server."""

from __future__ import annotations

import re

from floe.core.errors import Invalid

_LABEL = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
_BREAKS = re.compile(r"[ _.]")
_STRANGE = re.compile(r"[^a-zA-Z0-9-]+")


def hostname_of(name: str, server_id: str) -> str:
    """Return a hostname made from a server's name: at most 63 of `a-z0-9-`; `server-<id>` if nothing is left of it."""
    text = _STRANGE.sub("", _BREAKS.sub("-", name)).lower().strip("-")[:63].strip("-")
    return text or f"server-{server_id}"


def check_hostname(text: str, *, dotted: bool) -> str:
    """Return a hostname a user chose. Raises Invalid unless it is a label (RFC 1123), or with `dotted` several."""
    labels = text.split(".") if dotted else [text]
    longest = 255 if dotted else 63
    if len(text) > longest or not all(_LABEL.fullmatch(label) for label in labels):
        kind = "a host name or a fully qualified domain name" if dotted else "a host name of one label"
        raise Invalid(
            f"Invalid input for field/attribute hostname: {text[:80]!r} is not {kind}: "
            f"letters, digits and '-' within, at most 63 in a label and {longest} in all."
        )
    return text


def numbered(hostname: str, number: int) -> str:
    """Return the host name of one of several servers made together: `web-2.example.org` of `web.example.org`."""
    label, dot, rest = hostname.partition(".")
    suffix = f"-{number}"
    return label[: 63 - len(suffix)] + suffix + dot + rest
