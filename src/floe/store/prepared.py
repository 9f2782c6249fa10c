"""Queries that are compiled once: what SQLAlchemy does around a small query at each run takes longer than the query."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

Convert = Callable[[Any], Any]


class _Compiled(NamedTuple):
    text: str
    places: Sequence[tuple[str, Convert | None]]
    """The parameter that goes to each place of the text, and what makes the driver's value of ours."""
    fixed: dict[str, Any]
    """The values that stand in the query itself."""
    row: Callable[[Sequence[Any]], Any]
    shown: Sequence[tuple[int, Convert]]
    """The columns whose values differ from the driver's, and what makes ours."""


class Prepared:
    """A query for hot paths, whose parameters have names; its rows are named tuples of what SQLAlchemy would give.

    It is compiled for the dialect of the first connection that runs it: a process has one kind of database.
    """

    def __init__(self, query: sa.Select[*tuple[Any, ...]]) -> None:
        self._query = query
        self._compiled: _Compiled | None = None

    def rows(self, conn: Connection, **values: Any) -> list[Any]:
        """Run it, and return all rows."""
        cursor = self._run(conn, values)
        _, _, _, row, shown = self._compiled or self._compile(conn.dialect)
        found = []
        for plain in cursor.fetchall():
            cells = list(plain)
            for column, convert in shown:
                cells[column] = convert(cells[column])
            found.append(row(cells))
        return found

    def plain(self, conn: Connection, **values: Any) -> list[tuple[Any, ...]]:
        """Run it, and return all rows as the driver has them, for what is only compared: nothing is converted."""
        found: list[tuple[Any, ...]] = self._run(conn, values).fetchall()
        return found

    def first(self, conn: Connection, **values: Any) -> Any:
        """Run it, and return its first row, None if there is none."""
        found = self.rows(conn, **values)
        return found[0] if found else None

    def _run(self, conn: Connection, values: dict[str, Any]) -> Any:
        text, places, fixed, _, _ = self._compiled or self._compile(conn.dialect)
        given = {**fixed, **values}
        driver: Any = conn.connection.driver_connection
        cursor = driver.cursor()
        cursor.execute(text, [convert(given[name]) if convert else given[name] for name, convert in places])
        return cursor

    def _compile(self, dialect: sa.Dialect) -> _Compiled:
        compiled = self._query.compile(dialect=dialect)
        names: Sequence[str] = compiled.positiontup or ()
        binds = {name: compiled.binds[name] for name in names}
        columns = list(self._query.selected_columns)
        converts = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
        named: Any = namedtuple  # of columns that are known at run time only
        row = named("Row", [column.key or "" for column in columns], rename=True)
        self._compiled = _Compiled(
            text=compiled.string,
            places=[(name, binds[name].type.dialect_impl(dialect).bind_processor(dialect)) for name in names],
            fixed={name: bind.effective_value for name, bind in binds.items() if not bind.required},
            row=row._make,
            shown=[(column, convert) for column, convert in enumerate(converts) if convert is not None],
        )
        return self._compiled
