"""Counts of what happened, and how `/metrics` shows them."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from floe.api.app import _Counted
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
    counters, registry = Counters(), CollectorRegistry()
    registry.register(_Counted(counters))
    counters.add(REFUSED, "full", amount=7)
    assert b'floe_refused_things_total{why="full"} 7.0' in generate_latest(registry)
