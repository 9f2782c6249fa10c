"""Lists with filters, order and a keyset window, the same for every table."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.errors import Invalid
from floe.core.listing import Listing
from floe.store.functions import array_of, is_one_of
from floe.store.prepared import Asked, Prepared

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")

Fields = Mapping[str, sa.ColumnElement[Any]]
"""What may be filtered and sorted by; nullable text is coalesced to "" so that it compares, numbers to `LEAST`."""
LEAST = -(2**31)
"""What no number that is kept is."""
NOTHING = frozenset({"", LEAST})
"""What a filter has for what is not there."""
_PART = 10000
_KEPT_PAGES = 64
"""How many forms of a list's query are kept: which filters and keys are named is up to clients."""
_LIMIT = sa.bindparam("at_most", type_=sa.Integer)
_OFFSET = sa.bindparam("after", type_=sa.Integer)
_MARKER = sa.bindparam("marker", type_=sa.String)


class ByIds:
    """A query of rows by ids, in a form for one id, which is the usual, and in one for any number.

    There the ids are one parameter, an array of JSON: a list of values would be written out into a statement of its own
    for each length, and to hand over each of them takes both sides longer than to read the array.
    `further` queries, of as many columns, are run for the same ids in the same statement; then it has no order.
    """

    def __init__(
        self,
        query: sa.Select[Any],
        column: sa.ColumnElement[Any],
        *further: tuple[sa.Select[Any], sa.ColumnElement[Any]],
    ) -> None:
        self._parts = ((query, column), *further)
        for _, each in self._parts:
            if isinstance(each.type, sa.TypeDecorator):
                raise TypeError(f"{each} is kept otherwise than an array of JSON has it: {each.type!r}.")
        one, many = sa.bindparam("the_id", type_=column.type), sa.bindparam("the_ids", type_=sa.Text)
        # Written when it is first asked for: a start makes many of these.
        self._one = Prepared(lambda _dialect: self._where(lambda column: column == one))
        self._many = Prepared(lambda _dialect: self._where(lambda column: is_one_of(column, many)))

    def rows(self, conn: Connection, ids: Collection[Any], **values: Any) -> list[Any]:
        """Return the rows of these ids; `values` are the query's other parameters."""
        return self._for(ids).rows(conn, **_given(ids), **values) if ids else []

    def tuples(self, conn: Connection, ids: Collection[Any], **values: Any) -> list[tuple[Any, ...]]:
        """Do what `rows` does, for who takes their values by their places (see `Prepared.tuples`)."""
        return self._for(ids).tuples(conn, **_given(ids), **values) if ids else []

    def asked(self, only: Any, **values: Any) -> Asked:
        """Return what a read says that will ask for the rows of one id."""
        return self._one.asked(the_id=only, **values)

    def _for(self, ids: Collection[Any]) -> Prepared:
        return self._one if len(ids) == 1 else self._many

    def _where(
        self, condition: Callable[[sa.ColumnElement[Any]], sa.ColumnElement[bool]]
    ) -> sa.Select[Any] | sa.CompoundSelect[Any]:
        asked = [query.where(condition(column)) for query, column in self._parts]
        return asked[0] if len(asked) == 1 else sa.union_all(*asked)


def _given(ids: Collection[Any]) -> dict[str, Any]:
    if len(ids) == 1:
        (only,) = ids
        return {"the_id": only}
    return {"the_ids": array_of(ids)}


def in_parts(ids: Sequence[T]) -> Iterator[list[T]]:
    """Cut a long list of ids into such as one statement may carry (SQLite takes 32,766 parameters)."""
    for start in range(0, len(ids), _PART):
        yield list(ids[start : start + _PART])


class _Form(NamedTuple):
    """What of a listing decides how its statement is written."""

    filters: tuple[tuple[str, bool], ...]
    """Each with whether it asks for values alone, of which an index knows."""
    sort: tuple[tuple[str, bool], ...]
    reverse: bool
    marked: bool
    limited: bool
    offset: bool


