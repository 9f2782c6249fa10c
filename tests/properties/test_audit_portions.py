"""The audit reads a cloud in portions, less what is plainly in order, and finds what it finds in all of it at once."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Connection

from floe.cloud.audit import Violation, check_rows
from floe.store import audit, schema
from floe.store.actions import actions
from floe.store.addresses import port_addresses
from floe.store.allocations import allocations
from floe.store.holdings import holdings
from floe.store.ports import ports
from floe.store.servers import servers
from floe.store.shelved_servers import shelved_servers

FEW = st.integers(0, 6)
HOST = st.sampled_from([None, "h1", "h2"])
STATES = ("active", "error", "building", "shelved", "shelved_offloaded")
SERVER = st.tuples(st.sampled_from(STATES), st.sampled_from([None, "x"]), HOST, st.booleans())
PORT = st.tuples(st.one_of(st.none(), FEW), HOST, st.booleans(), st.booleans())
CLOUDS = st.fixed_dictionaries(
    {
        "servers": st.lists(SERVER, max_size=6),
        "claims": st.lists(st.tuples(FEW, st.sampled_from(["h1", "h2"]), st.integers(1, 2)), max_size=8),
        "ports": st.lists(PORT, max_size=8),
        "addresses": st.sets(st.integers(0, 9), max_size=8),
        "open": st.sets(FEW, max_size=3),
        "kept": st.sets(FEW, max_size=3),
        "held": st.sets(st.tuples(FEW, st.sampled_from(["h1", "h2"])), max_size=8),
    }
)

NUMBER = st.integers(1, 2)
DAMAGE = st.one_of(
    *(
        st.tuples(st.just("servers"), st.just(column), values)
        for column, values in (
            ("vm_state", st.sampled_from([*STATES, "stopped", "deleted", "unheard-of"])),
            ("task_state", st.just("deleting")),
            ("host", st.sampled_from([None, "", "h1", "h2"])),
            ("vcpus", NUMBER),
            ("memory_mib", NUMBER),
            ("networks", st.sampled_from(["[]", "[{},{}]"])),
            ("fault", st.sampled_from([None, "{}", '{"message":""}', '{"message":"it broke"}'])),
            ("deleted_at", st.just(1)),
        )
    ),
    *(
        st.tuples(st.just("allocations"), st.just(column), values)
        for column, values in (
            ("server_id", st.sampled_from(["s0", "s1", "s9"])),
            ("host", st.sampled_from(["", "h1", "h2"])),
            ("purpose", st.just("second")),
            ("vcpus", NUMBER),
            ("memory_mib", NUMBER),
        )
    ),
    *(
        st.tuples(st.just("ports"), st.just(column), values)
        for column, values in (
            ("server_id", st.sampled_from([None, "s0", "s1", "s9"])),
            ("host", st.sampled_from([None, "", "h1", "h2"])),
            ("plugged", st.booleans()),
        )
    ),
    *(
        st.tuples(st.just("port_bindings"), st.just(column), values)
        for column, values in (
            ("status", st.just("INACTIVE")),
            ("host", st.sampled_from(["h1", "h2"])),
            ("plugged", st.booleans()),
        )
    ),
    *(
        st.tuples(st.just("holdings"), st.just(column), values)
        for column, values in (
            ("server_id", st.sampled_from(["s0", "s1", "s9"])),
            ("host", st.sampled_from(["h1", "h2"])),
        )
    ),
    st.tuples(st.just("port_addresses"), st.just("port_id"), st.sampled_from(["p0", "p1", "p9"])),
    st.tuples(st.just("actions"), st.just("state"), st.sampled_from(["pending", "running"])),
)
"""What is changed of a cloud in order: of one table a column, to a value."""


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
        insert(conn, allocations, server_id=f"s{server}", host=host, purpose="running", vcpus=vcpus)
    for number, (server, host, bound, plugged) in enumerate(cloud["ports"]):
        server_id = None if server is None else f"s{server}"
        binding = {"server_id": server_id, "nic": number, "host": host, "made": bound, "plugged": plugged}
        insert(conn, ports, id=f"p{number}", mac=str(number), **binding)
    for number in cloud["addresses"]:
        insert(conn, port_addresses, port_id=f"p{number}", address=number)
    for server, host in cloud["held"]:
        insert(conn, holdings, server_id=f"s{server}", host=host)
    for number in cloud["kept"]:
        insert(conn, shelved_servers, server_id=f"s{number}")
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


def fill_soundly(conn: Connection, many: int) -> None:
    """Make servers that have all that they must have, and nothing else."""
    for number in range(many):
        ident = f"s{number}"
        takes: dict[str, Any] = {"vcpus": 1, "memory_mib": 1}
        state = ("active", "stopped", "shelved")[number % 3]
        insert(conn, servers, number=number + 1, id=ident, vm_state=state, host="h1", networks="[{}]", **takes)
        insert(conn, allocations, server_id=ident, host="h1", purpose="running", **takes)
        plugged = {"server_id": ident, "host": "h1", "made": 1, "plugged": 1}
        insert(conn, ports, id=f"p{number}", mac=str(number), nic=0, **plugged)
        insert(conn, port_addresses, port_id=f"p{number}", address=number)
        insert(conn, holdings, server_id=ident, host="h1")
        if state == "shelved":
            insert(conn, shelved_servers, server_id=ident)
        insert(conn, actions, id=f"a{number}", server_id=ident, kind="create", state="done")


@pytest.mark.parametrize("most", [1, 3, 6, 7])
def test_servers_that_are_plainly_in_order_are_not_read(transaction: Any, most: int) -> None:
    with transaction() as conn:
        fill_soundly(conn, 6)
        read, after = [], 0
        while after is not None:
            portion, after = audit.slice_after(conn, after, most)
            read.append(portion)
        assert sum(map(len, (portion.servers for portion in read))) == 0
        assert check_rows(audit.rows(conn), quiet=True) == []


def steps(conn: Connection, many: int) -> int:
    """Return the steps of SQLite's machine that it takes to find so many servers in order."""
    fill_soundly(conn, many)
    taken = [0]

    def count() -> int:
        taken[0] += 1
        return 0

    driver: Any = conn.connection.driver_connection
    driver.set_progress_handler(count, 1)
    try:
        assert in_portions(conn, 50) == []
    finally:
        driver.set_progress_handler(None, 0)
    return taken[0]


