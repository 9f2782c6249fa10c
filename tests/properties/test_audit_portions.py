"""The audit reads a cloud in portions, and finds in them what it finds in all of it at once."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Connection

from floe.cloud.audit import Violation, check_rows
from floe.store import audit, schema
from floe.store.actions import actions
from floe.store.addresses import port_addresses
from floe.store.allocations import allocations
from floe.store.ports import ports
from floe.store.servers import servers

FEW = st.integers(0, 6)
HOST = st.sampled_from([None, "h1", "h2"])
SERVER = st.tuples(st.sampled_from(["active", "error", "building"]), st.sampled_from([None, "x"]), HOST, st.booleans())
PORT = st.tuples(st.one_of(st.none(), FEW), HOST, st.booleans(), st.booleans())
CLOUDS = st.fixed_dictionaries(
    {
        "servers": st.lists(SERVER, max_size=6),
        "claims": st.lists(st.tuples(FEW, st.sampled_from(["h1", "h2"]), st.integers(1, 2)), max_size=8),
        "ports": st.lists(PORT, max_size=8),
        "addresses": st.sets(st.integers(0, 9), max_size=8),
        "open": st.sets(FEW, max_size=3),
    }
)


def insert(conn: Connection, table: sa.Table, **values: Any) -> None:
    """Insert a row with something in each column that needs it."""
    row: dict[str, Any] = {}
    for column in table.c:
        if not column.nullable and column.autoincrement is not True:
            number = isinstance(column.type, sa.Integer | sa.Boolean | schema.Moment)
            row[column.name] = 0 if number else "[]" if isinstance(column.type, schema.Json) else ""
    row |= values
    names = ", ".join(f'"{name}"' for name in row)
    conn.exec_driver_sql(
        f"INSERT INTO {table.name} ({names}) VALUES ({', '.join('?' * len(row))})", tuple(row.values())
    )


def fill(conn: Connection, cloud: dict[str, Any]) -> None:
    """Make the rows, sound or not."""
    for number, (vm_state, task_state, host, gone) in enumerate(cloud["servers"]):
        insert(
            conn,
            servers,
            number=number + 1,
            id=f"s{number}",
            vm_state=vm_state,
            task_state=task_state,
            host=host,
            vcpus=1,
            networks="[{}]",
            deleted_at=1 if gone else None,
        )
    for (server, host), vcpus in {(server, host): vcpus for server, host, vcpus in cloud["claims"]}.items():
        insert(conn, allocations, server_id=f"s{server}", host=host, vcpus=vcpus)
    for number, (server, host, bound, plugged) in enumerate(cloud["ports"]):
        server_id = None if server is None else f"s{server}"
        binding = {"server_id": server_id, "nic": number, "host": host, "made": bound, "plugged": plugged}
        insert(conn, ports, id=f"p{number}", mac=str(number), **binding)
    for number in cloud["addresses"]:
        insert(conn, port_addresses, port_id=f"p{number}", address=number)
    for number in cloud["open"]:
        insert(conn, actions, id=f"a{number}", server_id=f"s{number}", kind="create", state="running")


def in_portions(conn: Connection, most: int) -> list[Violation]:
    """Find what is wrong, a few servers at a time."""
    found = check_rows(audit.loose(conn), quiet=False)
    after: int | None = 0
    while after is not None:
        portion, after = audit.slice_after(conn, after, most)
        assert len(portion.servers) <= most
        found += check_rows(portion, quiet=False)
    return found


@settings(max_examples=150, deadline=None)
@given(cloud=CLOUDS, most=st.integers(1, 4))
def test_portions_show_what_the_whole_shows(transaction: Any, cloud: dict[str, Any], most: int) -> None:
    with transaction() as conn:
        fill(conn, cloud)
        assert sorted(in_portions(conn, most)) == sorted(check_rows(audit.rows(conn), quiet=False))
