"""The rows of a table, each a thing of one kind: what is done with them alike, whatever the kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from itertools import starmap
from typing import Any, Generic, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.listing import Listing
from floe.core.names import fold
from floe.store import names
from floe.store.listing import LEAST, Fields, Pages, in_parts, new
from floe.store.prepared import Prepared
from floe.store.schema import Json, JsonOf
from floe.store.tags import Tags, tagged

T = TypeVar("T")

Ident = str | int
VIEWER: sa.BindParameter[str] = sa.bindparam("viewer", type_=sa.String)
"""The project that looks, in the condition of what it sees."""

Read = Callable[[Connection, Sequence[Any]], list[T]]
"""Makes things of rows, reading what else belongs to them."""


def columns_of(kind: type[msgspec.Struct], table: sa.Table) -> list[sa.Column[Any]]:
    """Return a table's columns in the order of a kind's fields: what it is made of then is the row as it comes."""
    return [table.c[name] for name in kind.__struct_fields__ if name in table.c]


def structs(kind: Callable[..., T]) -> Read[T]:
    """Return what makes things of rows that have all of their fields, in their order."""
    return lambda _conn, rows: list(starmap(kind, rows))


def things(kind: Callable[..., T]) -> Read[T]:
    """Return what makes things of rows that have a column for each of their fields, and no other."""

    def made(_conn: Connection, rows: Sequence[Any]) -> list[T]:
        fields = rows[0]._fields if rows else ()
        return [kind(**dict(zip(fields, row, strict=True))) for row in rows]

    return made


class Rows(Generic[T]):
    """A table and how it is read: `query` without any condition (all columns but `folded`), `read` for its rows.

    `seen` is the condition of being visible to the project VIEWER; without it all are. Clients filter and sort by all
    columns but JSON, and by `fields` besides; a text that may be null compares as "", a number as less than all.
    `also` are the conditions for what a listing may ask for besides; those by tags are there where there are any.
    `computed` are columns that are not as an attribute of the thing is. `key` is what clients know a thing by, where
    that is not its id; of those that one viewer sees no two have the same. Who names no order is given them in this
    one, and else by key.
    """

    def __init__(
        self,
        table: sa.Table,
        read: Read[T],
        query: sa.Select[Any] | None = None,
        *,
        seen: sa.ColumnElement[bool] | None = None,
        fields: Fields | None = None,
        also: Mapping[str, Callable[[Any], sa.ColumnElement[bool]]] | None = None,
        computed: Mapping[str, Callable[[T], Any]] | None = None,
        key: sa.Column[Any] | None = None,
        order: tuple[tuple[str, bool], ...] = (),
    ) -> None:
        self.table, self._read, self._order = table, read, order
        if query is None:
            query = sa.select(*(column for column in table.c if column.name != names.FOLDED))
        seen = sa.true() if seen is None else seen
        self._computed = dict(computed or {})
        if names.FOLDED in table.c:
            self._computed[names.FOLDED] = lambda thing: fold(thing.name)  # type: ignore[attr-defined]
        self._also = {**(also or {}), **(tagged(table.c.tags) if "tags" in table.c else {})}
        (self._id,) = table.primary_key.columns
        self._given = self._id if self._id is table.autoincrement_column else None
        self._columns = tuple(c.name for c in table.c if c.name not in self._computed and c is not self._given)
        key = self._id if key is None else key
        plain = {c.name: c for c in table.c if c.name not in (fields or {}) and _compared(c) is not c}
        # What is written when it is first asked for is a function: a start makes many of these.
        self._any = Prepared(lambda _dialect: query.where(key == sa.bindparam("the_key")))
        self._seen = Prepared(lambda _dialect: query.where(key == sa.bindparam("the_key"), seen))
        self._pages = cache(lambda everybodys: Pages(query if everybodys else query.where(seen), self._known(), plain))
        self._known = cache(lambda: {**_known(table), **(fields or {}), "id": key})
        written = {*self._columns, *self._computed}
        self._insert = Prepared(lambda _dialect: _insert(table, self._given), columns=written)
        self._insert_new = new(table)
        self._delete = Prepared(lambda _dialect: sa.delete(table).where(self._id == sa.bindparam("the_id")))

    def values(self, thing: T) -> dict[str, Any]:
        """Return a thing as it is kept."""
        found = {name: getattr(thing, name) for name in self._columns}
        return found | {name: made(thing) for name, made in self._computed.items()}

    def insert(self, conn: Connection, thing: T) -> T:
        """Add a thing, and return it: with its id, where the database gives it."""
        if self._given is None:
            self._insert.write_later(conn, self.values(thing))
            return thing
        ((ident,),) = self._insert.rows(conn, **self.values(thing))
        again: Any = msgspec.structs.replace if isinstance(thing, msgspec.Struct) else replace
        made: T = again(thing, **{self._given.name: ident})
        return made

    def insert_new(self, conn: Connection, thing: T) -> bool:
        """Add a thing; False, with nothing added, where a unique constraint forbids it."""
        return self._insert_new.write(conn, **self.values(thing)) == 1

    def get(self, conn: Connection, key: Ident, project_id: str | None = None) -> T | None:
        """Return a thing that the project sees (None: anybody's)."""
        if project_id is None:
            rows = self._any.rows(conn, the_key=key)
        else:
            rows = self._seen.rows(conn, the_key=key, viewer=project_id)
        return next(iter(self._read(conn, rows)), None)

    def find(self, conn: Connection, project_id: str | None, listing: Listing) -> list[T]:
        """Return those of the things that the project sees that are asked for. Raises Invalid."""
        viewer = {} if project_id is None else {"viewer": project_id}
        if self._order and not listing.sort:
            listing = msgspec.structs.replace(listing, sort=self._order)
        also = [self._also[name](value) for name, value in listing.also.items()]
        return self._read(conn, self._pages(project_id is None).rows(conn, listing, also, **viewer))

    def those(self, conn: Connection, **asked: Any) -> list[T]:
        """Return all things of which each of these is so, by id: columns and what `also` knows; None asks nothing.

        A name is found whatever its case where the table says how it folds.
        """
        given = {name: value for name, value in asked.items() if value is not None}
        if names.FOLDED in self.table.c and "name" in given:
            given[names.FOLDED] = fold(given.pop("name"))
        also = {name: value for name, value in given.items() if name in self._also}
        filters = {name: (value,) for name, value in given.items() if name not in self._also}
        return self.find(conn, None, Listing(filters=filters, also=also))

    def each(self, conn: Connection, idents: Iterable[Ident]) -> list[T]:
        """Return those of the things that are there, by id."""
        parts = (Listing(filters={"id": part}) for part in in_parts(sorted(idents)))
        return [thing for part in parts for thing in self.find(conn, None, part)]

    def called(self, conn: Connection, name: str, **asked: Any) -> T | None:
        """Return the thing of that name; the one with exactly this case where an older database holds several."""
        found: list[Any] = self.those(conn, name=name, **asked)
        return next((thing for thing in found if thing.name == name), found[0] if found else None)

    def update(self, conn: Connection, ident: Ident, changes: Mapping[str, Any], now: datetime | None = None) -> bool:
        """Change a thing, count its revision up where there is one; with no changes, a lock. False if it is gone.

        `now` is when, for a table that knows when its things were changed.
        """
        table, values = self.table, dict(changes)
        if "updated_at" in table.c:
            values["updated_at"] = now
        if "revision" in table.c:
            values["revision"] = table.c.revision + 1
        if names.FOLDED in table.c:
            values = names.with_folded(values)
        values = values or {self._id.name: ident}
        return conn.execute(sa.update(table).where(self._id == ident).values(values)).rowcount == 1

    def delete(self, conn: Connection, *idents: Ident) -> bool:
        """Remove things, with what the database removes with them. False if none of them was there."""
        return self._delete.write_each(conn, [{"the_id": ident} for ident in idents]) > 0

    def discard(self, conn: Connection, *idents: Ident) -> None:
        """Remove those of the things that are there, as `delete` does."""
        self._delete.write_later(conn, *({"the_id": ident} for ident in idents))


def _known(table: sa.Table) -> dict[str, sa.ColumnElement[Any]]:
    """Return what a table's things may be filtered and sorted by."""
    known = {c.name: _compared(c) for c in table.c if not isinstance(c.type, Json | JsonOf | Tags)}
    # Never null but where `refold` has not been yet; as it stands, so that its index serves.
    return known | ({names.FOLDED: table.c.folded} if names.FOLDED in table.c else {})


def _insert(table: sa.Table, given: sa.Column[Any] | None) -> sa.Insert:
    return sa.insert(table) if given is None else sa.insert(table).returning(given)


def _compared(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """Return a column without NULLs, after which nothing would follow in a list; databases sort them differently."""
    if not column.nullable or not isinstance(column.type, sa.String | sa.Integer):
        return column
    return sa.func.coalesce(column, "" if isinstance(column.type, sa.String) else LEAST)
