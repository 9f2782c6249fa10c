"""Lists of servers are read in their order: no page costs more because there are more servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from floe.core.server_filters import ServerFilter
from floe.store import server_lists
from floe.store.schema import create_all

ACTIVE = (("active", None),)


@pytest.fixture
def statements(tmp_path: Path) -> Iterator[tuple[sa.Connection, list[tuple[str, Any]]]]:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    seen: list[tuple[str, Any]] = []
    with engine.begin() as conn:
        create_all(conn)
        sa.event.listen(engine, "before_cursor_execute", lambda *told: seen.append((told[2], told[3])))
        yield conn, seen
    engine.dispose()


@pytest.mark.parametrize(
    "wanted",
    [
        ServerFilter(project_id="p"),
        ServerFilter(project_id="p", states=ACTIVE),
        ServerFilter(project_id="p", search=(("name", "web"),)),
        ServerFilter(),
        ServerFilter(states=ACTIVE),
        ServerFilter(deleted=True),
        ServerFilter(deleted=None),
    ],
    ids=["project", "project-status", "project-name", "all", "all-status", "deleted", "all-and-deleted"],
)
def test_a_page_is_read_in_its_order(
    statements: tuple[sa.Connection, list[tuple[str, Any]]], wanted: ServerFilter
) -> None:
    conn, seen = statements
    server_lists.listed(conn, wanted, limit=100)
    text, values = seen[-1]
    plan = [row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)]
    assert plan
    assert all("USING INDEX" in line or "USING COVERING INDEX" in line for line in plan), plan
    assert not any("TEMP B-TREE" in line for line in plan), plan


def test_those_of_a_host_are_found_by_it(statements: tuple[sa.Connection, list[tuple[str, Any]]]) -> None:
    conn, seen = statements
    server_lists.listed(conn, ServerFilter(equal={"host": "h"}), limit=100)
    text, values = seen[-1]
    plan = [row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)]
    assert "ix_servers_host" in plan[0], plan
