"""Statements that a connection to PostgreSQL keeps parsed, run by what lies below the driver's cursors.

A cursor looks up and weighs at each run what is known here already, and takes longer for it than most statements take
themselves. The driver forgets all that is parsed at each ROLLBACK besides, though the server does not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import abc
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ConnStatus, ExecStatus
from sqlalchemy.engine import Connection

MOST = 400
"""How many statements a connection keeps; a process asks some 250 different ones, and pages in more forms than that."""
_DONE = {ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK, ExecStatus.EMPTY_QUERY}
_REVALIDATING = "RevalidateCachedQuery"
"""Where in the server it is found that a statement no longer gives what it gave; its words are in any language."""
_HERE = "floe_statements"


class Statements:
    """Those of one connection, for one thread at a time. Parameters are `$1`, `$2`, whose types the server infers."""

    def __init__(self, driver: psycopg.Connection[Any], most: int = MOST) -> None:
        self._pg = driver.pgconn
        self._values = Transformer(driver)
        self._names: OrderedDict[str, bytes] = OrderedDict()
        self._made, self._most = 0, most

    def execute(self, text: str, values: Sequence[Any]) -> Done:
        """Run a statement with these values. Raises psycopg.Error as the driver does."""
        name = self._names.get(text)
        if name is None:
            name = self._prepare(text)
        else:
            self._names.move_to_end(text)
        given: Any = self._values.dump_sequence(values, [PyFormat.AUTO] * len(values))
        result = self._pg.exec_prepared(name, given, self._values.formats)
        if result.status not in _DONE:
            raise self._error(text, result)
        return Done(self._values, result)

    def executemany(self, text: str, many: Sequence[Sequence[Any]]) -> Done:
        """Run a statement once for each of these, and return what came of all."""
        return Done(self._values, None, sum(self.execute(text, values).rowcount for values in many))

    def _error(self, text: str, result: Any) -> psycopg.Error:
        error = _error(self._pg, result)
        if isinstance(error, psycopg.errors.InvalidSqlStatementName) or (
            isinstance(error, psycopg.errors.FeatureNotSupported) and error.diag.source_function == _REVALIDATING
        ):
            del self._names[text]
            return Stale(f"It is to be parsed anew: {error}")
        return error

    def _prepare(self, text: str) -> bytes:
        if len(self._names) >= self._most:
            _, last = self._names.popitem(last=False)
            execute(self._pg, b"DEALLOCATE " + last)
        self._made += 1
        name = b"floe_%d" % self._made
        result = self._pg.prepare(name, text.encode())
        if result.status not in _DONE:
            raise _error(self._pg, result)
        self._names[text] = name
        return name


class Stale(psycopg.Error):
    """A statement's columns have changed since it was parsed, or somebody else let go of it; it is to be run again."""

    sqlstate = "26000"


class Done:
    """What came of a statement, until the next one is run."""

    __slots__ = ("_result", "_values", "rowcount")

    def __init__(self, values: abc.Transformer, result: Any, changed: int = 0) -> None:
        self._values, self._result = values, result
        self.rowcount: int = changed if result is None else result.command_tuples or 0
        """How many rows it changed, or has."""

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return its rows."""
        self._values.set_pgresult(self._result)
        rows: list[tuple[Any, ...]] = self._values.load_rows(0, self._result.ntuples, tuple)
        return rows


def statements(conn: Connection) -> Statements:
    """Return what a connection keeps."""
    there: Any = conn.connection
    found: Statements | None = there.info.get(_HERE)  # it goes with the driver's connection
    if found is None:
        found = there.info[_HERE] = Statements(there.driver_connection)
    return found


def execute(connection: psycopg.pq.abc.PGconn, statement: bytes) -> int:
    """Run statements that take no values, several at once if need be; return how many rows the last one changed."""
    result = connection.exec_(statement)
    if result.status not in _DONE:
        raise _error(connection, result)
    return result.command_tuples or 0


def _error(connection: psycopg.pq.abc.PGconn, result: Any) -> psycopg.Error:
    if connection.status == ConnStatus.BAD and not result.error_field(psycopg.pq.DiagnosticField.SQLSTATE):
        return psycopg.OperationalError(result.get_error_message())
    return psycopg.errors.error_from_result(result)
