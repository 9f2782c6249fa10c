"""Lists with filters, order and a keyset window, the same for every table."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Row

from floe.core.errors import Invalid
from floe.core.listing import Listing
from floe.store.prepared import Prepared

Fields = Mapping[str, sa.ColumnElement[Any]]
"""What may be filtered and sorted by; nullable text is coalesced to "" so that it compares."""
_PART = 10000


class ByIds:
    """A query of rows by ids, in a form for one id, which is the usual, and in one for any number.

    SQLAlchemy writes a list of values out into the statement at every run, which takes as long as all else of the run.
    """

    def __init__(self, query: sa.Select[Any], column: sa.ColumnElement[Any]) -> None:
        self._one = Prepared(query.where(column == sa.bindparam("the_id")))
        self._many = query.where(column.in_(sa.bindparam("the_ids", expanding=True)))

    def rows(self, conn: Connection, ids: Collection[str], **values: Any) -> Sequence[Any]:
        """Return the rows of these ids; `values` are the query's other parameters."""
        if len(ids) == 1:
            (only,) = ids
            return self._one.rows(conn, the_id=only, **values)
        return conn.execute(self._many, {"the_ids": list(ids), **values}).all()


def in_parts(ids: Sequence[str]) -> Iterator[list[str]]:
    """Cut a long list of ids into such as one statement may carry (SQLite takes 32,766 parameters)."""
    for start in range(0, len(ids), _PART):
        yield list(ids[start : start + _PART])


def page(conn: Connection, statement: sa.Select[Any], fields: Fields, listing: Listing) -> Sequence[Row[Any]]:
    """Run `statement` with the filters, order and window of `listing`. `fields` needs `id`.

    Raises Invalid for a marker that the statement does not show.
    """
    keys = list(listing.sort)
    if not any(name == "id" for name, _ in keys):
        keys.append(("id", True))
    order = [(fields[name], ascending != listing.reverse) for name, ascending in keys]
    window = statement
    for name, values in listing.filters.items():
        window = window.where(_one_of(fields[name], values))
    if listing.marker is not None:
        window = window.where(_after(conn, statement, fields, order, listing.marker))
    window = window.order_by(*(column.asc() if ascending else column.desc() for column, ascending in order))
    if listing.limit is not None:
        window = window.limit(listing.limit)
    rows = conn.execute(window).all()
    return rows[::-1] if listing.reverse else rows


def following(keys: Sequence[tuple[sa.ColumnElement[Any], bool, Any]]) -> sa.ColumnElement[bool]:
    """Return the condition of standing after a row, by (column, ascending, the row's value).

    Greater in the first key, or equal there and after it in the others: each key stands in it twice, so that the
    statement grows with their number and not with its square.
    """
    condition: sa.ColumnElement[bool] = sa.false()
    for column, ascending, value in reversed(keys):
        bound = sa.literal(value, column.type)  # a plain True or False cannot be compared by size
        beyond = column > bound if ascending else column < bound
        condition = sa.or_(beyond, sa.and_(column == bound, condition))
    return condition


@functools.cache
def insert_new(dialect: str, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """Return the INSERT that does nothing (row count 0) where a unique constraint forbids it."""
    return insert_into(dialect, table).on_conflict_do_nothing()


def new(table: sa.Table) -> Prepared:
    """Return the INSERT that changes no row where a unique constraint forbids it, for all columns of the table."""
    return Prepared(functools.partial(insert_new, table=table))


def insert(conn: Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT of the database's own dialect, which knows ON CONFLICT."""
    return insert_into(conn.dialect.name, table)


def insert_into(dialect: str, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """Return the same where the dialect is known."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def _one_of(column: sa.ColumnElement[Any], values: Sequence[Any]) -> sa.ColumnElement[bool]:
    if len(values) == 1:
        only: sa.ColumnElement[bool] = column == values[0]
        return only
    return column.in_(list(values))


def _after(
    conn: Connection,
    statement: sa.Select[Any],
    fields: Fields,
    order: list[tuple[sa.ColumnElement[Any], bool]],
    marker: str,
) -> sa.ColumnElement[bool]:
    """Return the condition of standing after the marker in `order`."""
    labelled = [column.label(f"key_{index}") for index, (column, _) in enumerate(order)]
    row = conn.execute(statement.with_only_columns(*labelled).where(fields["id"] == marker)).first()
    if row is None:
        raise Invalid(f"Invalid input for marker: there is nothing with id {marker!r} in this list.")
    return following([(column, ascending, value) for (column, ascending), value in zip(order, row, strict=True)])