def test_four_times_the_servers_cost_four_times_the_steps(transaction: Any) -> None:
    with transaction() as conn:
        few = steps(conn, 100)
    with transaction() as conn:
        assert steps(conn, 400) < 5 * few


@settings(max_examples=400, deadline=None)
@given(damage=st.lists(st.tuples(DAMAGE, st.integers(1, 3)), max_size=5), most=st.integers(1, 4))
def test_portions_of_a_damaged_cloud_show_what_the_whole_shows(transaction: Any, damage: Any, most: int) -> None:
    with transaction() as conn:
        fill_soundly(conn, 3)
        for (table, column, value), row in damage:
            values = (value, row - 1)
            key = {"holdings": "server_id", "port_bindings": "port_id"}.get(table, "rowid")
            conn.exec_driver_sql(
                f"UPDATE OR IGNORE {table} SET {column} = ? "  # names of ours
                f"WHERE {key} = (SELECT {key} FROM {table} ORDER BY {key} LIMIT 1 OFFSET ?)",
                values,
            )
        assert sorted(in_portions(conn, most)) == sorted(check_rows(audit.rows(conn), quiet=False))


@settings(max_examples=150, deadline=None)
@given(cloud=CLOUDS, most=st.integers(1, 4))
def test_portions_show_what_the_whole_shows(transaction: Any, cloud: dict[str, Any], most: int) -> None:
    with transaction() as conn:
        fill(conn, cloud)
        assert sorted(in_portions(conn, most)) == sorted(check_rows(audit.rows(conn), quiet=False))
