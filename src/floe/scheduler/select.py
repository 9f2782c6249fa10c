"""The scheduler: (spec, table, seed) -> a host and its alternates, or every reason why not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from floe.core.errors import NoValidHost
from floe.core.hosts import HostSeen
from floe.core.texts import shortened
from floe.scheduler.filters import (
    affinity,
    aggregates,
    availability_zone,
    capacity,
    enabled,
    hints,
    image,
    near,
    query,
    requested_host,
    traits,
)
from floe.scheduler.hosts import HostTable, Keep, Rows, amounts, counted, kept
from floe.scheduler.spec import RequestSpec
from floe.scheduler.weighers import Multipliers, weigh


class Filter(NamedTuple):
    """A filter module's three functions, see `floe.scheduler.filters`, and the hint that it acts for."""

    keep: Callable[[RequestSpec, HostTable], Keep | None]
    reason: Callable[[RequestSpec, HostTable, int], str]
    summary: Callable[[RequestSpec, HostTable, Rows], list[str]]
    hint: str


FILTERS: tuple[Filter, ...] = tuple(
    Filter(module.keep, module.reason, module.summary, hint)
    for module, hint in (
        *((each, "") for each in (requested_host, enabled, availability_zone, aggregates, traits, image)),
        (hints, "same_host, different_host"),
        (near, "build_near_host_ip"),
        (query, "query"),
        (affinity, "group"),
        (capacity, ""),
    )
)

CHUNK = 1024
"""Rows looked at together at first: a table of up to this size is always looked at whole."""
ENOUGH = 32
"""Hosts that can take the server at which the search ends."""
NAMED = 20
"""Hosts that a refusal names at most, each with its reason."""
_NONE: Rows = np.zeros(0, np.intp)
_SAID, _SAID_OF_OTHERS = 400, 300
"""Characters of a refusal's message, and of what it says of the hosts it does not name: these are stored."""


class Selection(msgspec.Struct, frozen=True):
    """The host chosen, then where to go if that fails, best first, all as they were. `considered` were looked at."""

    hosts: tuple[HostSeen, ...]
    considered: int
    fitting: int
    heeded: tuple[str, ...] = ()
    """What each hint did with those that were considered, whatever else there was against them."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the hosts."""
        return tuple(host.name for host in self.hosts)

    @property
    def host(self) -> str:
        """The name of the host chosen."""
        return self.hosts[0].name


def select(
    spec: RequestSpec, table: HostTable, seed: int, *, alternates: int = 3, multipliers: Multipliers | None = None
) -> Selection:
    """Do what `choose` does. Raises NoValidHost, explained, where no host will do."""
    chosen = choose(spec, table, seed, alternates=alternates, multipliers=multipliers)
    if chosen is None:
        raise explain(spec, table)
    return chosen


def choose(
    spec: RequestSpec, table: HostTable, seed: int, *, alternates: int = 3, multipliers: Multipliers | None = None
) -> Selection | None:
    """Choose a host, None where none will do; the same arguments give the same choice.

    Looks at chunks of the table from an offset that the seed gives, until enough hosts fit; at all of it when
    servers are to be packed. Each chunk is twice the one before: where little fits, they are few.
    """
    multipliers = multipliers or Multipliers()
    looked, found = list[Rows](), _NONE
    asked = _asked(spec, table)
    for rows in _chunks(spec, table, seed, whole=multipliers.packs):
        looked.append(rows)
        kept_here = _kept(asked.values(), rows)
        found = np.concatenate([found, kept_here]) if len(found) else kept_here
        if len(found) >= ENOUGH and not multipliers.packs:
            break
    if not len(found):
        return None
    weights = weigh(spec, table, found, multipliers)
    best = found
    if len(found) > 1:
        ties = ((found ^ (seed & 0xFFFF)) * 40503) % 65521  # equal hosts take turns, by the seed
        best = found[np.lexsort((ties, -weights))][: alternates + 1]
    considered = sum(map(len, looked))
    heeded = tuple(_heeded(asked, looked, considered))
    return Selection(tuple(table.seen(int(row)) for row in best), considered, len(found), heeded)


OF_IMAGE = tuple(each for each in FILTERS if each.keep in {traits.keep, image.keep})
"""What a server's host has to pass again where the server gets another image."""


OF_FLAVOR = (*OF_IMAGE, *(each for each in FILTERS if each.keep is aggregates.keep))
"""What it has to pass again where that gets another flavor; room is claimed."""


def unfit(spec: RequestSpec, table: HostTable, host: str, filters: Sequence[Filter] = OF_IMAGE) -> str | None:
    """Return why the host that a server is on cannot run what it is to be now, None if it can."""
    row = table.row(host)
    if row is None:
        return None  # it waits for the host anyway
    for each in filters:
        keep = each.keep(spec, table)
        if keep is not None and not keep(table.rows((host,))).all():
            return each.reason(spec, table, row)
    return None


