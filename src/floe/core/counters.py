"""Counts of what happened, for whoever shows them (`/metrics`): plain numbers that every layer may add to."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec


class Count(msgspec.Struct, frozen=True):
    """What is counted, declared once beside the code that counts it."""

    name: str
    """As in Prometheus, without `_total`: `floe_refused_connections`."""
    what: str
    labels: tuple[str, ...] = ()
    """Names of what counts are told apart by; each has few values, and none that a tenant chooses."""


class Counters:
    """All counts of a process. For the event loop's thread alone."""

    def __init__(self) -> None:
        self._totals: dict[Count, dict[tuple[str, ...], int]] = {}

    def add(self, count: Count, *values: str, amount: int = 1) -> None:
        """Add to a count; `values` are those of its labels, in their order."""
        if len(values) != len(count.labels):
            raise ValueError(f"{count.name} has the labels {count.labels}, not {len(values)} of them.")
        totals = self._totals.setdefault(count, {})
        totals[values] = totals.get(values, 0) + amount

    def total(self, count: Count, *values: str) -> int:
        """Return a count; without values the sum of all of its labels."""
        totals = self._totals.get(count, {})
        return totals.get(values, 0) if values or not count.labels else sum(totals.values())

    def __iter__(self) -> Iterator[tuple[Count, dict[tuple[str, ...], int]]]:
        """Give each count with its totals by the values of its labels."""
        return iter([(count, dict(totals)) for count, totals in self._totals.items()])