class Pages:
    """A list's query, to be run with the filters, order and window of any listing. `fields` needs `id`.

    `plain` are fields as they stand in the table, where those of `fields` have another value for what is not there.

    What is asked for often is compiled once: one value for each filter, and no further condition.
    """

    def __init__(self, query: sa.Select[Any], fields: Fields, plain: Fields | None = None) -> None:
        self._query, self._fields, self._plain = query, fields, plain or {}
        self._kept = functools.lru_cache(_KEPT_PAGES)(self._prepare)

    def rows(
        self, conn: Connection, listing: Listing, also: Sequence[sa.ColumnElement[bool]] = (), **values: Any
    ) -> Sequence[Any]:
        """Return a page of rows for which all `also` holds; `values` are the query's own parameters.

        Raises Invalid for a marker that the list does not show.
        """
        form = _Form(
            filters=tuple(
                (name, name in self._plain and not NOTHING.intersection(wanted))
                for name, wanted in listing.filters.items()
            ),
            sort=listing.sort,
            reverse=listing.reverse,
            marked=listing.marker is not None,
            limited=listing.limit is not None,
            offset=listing.offset > 0,
        )
        given = {f"is_{at}": found[0] for at, found in enumerate(listing.filters.values()) if len(found) == 1}
        given |= values
        if listing.limit is not None:
            given["at_most"] = listing.limit
        if listing.offset:
            given["after"] = listing.offset
        if listing.marker is not None:
            given |= self._after(conn, form, listing.marker, values)
        if also or any(len(found) != 1 for found in listing.filters.values()):
            rows: Sequence[Any] = conn.execute(self._window(form, listing.filters).where(*also), given).all()
        else:
            rows = self._kept(form).rows(conn, **given)
        return rows[::-1] if listing.reverse else rows

    def _prepare(self, form: _Form) -> Prepared:
        return Prepared(self._window(form, {}), packed=True)

    def _keys(self, form: _Form) -> list[tuple[sa.ColumnElement[Any], bool]]:
        keys = list(form.sort)
        if not any(name == "id" for name, _ in keys):
            keys.append(("id", True))
        return [(self._fields[name], ascending != form.reverse) for name, ascending in keys]

    def _window(self, form: _Form, several: Mapping[str, Sequence[Any]]) -> sa.Select[Any]:
        window = self._query
        for at, (name, plain) in enumerate(form.filters):
            column = (self._plain if plain else self._fields)[name]
            wanted = several.get(name, ())
            window = window.where(
                column.in_(list(wanted)) if len(wanted) > 1 else column == sa.bindparam(f"is_{at}", type_=column.type)
            )
        keys = self._keys(form)
        if form.marked:
            bound = [sa.bindparam(f"key_{at}", type_=column.type) for at, (column, _) in enumerate(keys)]
            window = window.where(following([(*key, value) for key, value in zip(keys, bound, strict=True)]))
        window = window.order_by(*(column.asc() if ascending else column.desc() for column, ascending in keys))
        window = window.limit(_LIMIT) if form.limited else window
        return window.offset(_OFFSET) if form.offset else window

    def _after(self, conn: Connection, form: _Form, marker: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of the marker's row in the keys of the order."""
        labelled = [column.label(f"key_{at}") for at, (column, _) in enumerate(self._keys(form))]
        statement = self._query.with_only_columns(*labelled).where(self._fields["id"] == _MARKER)
        row = conn.execute(statement, {"marker": marker, **values}).first()
        if row is None:
            raise Invalid(f"Invalid input for marker: there is nothing with id {marker!r} in this list.")
        return dict(row._mapping)


def following(keys: Sequence[tuple[sa.ColumnElement[Any], bool, Any]]) -> sa.ColumnElement[bool]:
    """Return the condition of standing after a row, by (column, ascending, the row's value).

    Greater in the first key, or equal there and after it in the others: each key stands in it twice, so that the
    statement grows with their number and not with its square.
    """
    condition: sa.ColumnElement[bool] | None = None
    for column, ascending, value in reversed(keys):
        # A plain True or False cannot be compared by size.
        bound = value if isinstance(value, sa.BindParameter) else sa.literal(value, column.type)
        beyond = column > bound if ascending else column < bound
        condition = beyond if condition is None else sa.or_(beyond, sa.and_(column == bound, condition))
    return sa.false() if condition is None else condition


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
    """Return the same where the dialect is known; the other's is not even read, which takes a while."""
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)
