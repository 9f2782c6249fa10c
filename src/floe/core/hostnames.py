"""The name a guest calls itself, made from what the user calls the server; and the one that others find it by."""

from __future__ import annotations

import re

from floe.core.errors import Invalid

_LABEL = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
_BREAKS = re.compile(r"[ _.]")
RESERVED = frozenset(
    {"dhcp", "dns", "gateway", "instance-data", "isatap", "metadata", "ntp", "ns", "proxy", "router", "time", "wpad"}
)
"""First labels that software looks for by itself: where several projects meet, no server of one of them has them."""

_LONGEST_NAME = 253
"""Of a name in DNS, without its final dot (RFC 1035)."""
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


def dns_name(hostname: str) -> str:
    """Return the name that a server has on its networks, in lower case, with its domain where it has one of its own.

    "" where none can be: `localhost` is every guest's own (RFC 6761). The server is then known by its address alone.
    """
    labels = hostname.lower().split(".")
    if len(hostname) > _LONGEST_NAME or labels[-1].isdecimal():  # the latter reads as an IPv4 address
        labels = labels[:1]
    if "localhost" in {labels[0], labels[-1]} or not all(_LABEL.fullmatch(label) for label in labels):
        return ""
    return ".".join(labels)


def numbered(hostname: str, number: int) -> str:
    """Return the host name of one of several servers made together: `web-2.example.org` of `web.example.org`."""
    label, dot, rest = hostname.partition(".")
    suffix = f"-{number}"
    return label[: 63 - len(suffix)] + suffix + dot + rest
