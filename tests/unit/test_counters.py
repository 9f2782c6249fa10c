"""Counts of what happened, and how `/metrics` shows them."""

from __future__ import annotations

import pytest

from floe.api.metrics import Metrics
from floe.core.counters import Count, Counters

REFUSED = Count("floe_refused_things", "Things refused", ("why",))
MADE = Count("floe_made_things", "Things made")


def test_counts_are_told_apart_by_their_labels_and_summed_without() -> None:
    counters = Counters()
    counters.add(REFUSED, "full")
    counters.add(REFUSED, "full", amount=2)
    counters.add(REFUSED, "late")
    counters.add(MADE)
    assert counters.total(REFUSED, "full") == 3
    assert counters.total(REFUSED) == 4
    assert counters.total(MADE) == 1


def test_a_count_is_given_each_of_its_labels() -> None:
    with pytest.raises(ValueError, match="labels"):
        Counters().add(REFUSED)


def test_metrics_show_what_was_counted_since_as_well() -> None:
    counters = Counters()
    metrics = Metrics(counters)
    counters.add(REFUSED, "full", amount=7)
    assert b'floe_refused_things_total{why="full"} 7.0' in metrics.text()


def test_requests_are_counted_by_status_and_by_how_long_they_took() -> None:
    metrics = Metrics(Counters())
    for status, seconds in ((200, 0.005), (200, 0.0051), (404, 30.0)):
        metrics.add("compute", status, seconds)
    shown = metrics.text().decode().splitlines()
    assert 'floe_http_requests_total{status="200",surface="compute"} 2.0' in shown
    assert 'floe_http_requests_total{status="404",surface="compute"} 1.0' in shown
    assert 'floe_http_seconds_bucket{le="0.005",surface="compute"} 1.0' in shown
    assert 'floe_http_seconds_bucket{le="0.01",surface="compute"} 2.0' in shown
    assert 'floe_http_seconds_bucket{le="10.0",surface="compute"} 2.0' in shown
    assert 'floe_http_seconds_bucket{le="+Inf",surface="compute"} 3.0' in shown
    assert 'floe_http_seconds_count{surface="compute"} 3.0' in shown
    assert 'floe_http_seconds_sum{surface="compute"} 30.0101' in shown


def test_metrics_say_which_parts_are_well_and_which_are_whole() -> None:
    shown = Metrics(Counters()).text({"bus": "ok", "hosts": "ok: 2 of 3 are up", "database": "it cannot be written to"})
    lines = [line for line in shown.decode().splitlines() if line.startswith("floe_part")]
    assert lines == [
        'floe_part_healthy{part="bus"} 1.0',
        'floe_part_healthy{part="hosts"} 1.0',
        'floe_part_healthy{part="database"} 0.0',
        'floe_part_whole{part="bus"} 1.0',
        'floe_part_whole{part="hosts"} 0.0',
        'floe_part_whole{part="database"} 0.0',
    ]
