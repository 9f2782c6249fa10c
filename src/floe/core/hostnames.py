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

LONGEST_NAME = 253
"""Of a name in DNS, without its final dot (RFC 1035)."""
_OF_ADDRESS = re.compile(r"host(-[0-9]{1,3}){4}")
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

    "" where none can be: `localhost` is every guest's own (RFC 6761), and nobody has the name of another's address. The
    server is then known by its own address alone.
    """
    labels = hostname.lower().split(".")
    if len(hostname) > LONGEST_NAME or labels[-1].isdecimal():  # the latter reads as an IPv4 address
        labels = labels[:1]
    if "localhost" in {labels[0], labels[-1]} or is_of_address(labels[0]):
        return ""
    return ".".join(labels) if all(_LABEL.fullmatch(label) for label in labels) else ""


def name_in_dns(text: str, field: str) -> str:
    """Read the name that a port is to have: labels, in lower case; one with a dot at its end is whole. Raises Invalid.

    "" is none. What no server of the cloud's own would be called is refused: `localhost`, and the names of addresses.
    """
    found = text.lower()
    if found:
        _check_name(found.removesuffix("."), text, field, LONGEST_NAME)
        if is_of_address(found.partition(".")[0]):
            raise _bad(field, text, "names like host-10-0-0-5 are those of addresses")
    return found


def domain_in_dns(text: str, field: str) -> str:
    """Read the domain of the names on a network, or of a port's: with a dot at its end, in lower case. Raises Invalid.

    "" is none of its own. There is room for any label below it.
    """
    found = text.lower()
    if found:
        if not found.endswith("."):
            raise Invalid(
                f"Invalid input for {field}: {_short(text)} is not a FQDN; it must end with a dot.", reason="malformed"
            )
        _check_name(found.removesuffix("."), text, field, LONGEST_NAME - 64)
    return found


def whole_name(name: str, domain: str) -> str:
    """Return a port's name with its domain, and with the dot at the end that says that it is whole."""
    return name if name.endswith(".") else f"{name}.{domain.removesuffix('.')}."


def told_name(name: str, domain: str) -> str:
    """Return a port's name as its host is told it: with a domain of the port's own, without a final dot."""
    return dns_name(whole_name(name, domain).removesuffix(".") if name and domain else name.removesuffix("."))


def of_address(address: str) -> str:
    """Return the name that an address has in any case."""
    return "host-" + address.replace(".", "-").replace(":", "-")


def is_of_address(label: str) -> bool:
    """Say whether a label is like the name of an address, which no port has but the one of that address."""
    return _OF_ADDRESS.fullmatch(label) is not None


def _check_name(name: str, text: str, field: str, longest: int) -> None:
    labels = name.split(".")
    if len(name) > longest:
        raise _bad(field, text, f"it is longer than {longest} characters")
    if not all(labels):
        raise _bad(field, text, "a label is empty")
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise _bad(
                field, text, f"label {_short(label)} must be 1 to 63 letters, digits and hyphens, no hyphen at an end"
            )
    if len(labels) > 1 and labels[-1].isdecimal():
        raise _bad(field, text, f"TLD {labels[-1]!r} must not be all numeric")
    if "localhost" in {labels[0], labels[-1]}:
        raise _bad(field, text, "localhost is every guest's own (RFC 6761)")


def _bad(field: str, text: str, why: str) -> Invalid:
    return Invalid(f"Invalid input for {field}: {_short(text)} is not a valid PQDN or FQDN: {why}.", reason="malformed")


def _short(text: str) -> str:
    return repr(text) if len(text) <= 80 else repr(text[:80]) + "..."


def numbered(hostname: str, number: int) -> str:
    """Return the host name of one of several servers made together: `web-2.example.org` of `web.example.org`."""
    label, dot, rest = hostname.partition(".")
    suffix = f"-{number}"
    return label[: 63 - len(suffix)] + suffix + dot + rest
