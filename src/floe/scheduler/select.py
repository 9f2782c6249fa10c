"""The scheduler: (spec, table, seed) -> a host and its alternates, or every reason why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from floe.core.errors import NoValidHost
from floe.scheduler.filters import (
    affinity,
    availability_zone,
    capacity,
    enabled,
    hints,
    image,
    requested_host,
    traits,
)
from floe.scheduler.hosts import HostTable, Mask, Rows, counted
from floe.scheduler.spec import RequestSpec
from floe.scheduler.weighers import Multipliers, weigh


class Filter(NamedTuple):
    """A filter module's three functions; see `floe.scheduler.filters`."""

    keep: Callable[[RequestSpec, HostTable, Rows], Mask]
    reason: Callable[[RequestSpec, HostTable, int], str]
    summary: Callable[[RequestSpec, HostTable, Rows], list[str]]


FILTERS: tuple[Filter, ...] = tuple(
    Filter(module.keep, module.reason, module.summary)
    for module in (requested_host, enabled, availability_zone, traits, image, hints, affinity, capacity)
)

CHUNK = 1024
"""Rows looked at together: a table of up to this size is always looked at whole."""
ENOUGH = 32
"""Hosts that can take the server at which the search ends."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The host chosen, and where to go if that fails, best first. `considered` hosts were looked at."""

    host: str
    alternates: tuple[str, ...]
    considered: int
    fitting: int


def select(
    spec: RequestSpec, table: HostTable, seed: int, *, alternates: int = 3, multipliers: Multipliers | None = None
) -> Selection:
    """Choose a host; the same arguments give the same choice. Raises NoValidHost with all the reasons.

    Looks at chunks of the table from an offset that the seed gives, until enough hosts fit; at all of it when
    servers are to be packed.
    """
    multipliers = multipliers or Multipliers()
    considered, found = 0, np.zeros(0, np.intp)
    for rows in _chunks(spec, table, seed, whole=multipliers.packs):
        considered += len(rows)
        found = np.concatenate([found, _kept(spec, table, rows)])
        if len(found) >= ENOUGH and not multipliers.packs:
            break
    if not len(found):
        raise explain(spec, table)
    weights = weigh(spec, table, found, multipliers)
    ties = ((found ^ (seed & 0xFFFF)) * 40503) % 65521  # equal hosts take turns, by the seed
    best = found[np.lexsort((ties, -weights))][: alternates + 1]
    names = [table.names[int(row)] for row in best]
    return Selection(names[0], tuple(names[1:]), considered, len(found))


def fitting(spec: RequestSpec, table: HostTable) -> list[str]:
    """Return the names of all hosts that could take the server."""
    return [table.names[int(row)] for row in _kept(spec, table, np.arange(len(table), dtype=np.intp))]


def explain(spec: RequestSpec, table: HostTable) -> NoValidHost:
    """Return why no host will do: counts and amounts in the message, the reasons by host name beside it."""
    rows = np.arange(len(table), dtype=np.intp)
    total = len(rows)
    if spec.host is not None and table.row(spec.host) is None:
        return NoValidHost(f"No valid host: there is no host {spec.host!r}.")
    if not total:
        return NoValidHost("No valid host: the cloud has no hosts (yet).")
    texts: list[str] = []
    reasons: dict[str, str] = {}
    for each in FILTERS:
        mask = each.keep(spec, table, rows)
        rejected = rows[~mask]
        if len(rejected):
            texts.extend(each.summary(spec, table, rejected))
            reasons.update({table.names[int(row)]: each.reason(spec, table, int(row)) for row in rejected})
        rows = rows[mask]
    considered = counted(total, "host", "hosts") + " considered"
    return NoValidHost(f"No valid host: {considered}; {'; '.join(texts)}.", reasons)


def _kept(spec: RequestSpec, table: HostTable, rows: Rows) -> Rows:
    for each in FILTERS:
        if not len(rows):
            break
        rows = rows[each.keep(spec, table, rows)]
    return rows


def _chunks(spec: RequestSpec, table: HostTable, seed: int, *, whole: bool) -> Iterator[Rows]:
    total = len(table)
    if spec.host is not None:
        yield table.rows((spec.host,))
        return
    if whole or total <= CHUNK:
        yield np.arange(total, dtype=np.intp)
        return
    start = seed % total
    for offset in range(0, total, CHUNK):
        yield (np.arange(start + offset, start + min(offset + CHUNK, total), dtype=np.intp)) % total
