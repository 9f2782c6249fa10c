"""Subnet pools: ranges that subnets get their CIDRs from, so that no two of a pool overlap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from ipaddress import IPv4Network, collapse_addresses

import msgspec

from floe.core import addresses
from floe.core.errors import Conflict, Invalid

MAX_PREFIXES = 64
LEAST, MOST = 8, 32
"""Lengths of prefixes that a pool gives where nothing else was said of it."""


class SubnetPool(msgspec.Struct, frozen=True, kw_only=True):
    """A subnet pool as the database holds it."""

    id: str
    project_id: str
    name: str = ""
    description: str = ""
    prefixes: tuple[str, ...] = ()
    """CIDRs, in order, of which no two touch."""
    default_length: int = LEAST
    """Of a prefix for whoever asks for none."""
    least_length: int = LEAST
    most_length: int = MOST
    quota: int | None = None
    """How many addresses a project may have in subnets of it."""
    shared: bool = False
    default: bool = False
    """The pool that is taken where none is named."""
    scope_id: str | None = None
    tags: tuple[str, ...] = ()
    created_at: datetime
    updated_at: datetime
    revision: int = 0


def read_prefixes(texts: Sequence[str]) -> tuple[str, ...]:
    """Read prefixes: joined where they touch or overlap, in order. Raises Invalid."""
    if not texts:
        raise Invalid("Illegal prefix: subnetpool prefixes must not be empty.", reason="malformed")
    if len(texts) > MAX_PREFIXES:
        raise Invalid(f"Invalid input for prefixes: {len(texts)} given, at most {MAX_PREFIXES} allowed.")
    return tuple(str(net) for net in collapse_addresses(addresses.network_of(text, "prefixes") for text in texts))


def check_lengths(least: int, default: int, most: int) -> None:
    """Raise Invalid unless the lengths of prefixes that a pool gives make sense."""
    for name, length, other, bound, wrong in (
        ("max_prefixlen", most, "ip_version_max", MOST, most > MOST),
        ("min_prefixlen", least, "max_prefixlen", most, least > most),
        ("min_prefixlen", least, "0", 0, least < 0),
        ("default_prefixlen", default, "min_prefixlen", least, default < least),
        ("default_prefixlen", default, "max_prefixlen", most, default > most),
    ):
        if wrong:
            raise Invalid(f"Illegal prefix bounds: {name}={length}, {other}={bound}.", reason="bad_prefix_bounds")


def check_extended(before: Iterable[str], after: Sequence[str]) -> None:
    """Raise Invalid unless all that was in a pool is in it still: subnets may have it."""
    there = [IPv4Network(cidr) for cidr in after]
    for cidr in before:
        if not any(IPv4Network(cidr).subnet_of(net) for net in there):
            raise Invalid(
                "Illegal update to prefixes: Existing prefixes must be a subset of the new prefixes.",
                reason="bad_prefix_update",
            )


def length_for(pool: SubnetPool, asked: int | None) -> int:
    """Return the length of a prefix that is asked of a pool. Raises Invalid for one that it does not give."""
    length = pool.default_length if asked is None else asked
    said = f"Unable to allocate subnet with prefix length {length}"
    if length < pool.least_length:
        raise Invalid(f"{said}, minimum allowed prefix is {pool.least_length}.", reason="prefix_too_short")
    if length > pool.most_length:
        raise Invalid(f"{said}, maximum allowed prefix is {pool.most_length}.", reason="prefix_too_long")
    return length


def free_prefix(pool: SubnetPool, taken: Iterable[str], length: int) -> str:
    """Return the first prefix of a pool that overlaps none of those taken, of the smallest gap it fits in.

    Raises Conflict where there is none.
    """
    fitting = [gap for gap in _gaps(pool.prefixes, taken) if gap.prefixlen <= length]
    if not fitting:
        raise Conflict(
            f"Failed to allocate subnet: Insufficient prefix space to allocate subnet size /{length}.",
            reason="no_prefix_left",
        )
    best = max(fitting, key=lambda gap: gap.prefixlen)
    return f"{best.network_address}/{length}"


def check_free(pool: SubnetPool, taken: Iterable[str], cidr: IPv4Network) -> None:
    """Raise Conflict unless a CIDR is of a pool, and overlaps none of those taken."""
    if not any(cidr.subnet_of(gap) for gap in _gaps(pool.prefixes, taken)):
        raise Conflict(
            "Failed to allocate subnet: Cannot allocate requested subnet from the available set of prefixes.",
            reason="no_prefix_left",
        )


def size(cidrs: Iterable[str]) -> int:
    """Return how many addresses are in CIDRs."""
    return sum(IPv4Network(cidr).num_addresses for cidr in cidrs)


def overlap(prefixes: Iterable[str], others: Iterable[str]) -> bool:
    """Say whether any of two lists of prefixes share an address."""
    theirs = [IPv4Network(cidr) for cidr in others]
    return any(IPv4Network(cidr).overlaps(net) for cidr in prefixes for net in theirs)


def _gaps(prefixes: Iterable[str], taken: Iterable[str]) -> list[IPv4Network]:
    """Return what is left of prefixes, as CIDRs in order, as large as they can be."""
    used = sorted((int(net.network_address), int(net.broadcast_address)) for net in map(IPv4Network, taken))
    found: list[IPv4Network] = []
    for prefix in map(IPv4Network, prefixes):
        start, end = int(prefix.network_address), int(prefix.broadcast_address)
        for first, last in used:
            if last < start or first > end:
                continue
            found += _cidrs(start, first - 1)
            start = max(start, last + 1)
        found += _cidrs(start, end)
    return found


def _cidrs(first: int, last: int) -> list[IPv4Network]:
    """Return the CIDRs that a range of addresses is made of."""
    found = []
    while first <= last:
        size = first & -first or 1 << 32
        while first + size - 1 > last:
            size >>= 1
        found.append(IPv4Network((first, 33 - size.bit_length())))
        first += size
    return found
