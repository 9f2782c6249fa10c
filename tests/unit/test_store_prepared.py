"""A prepared statement gives and takes what SQLAlchemy gives and takes, with the same types."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from floe.store.address_columns import Address
from floe.store.engine import Connection
from floe.store.prepared import Prepared
from floe.store.schema import Json, Moment

TABLE = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("size", sa.BigInteger),
    sa.Column("up", sa.Boolean),
    sa.Column("at", Moment),
    sa.Column("notes", Json),
)
NOW = datetime(2030, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
ROWS: list[dict[str, Any]] = [
    {"id": "a", "size": 2**40, "up": True, "at": NOW, "notes": {"x": [1, None, "é"]}},
    {"id": "b", "size": None, "up": False, "at": None, "notes": None},
]


@pytest.fixture
def conn() -> Iterator[Connection]:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as made:
        TABLE.metadata.create_all(made)
        made.execute(TABLE.insert(), ROWS)
        yield made
    engine.dispose()


def test_rows_are_those_of_sqlalchemy_by_place_and_by_name(conn: Connection) -> None:
    query = sa.select(TABLE).order_by(TABLE.c.id)
    found = Prepared(query).rows(conn)
    assert [tuple(row) for row in found] == [tuple(row) for row in conn.execute(query)]
    assert [row._asdict() for row in found] == ROWS
    assert found[0].at == NOW


def test_rows_that_come_packed_are_the_same(conn: Connection) -> None:
    strange = {"id": 'q"\\\n\x00\x7f\u2028é𝄞', "size": -(2**63), "up": None, "at": NOW, "notes": ['"', "\\", "\x00"]}
    conn.execute(TABLE.insert(), strange)
    query = sa.select(TABLE).where(TABLE.c.id != sa.bindparam("not_id")).order_by(TABLE.c.id.desc())
    packed = Prepared(query, packed=True)
    found = packed.rows(conn, not_id="b")
    assert found == Prepared(query).rows(conn, not_id="b")
    assert [row._asdict() for row in found] == [strange, ROWS[0]]
    assert packed.tuples(conn, not_id="b") == found
    assert packed.plain(conn, not_id="b") == Prepared(query).plain(conn, not_id="b")
    assert packed._compiled["sqlite"].packed
    conn.execute(TABLE.delete())
    assert packed.rows(conn, not_id="b") == []


@pytest.mark.parametrize(
    ("kind", "value"),
    [(sa.Float, 0.1 + 0.2), (sa.LargeBinary, b"\xff\x00"), (Address, 2**128 - 1), (Address, 2**32 - 1)],
)
def test_what_json_has_no_form_for_comes_as_it_is(conn: Connection, kind: Any, value: object) -> None:
    table = sa.Table("others", sa.MetaData(), sa.Column("id", sa.String), sa.Column("value", kind))
    table.create(conn)
    conn.execute(table.insert(), {"id": "a", "value": value})
    assert Prepared(sa.select(table), packed=True).rows(conn) == [("a", value)]


def test_parameters_are_given_by_name_and_in_the_types_of_their_columns(conn: Connection) -> None:
    query = Prepared(
        sa.select(TABLE.c.id).where(TABLE.c.at == sa.bindparam("when"), TABLE.c.up == sa.bindparam("is_up"))
    )
    assert query.rows(conn, when=NOW, is_up=True) == [("a",)]
    assert query.rows(conn, when=NOW, is_up=False) == []
    assert query.first(conn, when=NOW, is_up=False) is None


def test_values_in_the_query_itself_need_not_be_given(conn: Connection) -> None:
    query = Prepared(sa.select(TABLE.c.id).where(TABLE.c.size > 7, TABLE.c.id == sa.bindparam("ident")))
    assert query.first(conn, ident="a").id == "a"
    assert query.first(conn, ident="b") is None


def test_a_parameter_that_is_missing_is_an_error_and_not_null(conn: Connection) -> None:
    query = Prepared(sa.select(TABLE).where(TABLE.c.id == sa.bindparam("ident")))
    with pytest.raises(KeyError):
        query.rows(conn)


def test_columns_of_the_same_name_are_told_apart_by_place(conn: Connection) -> None:
    other = TABLE.alias("other")
    query = sa.select(TABLE.c.id, other.c.id).join(other, other.c.id != TABLE.c.id).where(TABLE.c.id == "a")
    assert Prepared(query).rows(conn) == [("a", "b")]


def test_what_a_query_counts_has_no_name_and_is_there(conn: Connection) -> None:
    assert Prepared(sa.select(sa.func.count(), sa.func.sum(TABLE.c.size))).first(conn) == (2, 2**40)


def test_a_query_sees_what_its_transaction_wrote(conn: Connection) -> None:
    query = Prepared(sa.select(TABLE.c.size).where(TABLE.c.id == sa.bindparam("ident")))
    conn.execute(TABLE.update().where(TABLE.c.id == "b").values(size=5))
    assert query.first(conn, ident="b").size == 5


def test_a_write_takes_values_in_the_types_of_their_columns_and_says_how_many_rows_it_changed(conn: Connection) -> None:
    row = {"id": "c", "size": 1, "up": True, "at": NOW, "notes": {"y": "ü"}}
    assert Prepared(TABLE.insert()).write(conn, **row) == 1
    assert conn.execute(sa.select(TABLE).where(TABLE.c.id == "c")).one()._asdict() == row
    grow = Prepared(TABLE.update().where(TABLE.c.up == sa.bindparam("is_up")).values(size=9, at=sa.bindparam("when")))
    assert grow.write(conn, is_up=True, when=NOW) == 2
    assert grow.write(conn, is_up=None, when=NOW) == 0


def test_many_writes_are_one_call_and_none_is_none(conn: Connection) -> None:
    remove = Prepared(TABLE.delete().where(TABLE.c.id == sa.bindparam("ident")))
    remove.write_each(conn, [])
    assert conn.scalar(sa.select(sa.func.count()).select_from(TABLE)) == 2
    remove.write_each(conn, [{"ident": "a"}, {"ident": "b"}])
    assert conn.scalar(sa.select(sa.func.count()).select_from(TABLE)) == 0


def test_a_write_returns_rows(conn: Connection) -> None:
    returning = TABLE.update().where(TABLE.c.id == sa.bindparam("ident")).values(size=3).returning(TABLE.c.at)
    assert Prepared(returning).first(conn, ident="a").at == NOW
    assert Prepared(returning).first(conn, ident="nobody") is None


def test_an_insert_names_all_columns_or_those_it_was_made_for(conn: Connection) -> None:
    with pytest.raises(KeyError, match="notes"):
        Prepared(TABLE.insert()).write(conn, id="c", size=1, up=True, at=NOW)
    Prepared(TABLE.insert(), columns={"id", "up"}).write(conn, id="c", up=False)
    assert conn.execute(sa.select(TABLE).where(TABLE.c.id == "c")).one() == ("c", None, False, None, None)


def test_a_default_that_a_prepared_insert_would_leave_out_is_an_error(conn: Connection) -> None:
    table = sa.Table("defaults", sa.MetaData(), sa.Column("id", sa.String, primary_key=True), sa.Column("n", default=7))
    with pytest.raises(TypeError, match=r"defaults\.n has a default"):
        Prepared(table.insert(), columns={"id"}).write(conn, id="c")


@pytest.mark.parametrize(
    "statement", [sa.select(TABLE).where(TABLE.c.id.in_(["a", "b"])), sa.select(TABLE).where(TABLE.c.up.in_([]))]
)
def test_a_list_of_values_in_a_statement_is_refused_when_it_is_compiled(conn: Connection, statement: Any) -> None:
    with pytest.raises(TypeError, match="name a parameter for each"):
        Prepared(statement).rows(conn)


def test_a_statement_may_be_worded_for_the_dialect(conn: Connection) -> None:
    asked = []

    def made(dialect: str) -> sqlite.Insert:
        asked.append(dialect)
        return sqlite.insert(TABLE).on_conflict_do_nothing()

    fresh = Prepared(made)
    assert [fresh.write(conn, **row) for row in [*ROWS, {**ROWS[0], "id": "c"}]] == [0, 0, 1]
    assert asked == ["sqlite"]


def test_what_was_written_is_committed_with_the_connection_s_transaction(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/db")
    with engine.connect() as first:
        TABLE.metadata.create_all(first)
        first.commit()
        Prepared(TABLE.insert()).write(first, **ROWS[0])
        first.commit()
        Prepared(TABLE.insert()).write_each(first, ROWS[1:])
        first.rollback()
    with engine.connect() as second:
        assert list(second.scalars(sa.select(TABLE.c.id))) == ["a"]
    engine.dispose()
