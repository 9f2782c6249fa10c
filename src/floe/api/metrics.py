"""What `/metrics` shows: the requests answered, and whatever else the process counts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from types import MappingProxyType
from typing import TYPE_CHECKING

from floe.core import health
from floe.core.counters import Counters

if TYPE_CHECKING:
    from prometheus_client.core import Metric

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds that requests are told apart by: those that Prometheus's own clients have."""


class Metrics:
    """Counts requests, and writes all counts as Prometheus reads them.

    Its client library is asked only for the text: what it does for each count, and at the start, costs several times
    as much as counting.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._requests: dict[tuple[str, int], int] = {}
        self._seconds: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def add(self, surface: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        key = surface, status
        self._requests[key] = self._requests.get(key, 0) + 1
        if surface not in self._seconds:
            self._seconds[surface], self._sums[surface] = [0] * (len(_BOUNDS) + 1), 0.0
        self._seconds[surface][bisect_left(_BOUNDS, seconds)] += 1
        self._sums[surface] += seconds

    def text(self, parts: Mapping[str, str] = MappingProxyType({})) -> bytes:
        """Return all counts as they stand, and of parts by their names whether each is well."""
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        registry.register(self)
        registry.register(_Parts(parts))
        return generate_latest(registry)

    def collect(self) -> Iterator[Metric]:
        """Give a family of metrics for each count."""
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        requests = CounterMetricFamily("floe_http_requests", "Requests answered", labels=("surface", "status"))
        for (surface, status), total in self._requests.items():
            requests.add_metric((surface, str(status)), total)
        yield requests
        seconds = HistogramMetricFamily("floe_http_seconds", "Time to answer a request", labels=("surface",))
        bounds = [*map(str, _BOUNDS), "+Inf"]
        for surface, counted in self._seconds.items():
            buckets = list(zip(bounds, map(float, accumulate(counted)), strict=True))
            seconds.add_metric((surface,), buckets, self._sums[surface])
        yield seconds
        for count, totals in self._counters:
            family = CounterMetricFamily(count.name, count.what, labels=count.labels)
            for values, total in totals.items():
                family.add_metric(values, total)
            yield family


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """How parts are, as numbers that an alert can be made of; what is the matter is told by `/healthz`."""

    states: Mapping[str, str]

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        well = GaugeMetricFamily("floe_part_healthy", "1 where a part does what it is for, else 0", labels=("part",))
        whole = GaugeMetricFamily("floe_part_whole", "1 where nothing is the matter with a part", labels=("part",))
        for part, state in self.states.items():
            well.add_metric((part,), float(health.good({part: state})))
            whole.add_metric((part,), float(state == health.OK))
        yield from (well, whole)
