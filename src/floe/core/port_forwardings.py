"""Port forwardings: ports of a floating IP behind each of which a port of a guest answers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from floe.core.errors import Invalid

PROTOCOLS = ("tcp", "udp")
MAX_PORTS = 1024
"""Ports of one floating IP that lead somewhere: each is an entry of the packet filter of a host."""


class PortForwarding(msgspec.Struct, frozen=True, gc=False):
    """A port forwarding as the database holds it: each of its external ports leads to the internal one beside it.

    Where there is one internal port, all of them lead to that.
    """

    id: str
    project_id: str
    floating_id: str
    port_id: str
    fixed_address: str
    """The one of the port's addresses which is meant."""
    protocol: str
    external_first: int
    external_last: int
    internal_first: int
    internal_last: int
    created_at: datetime
    updated_at: datetime
    description: str = ""
    revision: int = 0

    @property
    def external(self) -> tuple[int, int]:
        """The first and the last of its external ports."""
        return self.external_first, self.external_last

    @property
    def internal(self) -> tuple[int, int]:
        """The first and the last of its internal ports."""
        return self.internal_first, self.internal_last


def single(ports: tuple[int, int]) -> int | None:
    """Return the port that a range is, None where it is several."""
    return ports[0] if ports[0] == ports[1] else None


def count(ports: tuple[int, int]) -> int:
    """Return how many ports a range is."""
    return ports[1] - ports[0] + 1


def meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Say whether two ranges have a port in common."""
    return one[0] <= other[1] and other[0] <= one[1]


def text_of(ports: tuple[int, int]) -> str:
    """Return a range as clients write it."""
    return f"{ports[0]}:{ports[1]}"


def check(new: PortForwarding, beside: Iterable[PortForwarding], behind: Iterable[PortForwarding]) -> None:
    """Raise Invalid unless a port forwarding can be beside those of its floating IP, and those to its address.

    Itself may be among them, as it was.
    """
    if single(new.internal) is None and count(new.internal) != count(new.external):
        raise bad_request(
            f"Invalid ranges of internal and/or external ports: {text_of(new.external)} are {count(new.external)} and"
            f" {text_of(new.internal)} are {count(new.internal)}. There must be one internal port, or as many as"
            " external ones"
        )
    there = [other for other in beside if other.id != new.id]
    for key, others in (("external_port_range", there), ("internal_port_range", behind)):
        _check_apart(key, new, others)
    taken = sum(count(other.external) for other in there)
    if taken + count(new.external) > MAX_PORTS:
        raise bad_request(
            f"A floating IP may have {MAX_PORTS} ports forwarded; {new.floating_id} has {taken}, and"
            f" {count(new.external)} more are asked for"
        )


def bad_request(message: str) -> Invalid:
    """Return the error for a port forwarding that cannot be."""
    return Invalid(f"Bad port_forwarding request: {message}.", reason="bad_port_forwarding_request")


def _check_apart(key: str, new: PortForwarding, others: Iterable[PortForwarding]) -> None:
    mine = new.external if key == "external_port_range" else new.internal
    for other in others:
        theirs = other.external if key == "external_port_range" else other.internal
        if other.id != new.id and other.protocol == new.protocol and meet(mine, theirs):
            raise bad_request(
                f"There is a port collision with the {key}. The following ranges collide: {text_of(theirs)} and"
                f" {text_of(mine)}"
            )
