from __future__ import annotations

import random

import bench_agents
import bench_cluster
import pytest
from bench_marks import Mark, judged, lines, percentile


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50), (0.99, 99), (0.999, 100), (1, 100), (0.01, 1), (0.001, 1), (0.011, 2)]
)
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(share: float, expected: int) -> None:
    values = list(range(1, 101))
    random.Random(1).shuffle(values)
    assert percentile(values, share) == expected


def test_a_percentile_of_one_value_is_that_value() -> None:
    assert [percentile([7.0], share) for share in (0.01, 0.5, 1)] == [7.0] * 3


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 0), ([1.0], 1.5)])
def test_of_nothing_there_is_no_percentile(values: list[float], share: float) -> None:
    with pytest.raises(ValueError, match="no percentile"):
        percentile(values, share)


def test_a_mark_is_met_at_its_bound_and_missed_beyond_it() -> None:
    most, least = Mark("cost", 9), Mark("speed", 120, at_most=False)
    assert [most.met(value) for value in (8.9, 9, 9.1)] == [True, True, False]
    assert [least.met(value) for value in (119, 120, 121)] == [False, True, True]
    assert (most.text, least.text) == ("at most 9", "at least 120")


def test_what_was_not_measured_is_told_as_such_and_never_as_met() -> None:
    marks = {"a": Mark("work a", 1), "b": Mark("work b", 2)}
    told = judged({"a": 3.14159, "beside": 7}, marks)
    assert told == {
        "a": {"measured": 3.142, "work": "work a", "mark": "at most 1", "met": False},
        "beside": {"measured": 7},
        "b": {"measured": None, "work": "work b", "mark": "at most 2", "met": None},
    }
    printed = lines(told)
    assert [line.split()[0] for line in printed] == ["a", "b", "beside"]
    assert "MISSED" in printed[0]
    assert "not measured" in printed[1]


def test_a_figure_is_judged_by_what_was_measured_and_not_by_what_is_shown_of_it() -> None:
    assert not judged({"a": 1.0004}, {"a": Mark("work", 1)})["a"]["met"]


def test_so_many_agents_may_cost_what_the_next_size_with_a_mark_may() -> None:
    bounds = {agents: bench_agents.marks(agents)["idle_cpu_percent"].bound for agents in (1, 1000, 1001, 10_000)}
    assert bounds == {1: 2.0, 1000: 2.0, 1001: 10.0, 10_000: 10.0}


def test_every_row_says_what_it_does_and_has_a_name_of_its_own() -> None:
    assert all(row.__doc__ for row in bench_cluster.ROWS)
    assert len({row.__name__ for row in bench_cluster.ROWS}) == len(bench_cluster.ROWS)
