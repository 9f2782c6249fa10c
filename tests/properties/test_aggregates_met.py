"""What flavors ask of aggregates is known until any of them changes, and never longer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from floe.conductor.demands import Demands
from floe.core.aggregates import Aggregate, Demand, fitting
from floe.store import aggregates, generations
from floe.store.aggregates import ROWS
from floe.store.engine import Connection
from floe.store.memory import MemoryStore

NOW = datetime(2030, 1, 1, tzinfo=UTC)
STORE = MemoryStore()

_ITEMS = st.dictionaries(st.sampled_from(["ssd", "gpu"]), st.sampled_from(["1", "2", "1,2"]))
_ZONES = st.sampled_from([None, "west", "east"])
_ASKED = st.sets(st.tuples(st.sampled_from(["ssd", "gpu", "availability_zone"]), st.sampled_from(["1", "2", "west"])))
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), _ZONES, _ITEMS),
        st.tuples(st.just("update"), st.integers(0, 9), _ZONES, _ITEMS),
        st.tuples(st.just("delete"), st.integers(0, 9)),
        st.tuples(st.just("ask"), _ASKED),
    ),
    max_size=20,
)


def insert(conn: Connection, name: str, zone: str | None = None, **items: str) -> Aggregate:
    return ROWS.insert(conn, Aggregate(uuid=name, name=name, zone=zone, items=items, created_at=NOW))


@contextmanager
def statements() -> Iterator[list[str]]:
    """What SQLAlchemy is given beside what is prepared."""
    given = list[str]()

    def note(_conn: Any, _cursor: Any, text: str, *_rest: Any) -> None:
        given.append(text)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    yield given
    sa.event.remove(sa.Engine, "before_cursor_execute", note)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_STEPS, st.integers(0, 8))
def test_it_is_always_what_it_would_be_if_it_were_read_each_time(steps: list[Any], most: int) -> None:
    STORE.reset()
    demands = Demands(most)
    for number, (step, *given_) in enumerate(steps):
        there = STORE.read(lambda conn: [each.id for each in aggregates.described(conn)])
        if step == "insert":
            zone, items = given_
            STORE.write(lambda conn: insert(conn, f"a{number}", zone, **items))  # noqa: B023
        elif step == "ask":
            asked: set[Demand] = given_[0]
            met = STORE.read(lambda conn: demands.met(conn, asked))  # noqa: B023
            right = STORE.read(lambda conn: fitting(aggregates.described(conn), asked))  # noqa: B023
            assert {demand: met.by_demand[demand] for demand in asked} == right
            demands.keep(met)
            assert demands._known.size <= most
        elif there:
            ident = there[given_[0] % len(there)]
            if step == "update":
                _, zone, items = given_
                STORE.write(lambda conn: ROWS.update(conn, ident, {"zone": zone, "items": items}, NOW))  # noqa: B023
            else:
                STORE.write(lambda conn: ROWS.delete(conn, ident))  # noqa: B023


def test_what_was_asked_before_costs_no_read_of_aggregates_however_many_there_are() -> None:
    STORE.reset()
    items = {f"key{number}": "x" * 200 for number in range(128)}
    for number in range(500):
        STORE.write(lambda conn: insert(conn, f"a{number}", **items))  # noqa: B023
    demands, asked = Demands(), {("key1", "x" * 200), ("key2", "y")}
    with statements() as first:
        demands.keep(STORE.read(lambda conn: demands.met(conn, asked)))
    with statements() as again:
        for _ in range(10):
            STORE.read(lambda conn: demands.met(conn, asked))
    assert (len([text for text in first if "aggregates" in text]), again) == (1, [])


@pytest.mark.parametrize("change", ["insert", "zone", "items", "delete"])
def test_a_change_of_what_may_be_asked_is_another_generation(change: str) -> None:
    STORE.reset()
    made = STORE.write(lambda conn: insert(conn, "a", ssd="1"))
    before = STORE.read(aggregates.generation)

    def write(conn: Connection) -> None:
        if change == "insert":
            insert(conn, "b")
        elif change == "delete":
            ROWS.delete(conn, made.id)
        else:
            ROWS.update(conn, made.id, {change: "west" if change == "zone" else {"ssd": "2"}}, NOW)

    STORE.write(write)
    assert STORE.read(aggregates.generation) > before


def test_a_change_that_flavors_cannot_ask_about_is_none() -> None:
    STORE.reset()
    made = STORE.write(lambda conn: insert(conn, "a", ssd="1"))
    before = STORE.read(aggregates.generation)
    STORE.write(lambda conn: ROWS.update(conn, made.id, {"name": "b", "items": {"ssd": "1"}}, NOW))
    assert STORE.read(aggregates.generation) == before


def test_a_change_that_is_undone_is_none() -> None:
    STORE.reset()
    before = STORE.read(aggregates.generation)

    def fail(conn: Connection) -> None:
        insert(conn, "a")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        STORE.write(fail)
    assert STORE.read(aggregates.generation) == before


def test_what_was_lost_with_the_triggers_is_a_change() -> None:
    STORE.reset()
    made = STORE.write(lambda conn: insert(conn, "a", ssd="1"))
    before = STORE.read(aggregates.generation)

    def lose(conn: Connection) -> None:
        for name in ("insert", "update", "delete"):
            conn.exec_driver_sql(f"DROP TRIGGER generation_aggregates_{name}")
        ROWS.update(conn, made.id, {"items": {"ssd": "2"}}, NOW)

    STORE.write(lose)
    assert not STORE.read(generations.kept)
    STORE.write(generations.keep)
    assert STORE.read(generations.kept)
    assert STORE.read(aggregates.generation) > before


def test_what_a_transaction_saw_that_was_undone_is_not_taken_for_what_came_in_its_place() -> None:
    STORE.reset()
    demands, asked = Demands(), {("key", "value")}

    def undone(conn: Connection) -> None:
        insert(conn, "undone", key="value")
        assert demands.met(conn, asked).by_demand[("key", "value")]
        raise LookupError

    with pytest.raises(LookupError):
        STORE.write(undone)
    STORE.write(lambda conn: insert(conn, "another", key="else"))
    assert STORE.read(lambda conn: demands.met(conn, asked)).by_demand == {("key", "value"): frozenset()}
