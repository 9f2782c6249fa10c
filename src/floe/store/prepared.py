"""Statements compiled once: what SQLAlchemy does around a small one at each run takes longer than the statement."""

from __future__ import annotations

import functools
import sqlite3
from collections import namedtuple
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.dml import UpdateBase

Convert = Callable[[Any], Any]
Statement = sa.Select[*tuple[Any, ...]] | sa.CompoundSelect[*tuple[Any, ...]] | UpdateBase

_FLOAT = 701
"""What PostgreSQL's driver says of a column of floating point, where SQLAlchemy asks; there are no other fractions."""

_rows_of = msgspec.json.Decoder(list[tuple[Any, ...]]).decode


class _Compiled(NamedTuple):
    text: str
    packed: bool
    """Its rows come as a text each, an array of JSON."""
    places: Sequence[tuple[str, Convert | None]]
    """The parameter that goes to each place of the text, and what makes the driver's value of ours."""
    fixed: dict[str, Any]
    """The values that stand in the statement itself."""
    row: Callable[[Iterable[Any]], Any]
    shown: Sequence[tuple[int, Convert]]
    """The columns whose values differ from the driver's, and what makes ours."""
    runner: Callable[[Connection], Any]
    """Returns what runs it on a connection."""
    later: Callable[[Any, str, Sequence[Sequence[Any]]], Any]
    """Has that run it for many values, by the time that something is asked of the database."""
    begins: bool
    """It is to be within a transaction that SQLAlchemy knows of, else nobody would make its commit."""


class Asked(NamedTuple):
    """A statement with its values, that a read will run."""

    prepared: Prepared
    values: Mapping[str, Any]


