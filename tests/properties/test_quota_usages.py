"""Whatever is done to the rows, by whichever statement, the counts that quotas are held against are what there is."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Connection

from floe.core import quotas
from floe.store import quota_usages, schema
from floe.store.quota_usages import Counted

TABLES = [table for table in schema.load().sorted_tables if "counted" in table.info]
OWNERS = ["ann", "bob", None]

Change = tuple[int, str, int, str | None, int, bool]
"""Of which table, what is done, to which row, for whom, how much, and whether it is of the past already."""

CHANGES = st.lists(
    st.tuples(
        st.integers(0, len(TABLES) - 1),
        st.sampled_from(["insert", "insert", "ignore", "replace", "update", "delete", "delete all"]),
        st.integers(0, 4),
        st.sampled_from(OWNERS),
        st.integers(0, 64),
        st.booleans(),
    ),
    max_size=30,
)


def row_of(table: sa.Table, change: Change) -> dict[str, Any]:
    """Return a row with something in each column that needs it, the counted ones as the change says."""
    _, _, key, owner, amount, past = change
    row: dict[str, Any] = {}
    for column in table.c:
        if column.primary_key or column.unique:
            row[column.name] = key if isinstance(column.type, sa.Integer) else str(key)
        elif not column.nullable:
            row[column.name] = 0 if isinstance(column.type, sa.Integer | sa.Boolean | schema.Moment) else ""
    for name in {"name", "mac", "fingerprint"} & set(table.c.keys()):
        row[name] = str(key)
    for item in table.info["counted"]:
        if item.owner is not None:
            own = owner if item.owner != "quota_owner" else owner and f"{owner} within a project"
            row[item.owner] = own or ("" if not table.c[item.owner].nullable else None)
        row |= {item.amount: amount} if item.amount else {}
        row |= dict.fromkeys(item.unless, 1 if past else None)
    return row


def apply(conn: Connection, change: Change) -> None:
    """Do a change with plain SQL, as whoever it is would that knows nothing of the counts."""
    table, what = TABLES[change[0]], change[1]
    row = row_of(table, change)
    names = ", ".join(f'"{name}"' for name in row)
    marks = ", ".join("?" * len(row))
    key = next(iter(table.primary_key)).name
    if what in {"insert", "ignore", "replace"}:
        verb = {"insert": "INSERT", "ignore": "INSERT OR IGNORE", "replace": "INSERT"}[what]
        upsert = ", ".join(f'"{name}" = excluded."{name}"' for name in row if name != key)
        follows = f" ON CONFLICT DO UPDATE SET {upsert}" if what == "replace" else ""
        conn.exec_driver_sql(f"{verb} INTO {table.name} ({names}) VALUES ({marks}){follows}", tuple(row.values()))
    elif what == "update":
        changes = ", ".join(f'"{name}" = ?' for name in row if name != key)
        values = tuple(value for name, value in row.items() if name != key)
        conn.exec_driver_sql(f"UPDATE {table.name} SET {changes} WHERE {key} = ?", (*values, row[key]))
    else:
        where = f"WHERE {key} = ?" if what == "delete" else "WHERE ? IS NOT NULL"
        conn.exec_driver_sql(f"DELETE FROM {table.name} {where}", (row[key],))


@settings(max_examples=60, deadline=None)
@given(changes=CHANGES)
def test_counts_are_what_there_is_after_every_statement(transaction: Any, changes: list[Change]) -> None:
    with transaction() as conn:
        for change in changes:
            with contextlib.suppress(sa.exc.IntegrityError):  # refused whole, counts and all
                apply(conn, change)
            assert quota_usages.drifted(conn) == []
            assert conn.execute(sa.select(counts_of_nothing())).scalar_one() == 0


def counts_of_nothing() -> sa.ScalarSelect[int]:
    table = quota_usages.quota_usages
    return sa.select(sa.func.count()).where(table.c.used < 0).scalar_subquery()


def test_what_is_counted_is_what_quotas_limit_and_what_they_limit_is_counted() -> None:
    found = {item.resource for table in TABLES for item in table.info["counted"]}
    by_the_code = {"aggregate", "application_credential"}  # their limits are constants
    by_the_request = {"metadata_items", "injected_files", "injected_file_content_bytes", "injected_file_path_bytes"}
    by_nobody = {"fixed_ips"}  # as in Nova, where Neutron has the networks
    assert found - by_the_code == quotas.DEFAULTS.keys() - by_the_request - by_nobody


def test_a_count_of_nothing_leaves_no_row(transaction: Any) -> None:
    with transaction() as conn:
        for table in range(len(TABLES)):
            apply(conn, (table, "insert", 1, "ann", 5, False))
        assert conn.execute(sa.select(quota_usages.quota_usages)).all() != []
        for table in TABLES:
            conn.execute(table.delete())
        assert conn.execute(sa.select(quota_usages.quota_usages)).all() == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda conn: conn.exec_driver_sql("DELETE FROM quota_usages"),
        lambda conn: conn.exec_driver_sql("UPDATE quota_usages SET used = used + 3"),
        lambda conn: conn.exec_driver_sql("INSERT INTO quota_usages VALUES ('eve', 'port', 9)"),
        lambda conn: conn.exec_driver_sql("DROP TRIGGER count_servers_insert"),
    ],
)
def test_counts_that_were_spoilt_are_found_and_mended(transaction: Any, spoil: Callable[[Connection], object]) -> None:
    with transaction() as conn:
        server = next(number for number, table in enumerate(TABLES) if table.name == "servers")
        apply(conn, (server, "insert", 1, "ann", 2, False))
        spoil(conn)
        apply(conn, (server, "insert", 2, "ann", 2, False))
        drift = quota_usages.drifted(conn)
        assert drift
        quota_usages.keep(conn)
        assert quota_usages.kept(conn)
        assert quota_usages.drifted(conn) == []
        assert quota_usages.of(conn, "ann")["cores"] == 4


def test_a_trigger_asks_nothing_that_grows_with_the_cloud() -> None:
    """Each statement of a trigger, and the read of the counts, finds its one row by the primary key."""
    made = sqlite3.connect(":memory:")
    made.execute("CREATE TABLE quota_usages (owner TEXT, resource TEXT, used INTEGER, PRIMARY KEY (owner, resource))")
    item = Counted(resource="r", owner="o", amount="a", unless="u")
    for step in (*quota_usages._more(item), *quota_usages._less(item)):
        plain = step.replace("NEW.u IS NULL", "1").replace("OLD.u IS NULL", "1")
        for name in ("NEW.o", "OLD.o", "NEW.a", "OLD.a"):
            plain = plain.replace(name, "1")
        plan = " ".join(row[3] for row in made.execute(f"EXPLAIN QUERY PLAN {plain}"))
        assert "SCAN quota_usages" not in plan, step
    made.close()


def test_no_statement_replaces_rows_unseen_by_the_triggers() -> None:
    """SQLite runs no delete trigger for the row that INSERT OR REPLACE removes."""
    store = Path(quota_usages.__file__).parent
    assert [
        path.name for path in store.rglob("*.py") if re.search(r"OR\s+REPLACE|REPLACE\s+INTO", path.read_text())
    ] == []
