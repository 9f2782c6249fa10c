"""A prepared query gives what SQLAlchemy gives, with the same types."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

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
