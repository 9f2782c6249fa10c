"""Lists of what a project may have thousands of are read in their order, and filters find theirs by an index."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from floe.core.listing import Listing
from floe.core.routers import Router
from floe.store import address_groups, floating_ips, ports, routers, schema, security_groups
from floe.store.table import Rows

pytestmark = pytest.mark.sqlite("it asks SQLite for its plans")

AT = datetime(2030, 1, 1, tzinfo=UTC)
ID = "11111111-1111-4111-8111-111111111111"


class Asked:
    """A database, of which is known how it looks for what is asked."""

    def __init__(self, conn: sa.Connection) -> None:
        schema.create_all(conn)
        self._conn, self._texts = conn, list[str]()
        self._driver: Any = conn.connection.driver_connection
        self._driver.set_trace_callback(self._texts.append)

    def add_router(self, ident: str) -> None:
        """Have a router of the project `p`."""
        router = Router(id=ident, project_id="p", name="r", created_at=AT, updated_at=AT)
        routers.insert(self._conn, router)

    def plan(self, rows: Rows[Any], project_id: str | None, listing: Listing, at: int = 0) -> list[str]:
        """Return the steps of one of a list's statements; its own is the first, or comes after the marker's."""
        self._texts.clear()
        rows.find(self._conn, project_id, listing)
        text = [text for text in self._texts if text.startswith("SELECT")][at]
        return [row[3] for row in self._driver.execute(f"EXPLAIN QUERY PLAN {text}")]


@pytest.fixture
def asked() -> Iterator[Asked]:
    with sa.create_engine("sqlite://").begin() as conn:
        yield Asked(conn)


OWNED = [
    pytest.param(floating_ips.ROWS, id="floating_ips"),
    pytest.param(routers.ROWS, id="routers"),
    pytest.param(security_groups.ROWS, id="security_groups"),
    pytest.param(address_groups.ROWS, id="address_groups"),
]


@pytest.mark.parametrize("rows", OWNED)
def test_a_projects_page_is_read_in_its_order(asked: Asked, rows: Rows[Any]) -> None:
    [step] = asked.plan(rows, "p", Listing(limit=100))
    assert step == f"SEARCH {rows.table.name} USING INDEX ix_{rows.table.name}_project_id_id (project_id=?)"


FILTERS = [
    (floating_ips.ROWS, "port_id", "ix_floating_ips_port_id_owned"),
    (floating_ips.ROWS, "router_id", "ix_floating_ips_router_id_owned"),
    (floating_ips.ROWS, "network_id", "ix_floating_ips_network_id_owned"),
    (floating_ips.ROWS, "address", "ix_floating_ips_address_owned"),
    (floating_ips.ROWS, "fixed_address", "ix_floating_ips_fixed_address_owned"),
    (routers.ROWS, "name", "ix_routers_name_owned"),
    (routers.ROWS, "gateway_network_id", "ix_routers_gateway_owned"),
    (security_groups.ROWS, "name", "ix_security_groups_name_owned"),
    (address_groups.ROWS, "name", "ix_address_groups_name_owned"),
]


@pytest.mark.parametrize(("rows", "name", "index"), FILTERS, ids=[f"{r.table.name}-{n}" for r, n, _ in FILTERS])
@pytest.mark.parametrize("limit", [None, 100], ids=["all", "page"])
def test_a_filter_finds_a_projects_by_its_index(
    asked: Asked, rows: Rows[Any], name: str, index: str, limit: int | None
) -> None:
    [step] = asked.plan(rows, "p", Listing(filters={name: ("x",)}, limit=limit))
    assert step == f"SEARCH {rows.table.name} USING INDEX {index} ({rows.table.c[name].name}=? AND project_id=?)"


@pytest.mark.parametrize("name", ["device_id", "mac", "router_id", "host"])
def test_a_filter_finds_ports_by_its_index(asked: Asked, name: str) -> None:
    for project_id in ("p", None):
        step, *_ = asked.plan(ports.ROWS, project_id, Listing(filters={name: ("x",)}, limit=100))
        assert step == f"SEARCH ports USING INDEX ix_ports_{name} ({name}=?)"


def test_the_page_after_a_marker_begins_there(asked: Asked) -> None:
    asked.add_router(ID)
    [step] = asked.plan(routers.ROWS, "p", Listing(limit=100, marker=ID), at=1)
    assert step == "SEARCH routers USING INDEX ix_routers_project_id_id (project_id=? AND id>?)"
