"""Statements that a connection to PostgreSQL keeps parsed."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from tests.contract.store.conftest import THINGS, Open, add, names

from floe.core.errors import Invalid
from floe.store.engine import Connection, Isolation
from floe.store.postgres import Postgres
from floe.store.postgres_statements import MOST, Statements, statements
from floe.store.prepared import Prepared

_SIZE = Prepared(sa.select(THINGS.c.size).where(THINGS.c.name == sa.bindparam("name")))
_ADD = Prepared(THINGS.insert(), columns=["name", "size"])


def kept(conn: Connection) -> list[str]:
    """Return the statements that the server keeps for this connection."""
    driver: Any = conn.connection.driver_connection
    cursor = driver.cursor()
    cursor.execute("SELECT statement FROM pg_prepared_statements WHERE name LIKE 'floe%' ORDER BY name", prepare=False)
    return [text for (text,) in cursor.fetchall()]


@pytest.fixture
async def db(open_postgres: Open) -> Postgres:
    made = open_postgres(writers=1)
    await made.write(THINGS.create)
    await made.write(add("a", 7))
    return made


def test_a_read_is_parsed_once_however_often_it_is_run(db: Postgres) -> None:
    for _ in range(5):
        assert db.read_now(lambda conn: _SIZE.first(conn, name="a").size) == 7
    found = db.read_now(kept)
    assert len([text for text in found if "things" in text]) == 1


async def test_a_write_that_failed_has_the_server_forget_nothing(db: Postgres) -> None:
    await db.write(lambda conn: _ADD.write(conn, name="b", size=1))
    before = await db.write(kept)
    for _ in range(3):
        with pytest.raises(psycopg.errors.UniqueViolation):
            await db.write(lambda conn: _ADD.write(conn, name="b", size=1))
    assert await db.write(kept) == before
    assert [text for text in before if "INSERT INTO things" in text]


async def test_a_statement_whose_columns_have_changed_is_parsed_anew(db: Postgres) -> None:
    assert db.read_now(lambda conn: _SIZE.first(conn, name="a").size) == 7
    await db.write(lambda conn: conn.exec_driver_sql("ALTER TABLE things ALTER COLUMN size TYPE text"))
    assert db.read_now(lambda conn: _SIZE.first(conn, name="a").size) == "7"


async def test_what_somebody_else_let_go_of_is_parsed_anew(db: Postgres) -> None:
    await db.write(lambda conn: _ADD.write(conn, name="b", size=1))
    await db.write(lambda conn: conn.exec_driver_sql("DEALLOCATE ALL"))
    assert await db.write(lambda conn: _ADD.write(conn, name="c", size=1)) == 1
    assert await names(db) == ["a", "b", "c"]


def test_so_many_are_kept_and_those_that_were_used_last(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as driver:
        few = Statements(driver, most=2)
        for text in ("SELECT 1", "SELECT 2", "SELECT 1", "SELECT 3", "SELECT 1"):
            assert few.execute(text, []).fetchall() == [(int(text[-1]),)]
        found = driver.execute("SELECT statement FROM pg_prepared_statements WHERE name LIKE 'floe%'").fetchall()
    assert sorted(text for (text,) in found) == ["SELECT 1", "SELECT 3"]
    assert MOST >= 300


async def test_what_begins_a_transaction_goes_before_any_statement_and_what_ends_it_after(db: Postgres) -> None:
    def level(conn: Connection) -> str:
        found: str = conn.exec_driver_sql("SHOW transaction_isolation").scalar_one()
        return found

    for _ in range(2):  # the second finds the end of the first unread
        assert db.read_now(level) == "repeatable read"
        assert db.read_now(lambda conn: (_SIZE.first(conn, name="a").size, level(conn))) == (7, "repeatable read")
        assert db.read_now(lambda conn: None) is None
        assert await db.write(level) == "serializable"
        assert await db.write(level, Isolation.READ_COMMITTED) == "read committed"


def test_a_read_that_is_over_holds_nothing(db: Postgres) -> None:
    db.read_now(lambda conn: _SIZE.first(conn, name="a"))
    open_still = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_xmin IS NOT NULL"
    for _ in range(200):
        if db.read_now(lambda conn: conn.exec_driver_sql(open_still).scalar_one()) == 1:  # that which asks
            return
    raise AssertionError("a transaction is open still")


async def test_many_rows_in_one_message_are_written_each(db: Postgres) -> None:
    text = "x" * 5_000
    many = [{"name": f"{number:04}{text}", "size": 1} for number in range(600)]  # more than any buffer on the way
    assert await db.write(lambda conn: _ADD.write_each(conn, many)) == 600
    assert len(await names(db)) == 601
    assert await db.write(lambda conn: _ADD.write_each(conn, [])) == 0
    with pytest.raises(psycopg.errors.UniqueViolation):
        await db.write(lambda conn: _ADD.write_each(conn, [{"name": "n", "size": 1}, {"name": "a", "size": 1}]))
    assert "n" not in await names(db)


async def test_values_are_what_they_were(db: Postgres) -> None:
    def look(conn: Connection) -> list[tuple[Any, ...]]:
        text = "SELECT $1::TEXT, $2::BIGINT, $3::BOOLEAN, $4::FLOAT8, $5::TEXT, $6::BYTEA"
        return statements(conn).execute(text, ["ü'\\", -(2**62), True, 0.1, None, b"\0x"]).fetchall()

    assert db.read_now(look) == [("ü'\\", -(2**62), True, 0.1, None, b"\0x")]
    for value in ("a\0b", "\0"):
        with pytest.raises(Invalid, match="NUL"):
            await db.write(lambda conn, value=value: _ADD.write(conn, name=value, size=1))  # type: ignore[misc]
    with pytest.raises(Invalid, match="64 bits"):
        await db.write(lambda conn: _ADD.write(conn, name="big", size=2**70))
