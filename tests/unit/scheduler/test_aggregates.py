"""What flavors ask of aggregates, and which hosts that leaves."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from floe.core.aggregates import SCOPE, Aggregate, demands, fitting, meets
from floe.core.errors import NoValidHost
from floe.core.hosts import Host
from floe.core.resources import Resources
from floe.scheduler.hosts import HostTable
from floe.scheduler.select import explain, select
from floe.scheduler.select import fitting as hosts_fitting
from floe.scheduler.spec import RequestSpec

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def host(name: str, *aggregates: int, zone: str | None = None) -> Host:
    return Host(
        name=name, aggregates=aggregates, aggregate_zone=zone,
        created_at=NOW, updated_at=NOW, started_at=NOW, last_seen=NOW,
    )  # fmt: skip


def aggregate(ident: int, zone: str | None = None, **items: str) -> Aggregate:
    return Aggregate(id=ident, uuid=str(ident), name=f"a{ident}", zone=zone, items=items, created_at=NOW)


@pytest.mark.parametrize(
    ("value", "requirement", "met"),
    [
        ("true", "true", True),
        ("true", "True", False),
        ("", "", True),
        ("x", "", False),
        ("2", "= 2", True),
        ("3", "= 2", True),
        ("1", "= 2", False),
        ("2.0", "== 2", True),
        ("2", "!= 2", False),
        ("10", ">= 9", True),
        ("10", "<= 9", False),
        ("10", "s>= 9", False),
        ("a", "s== a", True),
        ("a", "s!= a", False),
        ("a", "s< b", True),
        ("a", "s<= a", True),
        ("b", "s> a", True),
        ("ssd-fast", "<in> ssd", True),
        ("ssd-fast", "<all-in> ssd fast", True),
        ("ssd-fast", "<all-in> ssd slow", False),
        ("b", "<or> a <or> b", True),
        ("<or>", "<or> a <or> b", False),
        ("c", "<or> a <or> b", False),
        ("a", "<or>", False),
        ("a", "<in>", False),
        ("a", "<all-in>", False),
        ("x", ">= 9", False),
        ("9", ">= x", False),
        ("nan", "!= 1", False),
        ("²", "== 2", False),
        ("9" * 400, ">= 1", False),
        ("a b", "a b", True),
    ],
)
def test_a_requirement_is_an_operator_or_a_text(value: str, requirement: str, met: bool) -> None:
    assert meets(value, requirement) is met


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_value_is_compared_with_any_requirement(value: str, requirement: str) -> None:
    assert meets(value, requirement) in {True, False}


def test_only_extra_specs_with_the_prefix_ask_for_aggregates() -> None:
    specs = {f"{SCOPE}ssd": "true", "ssd": "true", "hw:x": "1", SCOPE: "none", f"{SCOPE}a:b": "c"}
    assert demands(specs) == {("ssd", "true"), ("a:b", "c")}


def test_demands_that_are_said_with_the_same_words_are_two() -> None:
    """Of one that took the other's place, a host would not have to meet it."""
    asked = demands({f"{SCOPE}a=b": "c", f"{SCOPE}a": "b=c"})
    known = [aggregate(1, **{"a=b": "c"}), aggregate(2, a="b=c")]
    spec = RequestSpec(resources=Resources(), aggregates=fitting(known, asked))
    assert hosts_fitting(spec, HostTable([host("one", 1), host("other", 2), host("both", 1, 2)])) == ["both"]


def test_one_of_the_values_between_commas_has_to_do() -> None:
    known = [aggregate(1, ssd="true, yes"), aggregate(2, ssd="false"), aggregate(3)]
    assert fitting(known, [("ssd", "yes")]) == {("ssd", "yes"): frozenset({1})}


def test_a_zone_can_be_asked_for_as_any_other_item() -> None:
    west = ("availability_zone", "west")
    assert fitting([aggregate(1, "west")], [west]) == {west: frozenset({1})}


