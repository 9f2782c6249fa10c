"""What is looked up by ids is found by an index, however many ids there are."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

import floe.store
from floe.store import schema
from floe.store.listing import ByIds

pytestmark = pytest.mark.sqlite("it asks SQLite for its plans")


def lookups() -> Iterator[Any]:
    for module in pkgutil.iter_modules(floe.store.__path__, "floe.store."):
        if module.ispkg:
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, ByIds):
                yield pytest.param(value, id=f"{module.name.removeprefix('floe.store.')}.{name}")


@pytest.mark.parametrize("lookup", list(lookups()))
def test_things_of_many_ids_are_found_by_an_index(lookup: ByIds) -> None:
    engine = sa.create_engine("sqlite://")
    schema.load().create_all(engine)
    asked: list[str] = []
    with engine.connect() as conn:
        raw: Any = conn.connection.driver_connection
        names = {name for part, _ in lookup._parts for name in part.compile().params}
        raw.set_trace_callback(asked.append)
        lookup.rows(conn, ["1", "2"], **dict.fromkeys(names, 0))
        raw.set_trace_callback(None)
        (text,) = [text for text in asked if "json_each" in text]
        plan = [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {text}")]
    assert [step for step in plan if step.startswith("SCAN") and "json_each" not in step] == [], plan
