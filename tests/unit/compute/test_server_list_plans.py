"""Lists of servers are read in their order: no page costs more because there are more servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from floe.core.server_filters import ServerFilter
from floe.store import server_lists, server_views
from floe.store.schema import create_all

ACTIVE = (("active", None),)


@pytest.fixture
def statements(tmp_path: Path) -> Iterator[tuple[sa.Connection, list[str]]]:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    seen: list[str] = []
    with engine.begin() as conn:
        create_all(conn)
        driver: Any = conn.connection.driver_connection
        driver.set_trace_callback(seen.append)  # of all that is run, also what SQLAlchemy does not run itself
        yield conn, seen
    engine.dispose()


def in_detail(conn: sa.Connection, wanted: ServerFilter, *, limit: int) -> object:
    return server_views.listed(conn, wanted, datetime(2030, 1, 1, tzinfo=UTC), limit=limit)


def plan_of(conn: sa.Connection, seen: list[str]) -> list[str]:
    """Return how the last of the statements looks for rows."""
    return [row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {seen[-1]}")]


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
@pytest.mark.parametrize("listed", [server_lists.listed, in_detail], ids=["names", "detail"])
def test_a_page_is_read_in_its_order(
    statements: tuple[sa.Connection, list[str]], wanted: ServerFilter, listed: Callable[..., object]
) -> None:
    conn, seen = statements
    listed(conn, wanted, limit=100)
    plan = plan_of(conn, seen)
    looks = [line for line in plan if line.startswith(("SCAN", "SEARCH"))]
    assert looks
    assert all("USING INDEX" in line or "USING COVERING INDEX" in line for line in looks), plan
    assert not any("TEMP B-TREE" in line for line in plan), plan


def test_those_of_a_host_are_found_by_it(statements: tuple[sa.Connection, list[str]]) -> None:
    conn, seen = statements
    server_lists.listed(conn, ServerFilter(equal={"host": "h"}), limit=100)
    plan = plan_of(conn, seen)
    assert "ix_servers_host" in plan[0], plan