class Prepared:
    """A statement for hot paths, whose parameters have names; its rows are named tuples of what SQLAlchemy would give.

    It is compiled once for each kind of database that runs it. One that is worded differently by dialects is given as a
    function of the dialect's name. The parameters of an INSERT are its table's columns, or those of `columns`; there
    are no defaults.

    A SELECT may be `packed`, for many rows with many columns: SQLite then hands over each row as one text, if JSON has
    a form for all that is in it. To ask it for a value takes two locks each time, and is most of what a list costs.
    """

    def __init__(
        self,
        statement: Statement | Callable[[str], Statement],
        *,
        columns: Collection[str] | None = None,
        packed: bool = False,
    ) -> None:
        self._statement = statement
        self._columns = columns
        self._packed = packed
        self._compiled: dict[str, _Compiled] = {}

    def rows(self, conn: Connection, **values: Any) -> list[Any]:
        """Run it, and return all rows, also those that a write returns."""
        compiled = self._compiled.get(conn.dialect.name) or self._compile(conn.dialect)
        return list(map(compiled.row, self._values(conn, compiled, values)))

    def tuples(self, conn: Connection, **values: Any) -> list[tuple[Any, ...]]:
        """Do what `rows` does, for who takes their values by their places: they have no names, which take time."""
        compiled = self._compiled.get(conn.dialect.name) or self._compile(conn.dialect)
        return list(self._values(conn, compiled, values))

    def _values(self, conn: Connection, compiled: _Compiled, values: Mapping[str, Any]) -> Iterable[tuple[Any, ...]]:
        found: Iterable[tuple[Any, ...]] = self._fetched(conn, compiled, values)
        if found and compiled.shown:
            # Column by column: what is called for each value is then only what makes ours of it.
            columns: list[Iterable[Any]] = list(zip(*found, strict=True))
            for column, convert in compiled.shown:
                columns[column] = map(convert, columns[column])
            found = zip(*columns, strict=True)
        return found

    def plain(self, conn: Connection, **values: Any) -> list[tuple[Any, ...]]:
        """Run it, and return all rows as the driver has them, for what is only compared: nothing is converted."""
        compiled = self._compiled.get(conn.dialect.name) or self._compile(conn.dialect)
        return self._fetched(conn, compiled, values)

    def first(self, conn: Connection, **values: Any) -> Any:
        """Run it, and return its first row, None if there is none."""
        found = self.rows(conn, **values)
        return found[0] if found else None

    def write(self, conn: Connection, **values: Any) -> int:
        """Run a write, and return how many rows it changed."""
        changed: int = self._run(
            conn, self._compiled.get(conn.dialect.name) or self._compile(conn.dialect), values
        ).rowcount
        return changed

    def write_each(self, conn: Connection, many: Iterable[Mapping[str, Any]]) -> int:
        """Run a write once for each of many sets of values, and return how many rows it changed in all."""
        compiled = self._compiled.get(conn.dialect.name) or self._compile(conn.dialect)
        ran = _runner(conn, compiled).executemany(compiled.text, [_placed(compiled, values) for values in many])
        changed: int = ran.rowcount
        return changed

    def write_later(self, conn: Connection, *many: Mapping[str, Any]) -> None:
        """Have a write run once for each of these, before what is run next or the commit: it is not waited for.

        What is wrong with it is raised there, so it is for what nobody handles within the transaction.
        """
        compiled = self._compiled.get(conn.dialect.name) or self._compile(conn.dialect)
        compiled.later(_runner(conn, compiled), compiled.text, [_placed(compiled, values) for values in many])

    def asked(self, **values: Any) -> Asked:
        """Return what a read says that will run it; see `Transactions.read`."""
        return Asked(self, values)

    def worded(self, database: sa.Dialect, values: Mapping[str, Any]) -> tuple[str, list[Any]]:
        """Return its text there, and these values as the driver takes them."""
        compiled = self._compiled.get(database.name) or self._compile(database)
        return compiled.text, _placed(compiled, values)

    def _fetched(self, conn: Connection, compiled: _Compiled, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._run(conn, compiled, values).fetchall()
        return _rows_of(f"[{','.join(chain.from_iterable(found))}]") if compiled.packed else found

    def _run(self, conn: Connection, compiled: _Compiled, values: Mapping[str, Any]) -> Any:
        return _runner(conn, compiled).execute(compiled.text, _placed(compiled, values))

    def _compile(self, database: sa.Dialect) -> _Compiled:
        statement = self._statement(database.name) if callable(self._statement) else self._statement
        known: Any = (type(database), database.loaded_dbapi)
        dialect, runner, later = _by_place(*known)
        columns = list(statement.exported_columns)
        packed = self._packed and database.name == "sqlite" and all(_is_in_json(column.type) for column in columns)
        if packed:
            assert isinstance(statement, sa.Select)
            row_as_text = sa.func.json_array(*statement.selected_columns)
            statement = statement.with_only_columns(row_as_text, maintain_column_froms=True)
        compiled: Any = statement.compile(
            dialect=dialect, column_keys=None if self._columns is None else sorted(self._columns)
        )
        if made_elsewhere := [*compiled.insert_prefetch, *compiled.update_prefetch]:
            raise TypeError(f"{made_elsewhere[0]} has a default, which a prepared statement does not know: name it.")
        if compiled.literal_execute_params or compiled.post_compile_params:
            raise TypeError("A list of values, or a limit, stands in the statement itself: name a parameter for each.")
        names: Sequence[str] = compiled.positiontup or ()
        binds = {name: compiled.binds[name] for name in names}
        converts = [column.type.dialect_impl(dialect).result_processor(dialect, _FLOAT) for column in columns]
        named: Any = namedtuple  # of columns that are known at run time only
        row = named("Row", [column.key or "" for column in columns], rename=True)
        made = self._compiled[database.name] = _Compiled(
            text=compiled.string,
            packed=packed,
            places=[(name, binds[name].type.dialect_impl(dialect).bind_processor(dialect)) for name in names],
            fixed={name: bind.effective_value for name, bind in binds.items() if not bind.required},
            row=partial(tuple.__new__, row),  # as `_make` does, which is written in Python
            shown=[(column, convert) for column, convert in enumerate(converts) if convert is not None],
            runner=runner,
            later=later,
            begins=database.name == "sqlite" and isinstance(statement, UpdateBase),
        )
        return made


@functools.cache
def _by_place(
    dialect: type[sa.Dialect], driver: Any
) -> tuple[sa.Dialect, Callable[[Connection], Any], Callable[[Any, str, Sequence[Sequence[Any]]], Any]]:
    """Return what writes statements whose parameters are known by their places, what finds what runs such, and how."""
    styled: Any = dialect
    if dialect.name == "sqlite":
        return styled(dbapi=driver), _sqlite_cursor, sqlite3.Cursor.executemany
    # Only here: the driver takes a while to be read.
    from floe.store.postgres_statements import Statements, statements

    return styled(dbapi=driver, paramstyle="numeric_dollar"), statements, Statements.later


def _is_in_json(kind: sa.types.TypeEngine[Any]) -> bool:
    """Say whether JSON has what SQLite keeps of this type: bytes it has not, and fractions not to the last digit."""
    if isinstance(kind, sa.TypeDecorator):
        return bool(getattr(kind, "in_json", False))
    return isinstance(kind, sa.String | sa.Integer | sa.Boolean)


def _sqlite_cursor(conn: Connection) -> Any:
    driver: Any = conn.connection.driver_connection
    return driver.cursor()


def _runner(conn: Connection, compiled: _Compiled) -> Any:
    if compiled.begins and not conn.in_transaction():
        conn.begin()
    return compiled.runner(conn)


def _placed(compiled: _Compiled, values: Mapping[str, Any]) -> list[Any]:
    """Return the values in the order of their places, as the driver takes them. Raises KeyError for one not given."""
    given = {**compiled.fixed, **values}
    return [convert(given[name]) if convert else given[name] for name, convert in compiled.places]
