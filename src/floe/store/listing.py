"""Lists with filters, order and a keyset window, the same for every table."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.errors import Invalid
from floe.core.listing import Listing
from floe.store.prepared import Asked, Prepared

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")

Fields = Mapping[str, sa.ColumnElement[Any]]
"""What may be filtered and sorted by; nullable text is coalesced to "" so that it compares."""
_PART = 10000
_KEPT_IDS = 128
"""How many ids a statement that is kept may name; beyond, making it anew is little beside running it."""
_IDS = [f"id_{number}" for number in range(_KEPT_IDS)]
_KEPT_PAGES = 64
"""How many forms of a list's query are kept: which filters and keys are named is up to clients."""
_LIMIT = sa.bindparam("at_most", type_=sa.Integer)
_OFFSET = sa.bindparam("after", type_=sa.Integer)
_MARKER = sa.bindparam("marker", type_=sa.String)


class ByIds:
    """A query of rows by ids, in a form for one id, which is the usual, and in forms for more.

    SQLAlchemy writes a list of values out into the statement at every run, which takes as long as all else of the run.
    So a list is filled up, with its last id again, to a power of two, and the statement for that many is kept.
    `further` queries, of as many columns, are run for the same ids in the same statement; then it has no order.
    """

    def __init__(
        self,
        query: sa.Select[Any],
        column: sa.ColumnElement[Any],
        *further: tuple[sa.Select[Any], sa.ColumnElement[Any]],
    ) -> None:
        self._parts, self._type = ((query, column), *further), column.type
        one = sa.bindparam("the_id", type_=column.type)
        many: sa.BindParameter[Any] = sa.bindparam("the_ids", expanding=True)
        self._one = Prepared(self._where(lambda column: column == one))
        self._more: dict[int, Prepared] = {}
        self._many = self._where(lambda column: column.in_(many))

    def rows(self, conn: Connection, ids: Collection[Any], **values: Any) -> Sequence[Any]:
        """Return the rows of these ids; `values` are the query's other parameters."""
        if len(ids) == 1:
            (only,) = ids
            return self._one.rows(conn, the_id=only, **values)
        if not 0 < len(ids) <= _KEPT_IDS:
            return conn.execute(self._many, {"the_ids": list(ids), **values}).all()
        size = 1 << (len(ids) - 1).bit_length()
        filled = list(ids)
        filled += filled[-1:] * (size - len(ids))
        return self._for(size).rows(conn, **dict(zip(_IDS, filled, strict=False)), **values)

    def asked(self, only: Any, **values: Any) -> Asked:
        """Return what a read says that will ask for the rows of one id."""
        return self._one.asked(the_id=only, **values)

    def _for(self, size: int) -> Prepared:
        found = self._more.get(size)
        if found is None:
            ids = [sa.bindparam(name, type_=self._type) for name in _IDS[:size]]
            found = self._more[size] = Prepared(self._where(lambda column: column.in_(ids)))
        return found

    def _where(
        self, condition: Callable[[sa.ColumnElement[Any]], sa.ColumnElement[bool]]
    ) -> sa.Select[Any] | sa.CompoundSelect[Any]:
        asked = [query.where(condition(column)) for query, column in self._parts]
        return asked[0] if len(asked) == 1 else sa.union_all(*asked)


def in_parts(ids: Sequence[T]) -> Iterator[list[T]]:
    """Cut a long list of ids into such as one statement may carry (SQLite takes 32,766 parameters)."""
    for start in range(0, len(ids), _PART):
        yield list(ids[start : start + _PART])


class _Form(NamedTuple):
    """What of a listing decides how its statement is written."""

    filters: tuple[str, ...]
    sort: tuple[tuple[str, bool], ...]
    reverse: bool
    marked: bool
    limited: bool
    offset: bool


class Pages:
    """A list's query, to be run with the filters, order and window of any listing. `fields` needs `id`.

    What is asked for often is compiled once: one value for each filter, and no further condition.
    """

    def __init__(self, query: sa.Select[Any], fields: Fields) -> None:
        self._query, self._fields = query, fields
        self._kept = functools.lru_cache(_KEPT_PAGES)(self._prepare)

    def rows(
        self, conn: Connection, listing: Listing, also: Sequence[sa.ColumnElement[bool]] = (), **values: Any
    ) -> Sequence[Any]:
        """Return a page of rows for which all `also` holds; `values` are the query's own parameters.

        Raises Invalid for a marker that the list does not show.
        """
        form = _Form(
            filters=tuple(listing.filters),
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
        return Prepared(self._window(form, {}))

    def _keys(self, form: _Form) -> list[tuple[sa.ColumnElement[Any], bool]]:
        keys = list(form.sort)
        if not any(name == "id" for name, _ in keys):
            keys.append(("id", True))
        return [(self._fields[name], ascending != form.reverse) for name, ascending in keys]

    def _window(self, form: _Form, several: Mapping[str, Sequence[Any]]) -> sa.Select[Any]:
        window = self._query
        for at, name in enumerate(form.filters):
            column = self._fields[name]
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
    condition: sa.ColumnElement[bool] = sa.false()
    for column, ascending, value in reversed(keys):
        # A plain True or False cannot be compared by size.
        bound = value if isinstance(value, sa.BindParameter) else sa.literal(value, column.type)
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
    """Return the same where the dialect is known; the other's is not even read, which takes a while."""
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)
