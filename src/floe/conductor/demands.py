"""Which aggregates meet what flavors ask of them, worked out once and known until any aggregate changes.

It is worked out of all metadata of all aggregates, which may be much; a decision costs as much as if it were little.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from floe.core.aggregates import Demand, fitting
from floe.store import aggregates
from floe.store.engine import Connection

MOST = 50_000
"""Ids of aggregates that are kept, a demand beside its own counting as one: where there are more, it begins anew."""


class Met(msgspec.Struct, frozen=True):
    """The aggregates that meet each demand, as they were at a generation of theirs."""

    generation: int
    by_demand: Mapping[Demand, frozenset[int]] = msgspec.field(default_factory=dict)

    @property
    def size(self) -> int:
        """How much it keeps."""
        return len(self.by_demand) + sum(map(len, self.by_demand.values()))


class Demands:
    """Knows what was asked for before."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known = Met(-1)

    def met(self, conn: Connection, asked: Collection[Demand]) -> Met:
        """Return what meets these demands, and maybe others, in the state of the database that `conn` reads."""
        generation = aggregates.generation(conn)
        known = self._known if self._known.generation == generation else Met(generation)
        missing = [demand for demand in asked if demand not in known.by_demand]
        if not missing:
            return known
        return Met(generation, {**known.by_demand, **fitting(aggregates.described(conn), missing)})

    def keep(self, met: Met) -> None:
        """Know for the next what a read found: what a write found may be undone, and its generation given again."""
        self._known = met if met.size <= self._most else Met(met.generation)