def fitting(spec: RequestSpec, table: HostTable) -> list[str]:
    """Return the names of all hosts that could take the server."""
    return [table.names[int(row)] for row in _kept(_asked(spec, table).values(), np.arange(len(table), dtype=np.intp))]


def explain(spec: RequestSpec, table: HostTable) -> NoValidHost:
    """Return why no host will do: counts and amounts in the message, the reasons of the nearest hosts beside it.

    Nearest are those that were tried, then those that were rejected last, by how much of what is asked they have.
    """
    total = len(table)
    if spec.host is not None and table.row(spec.host) is None:
        return NoValidHost(f"No valid host: there is no host {spec.host!r}.")
    if not total:
        return NoValidHost("No valid host: the cloud has no hosts (yet).")
    rejected = _rejected(spec, table)
    said = "; ".join(_summaries(spec, table, rejected))
    message = shortened(f"No valid host: {counted(total, 'host', 'hosts')} considered; {said}", _SAID) + "."
    reasons: dict[str, str] = {}
    tried = table.marked(spec.excluded)
    for only_tried in (True, False):
        for each, rows in reversed(rejected):
            for row in _nearest(spec, table, rows[tried[rows] == only_tried], NAMED - len(reasons)):
                reasons[table.names[int(row)]] = each.reason(spec, table, int(row))
    if total <= len(reasons):
        return NoValidHost(message, reasons)
    unnamed = ~table.marked(reasons)
    rest = [(each, rows[unnamed[rows]]) for each, rows in rejected]
    texts = "; ".join(_summaries(spec, table, [(each, rows) for each, rows in rest if len(rows)]))
    count = counted(total - len(reasons), "other host", "other hosts")
    return NoValidHost(message, reasons, shortened(f"{count}: {texts}", _SAID_OF_OTHERS))


def _asked(spec: RequestSpec, table: HostTable) -> dict[Filter, Keep]:
    """Return what the filters that have anything to say of a request keep, in their order."""
    return {each: keep for each in FILTERS if (keep := each.keep(spec, table)) is not None}


def _heeded(asked: Mapping[Filter, Keep], looked: Sequence[Rows], considered: int) -> Iterator[str]:
    for each, keep in asked.items():
        if each.hint:
            allowed = sum(int(keep(rows).sum()) for rows in looked)
            yield f"hint {each.hint}: {allowed} of {counted(considered, 'host', 'hosts')}"


def _rejected(spec: RequestSpec, table: HostTable) -> list[tuple[Filter, Rows]]:
    """Return the rows that each filter rejects of those that the ones before it keep, where it rejects any."""
    rows, found = np.arange(len(table), dtype=np.intp), []
    for each, keep in _asked(spec, table).items():
        mask = keep(rows)
        if not mask.all():
            found.append((each, rows[~mask]))
            rows = rows[mask]
    return found


def _summaries(spec: RequestSpec, table: HostTable, rejected: Sequence[tuple[Filter, Rows]]) -> list[str]:
    return [text for each, rows in rejected for text in each.summary(spec, table, rows)]


def _nearest(spec: RequestSpec, table: HostTable, rows: Rows, most: int) -> Rows:
    """Return the rows, at most so many, that have most of what is asked; of equal ones the first."""
    if not len(rows) or most <= 0:
        return rows[:0]
    lacks = np.zeros(len(rows), np.float64)
    for column, asked in enumerate(amounts(spec.resources)):
        if asked:
            free = table.capacity[:, column][rows] - table.used[:, column][rows]
            lacks += np.maximum(asked - np.minimum(free, table.max_unit[:, column][rows]), 0) / asked
    least = np.partition(lacks, most - 1)[most - 1] if len(lacks) > most else np.inf
    candidates = np.flatnonzero(lacks <= least)
    return rows[candidates[np.argsort(lacks[candidates], kind="stable")[:most]]]


def _kept(asked: Iterable[Keep], rows: Rows) -> Rows:
    for keep in asked:
        if not len(rows):
            break
        rows = kept(keep, rows)
    return rows


def _chunks(spec: RequestSpec, table: HostTable, seed: int, *, whole: bool) -> Iterator[Rows]:
    total = len(table)
    if spec.host is not None:
        yield table.rows((spec.host,))
        return
    if whole or total <= CHUNK:
        yield np.arange(total, dtype=np.intp)
        return
    at = seed % total
    end, size = at + total, CHUNK
    while at < end:
        yield np.arange(at, min(at + size, end), dtype=np.intp) % total
        at, size = at + size, size * 2