def test_who_is_rejected_is_told_what_no_aggregate_of_his_has() -> None:
    table = HostTable([host("plain"), host("fast", 1), host("both", 1, 2)])
    asked = {("ssd", "true"): frozenset({1}), ("gpu", "a100"): frozenset({2})}
    spec = RequestSpec(resources=Resources(), aggregates=asked)
    assert select(spec, table, 0).host == "both"
    table.remove("both")
    with pytest.raises(NoValidHost) as caught:
        select(spec, table, 0)
    assert caught.value.message == ("No valid host: 2 hosts considered; 2 are in no aggregate with gpu=a100, ssd=true.")
    assert caught.value.reasons == {
        "plain": "it is in no aggregate with gpu=a100, ssd=true",
        "fast": "it is in no aggregate with gpu=a100",
    }
    assert "fast" not in caught.value.message


def test_a_zone_is_that_of_the_aggregate_and_else_the_hosts_own() -> None:
    table = HostTable([host("east"), host("moved", 1, zone="west")])
    assert hosts_fitting(RequestSpec(resources=Resources(), zone="west"), table) == ["moved"]
    assert hosts_fitting(RequestSpec(resources=Resources(), zone="nova"), table) == ["east"]


def test_a_host_that_changes_its_aggregates_for_ever_costs_no_memory() -> None:
    table = HostTable([host("a"), host("b", 7)])
    for number in range(5_000):
        table.put(host("a", number, number + 1))
    assert len(table._sets) < 100
    assert table.aggregates(0) == (4_999, 5_000)
    assert table.aggregates(1) == (7,)


_IDS = st.integers(0, 6)
_HOSTS = st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(st.sets(_IDS), st.sampled_from([None, "west", "nova"])))
_PUTS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sets(_IDS), st.booleans()), max_size=200)
_ITEMS = st.dictionaries(st.sampled_from(["ssd", "gpu"]), st.sampled_from(["1", "2", "1,2", "x"]))
_ASKED = st.dictionaries(st.sampled_from(["ssd", "gpu"]), st.sampled_from(["1", ">= 2", "s!= 1", "<or> 1 <or> x"]))


@given(_HOSTS, _PUTS, st.dictionaries(_IDS, _ITEMS), _ASKED, st.sampled_from([None, "west", "nova", "gone"]))
def test_the_table_chooses_what_a_loop_over_hosts_would(
    first: dict[str, tuple[set[int], str | None]],
    puts: list[tuple[str, set[int], bool]],
    known: dict[int, dict[str, str]],
    asked: dict[str, str],
    zone: str | None,
) -> None:
    hosts = {name: host(name, *sorted(ids), zone=where) for name, (ids, where) in first.items()}
    table = HostTable(hosts.values())
    for at, (name, ids, gone) in enumerate(puts):
        if gone:
            table.remove(name)
            hosts.pop(name, None)
        else:
            hosts[name] = replace(host(name, *sorted(ids)), started_at=NOW + timedelta(at))
            table.put(hosts[name])
    aggregates = [aggregate(ident, **items) for ident, items in known.items()]
    spec = RequestSpec(resources=Resources(), zone=zone, aggregates=fitting(aggregates, asked.items()))

    def fits(each: Host) -> bool:
        mine = [found.metadata for found in aggregates if found.id in each.aggregates]
        values = {key: [v for items in mine for v in items.get(key, "").split(",") if key in items] for key in asked}
        there = all(any(meets(value, wanted) for value in values[key]) for key, wanted in asked.items())
        return there and zone in {None, each.aggregate_zone or "nova"}

    right = {name for name, each in hosts.items() if fits(each)}
    assert set(hosts_fitting(spec, table)) == right
    if hosts:
        with contextlib.suppress(NoValidHost):
            chosen = select(spec, table, 3)
            assert set(chosen.names) <= right
            assert chosen.hosts == tuple(hosts[name].seen for name in chosen.names)
        if not right:
            told = explain(spec, table).reasons
            assert set(told) == set(hosts)
