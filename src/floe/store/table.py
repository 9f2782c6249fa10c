"""The rows of a table, each a thing of one kind: what is done with them alike, whatever the kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.listing import Listing
from floe.store.listing import Fields, Pages, new
from floe.store.prepared import Prepared
from floe.store.schema import Json
from floe.store.tags import Tags, tagged

T = TypeVar("T")

Ident = str | int
VIEWER: sa.BindParameter[str] = sa.bindparam("viewer", type_=sa.String)
"""The project that looks, in the condition of what it sees."""

Read = Callable[[Connection, Sequence[Any]], list[T]]
"""Makes things of rows, reading what else belongs to them."""


class Rows(Generic[T]):
    """A table with `id` and `updated_at`, and how it is read: `query` without any condition, `read` for its rows.

    `seen` is the condition of being visible to the project VIEWER; None sees all. Clients filter and sort by all
    columns but JSON, and by `fields` besides; a text that may be null compares as "". `also` are the conditions for
    what a listing may ask for besides; those by tags are there where there are any. `computed` are columns that are
    not as an attribute of the thing is.
    """

    def __init__(
        self,
        table: sa.Table,
        query: sa.Select[Any],
        read: Read[T],
        *,
        seen: sa.ColumnElement[bool],
        fields: Fields | None = None,
        also: Mapping[str, Callable[[Any], sa.ColumnElement[bool]]] | None = None,
        computed: Mapping[str, Callable[[T], Any]] | None = None,
    ) -> None:
        self.table, self._read = table, read
        self._computed = computed or {}
        self._also = {**(also or {}), **(tagged(table.c.tags) if "tags" in table.c else {})}
        self._columns = tuple(column.name for column in table.c if column.name not in self._computed)
        one = query.where(table.c.id == sa.bindparam("the_id"))
        self._any, self._seen = Prepared(one), Prepared(one.where(seen))
        known = {**{c.name: _compared(c) for c in table.c if not isinstance(c.type, Json | Tags)}, **(fields or {})}
        self._pages = {True: Pages(query, known), False: Pages(query.where(seen), known)}
        self._insert, self._insert_new = Prepared(sa.insert(table)), new(table)
        self._delete = Prepared(sa.delete(table).where(table.c.id == sa.bindparam("the_id")))

    def values(self, thing: T) -> dict[str, Any]:
        """Return a thing as it is kept."""
        found = {name: getattr(thing, name) for name in self._columns}
        return found | {name: made(thing) for name, made in self._computed.items()}

    def insert(self, conn: Connection, thing: T) -> None:
        """Add a thing."""
        self._insert.write(conn, **self.values(thing))

    def insert_new(self, conn: Connection, thing: T) -> bool:
        """Add a thing; False, with nothing added, where a unique constraint forbids it."""
        return self._insert_new.write(conn, **self.values(thing)) == 1

    def get(self, conn: Connection, ident: Ident, project_id: str | None = None) -> T | None:
        """Return a thing that the project sees (None: anybody's)."""
        if project_id is None:
            rows = self._any.rows(conn, the_id=ident)
        else:
            rows = self._seen.rows(conn, the_id=ident, viewer=project_id)
        return next(iter(self._read(conn, rows)), None)

    def find(self, conn: Connection, project_id: str | None, listing: Listing) -> list[T]:
        """Return those of the things that the project sees that are asked for. Raises Invalid."""
        viewer = {} if project_id is None else {"viewer": project_id}
        also = [self._also[name](value) for name, value in listing.also.items()]
        return self._read(conn, self._pages[project_id is None].rows(conn, listing, also, **viewer))

    def update(self, conn: Connection, ident: Ident, changes: Mapping[str, Any], now: datetime) -> bool:
        """Change a thing, count its revision up where there is one; with no changes, a lock. False if it is gone."""
        table = self.table
        counted = {"revision": table.c.revision + 1} if "revision" in table.c else {}
        values = {**changes, "updated_at": now, **counted}
        return conn.execute(sa.update(table).where(table.c.id == ident).values(values)).rowcount == 1

    def delete(self, conn: Connection, *idents: Ident) -> None:
        """Remove things, with what the database removes with them."""
        self._delete.write_each(conn, [{"the_id": ident} for ident in idents])


def _compared(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    return sa.func.coalesce(column, "") if column.nullable and isinstance(column.type, sa.String) else column
