"""Statements that a connection to PostgreSQL keeps parsed, run by what lies below the driver's cursors.

A cursor looks up and weighs at each run what is known here already, and takes longer for it than most statements take
themselves. The driver forgets all that is parsed at each ROLLBACK besides, though the server does not.

Each way to the server and back costs both sides a wait: what begins a transaction goes with its first statement in one
message, and the answer to what ends one that is of no use any more is read when the connection is next needed.
"""

from __future__ import annotations

import select
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import psycopg
import sqlalchemy as sa
from psycopg import abc
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from sqlalchemy.engine import Connection

MOST = 400
"""How many statements a connection keeps; a process asks some 250 different ones, and pages in more forms than that."""
HOLD_SECONDS = 1.0
"""For how long a transaction waits for those of its owners that other processes have under way."""
_DONE = {ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK, ExecStatus.EMPTY_QUERY}
_REVALIDATING = "RevalidateCachedQuery"
"""Where in the server it is found that a statement no longer gives what it gave; its words are in any language."""
_READS = "SELECT"
"""Begins what changes nothing: all that is prepared and begins so."""
HERE = "floe_statements"


class Statements:
    """Those of one connection, for one thread at a time. Parameters are `$1`, `$2`, whose types the server infers."""

    def __init__(self, driver: psycopg.Connection[Any], most: int = MOST) -> None:
        self._pg = driver.pgconn
        self._values = Transformer(driver)
        self._names: OrderedDict[str, bytes] = OrderedDict()
        self._made, self._most = 0, most
        self._ahead: list[_Ready] = []
        self.unsent = False
        """A write is still to be run, of which nobody has heard whether it can be done."""
        self._owed = False
        """An answer is still to be read."""
        self._holds = False
        """The session has locks, which are to be given back."""
        self._foreseen: list[tuple[str, Sequence[Any], Any]] = []
        """Statements with their values, and what they came to; until something is written."""
        self._poll = select.poll()
        self._poll.register(self._pg.socket, select.POLLIN)

    def execute(self, text: str, values: Sequence[Any]) -> Done:
        """Run a statement with these values. Raises psycopg.Error as the driver does."""
        for known, given, result in self._foreseen:
            if known == text and given == values:
                return Done(self._values, result)
        if not text.startswith(_READS):
            self._foreseen = []
        ready = self._ready(text, values)
        if self._ahead or self._owed:
            return Done(self._values, self._run([*self._taken(), ready])[-1])
        result = self._pg.exec_prepared(*ready[1:])
        if result.status not in _DONE:
            raise self._error(text, result)
        return Done(self._values, result)

    def executemany(self, text: str, many: Sequence[Sequence[Any]]) -> Done:
        """Run a statement once for each of these, and return what came of all."""
        self._foreseen = []
        ready = [self._ready(text, values) for values in many]
        results = self._run([*self._taken(), *ready]) if ready else []
        return Done(self._values, None, sum(result.command_tuples or 0 for result in results[-len(ready) :]))

    def ahead(self, text: str, *values: Any) -> None:
        """Have a statement run just before the next one, in one message with it."""
        self._foreseen = []
        self._ahead.append(self._ready(text, values))

    def later(self, text: str, many: Sequence[Sequence[Any]]) -> None:
        """Have a write run once for each of these just before the next statement, in one message with it."""
        self._foreseen = []
        self._ahead += [self._ready(text, values) for values in many]
        self.unsent = True

    def foresee(self, dialect: sa.Dialect, reads: Iterable[Callable[[Any], Any]]) -> None:
        """Ask in one message what these ask; see `foresight.foresee`."""
        unanswered = _Unanswered(dialect)
        for read in reads:
            with suppress(_NotPrepared):
                read(unanswered)
        if not unanswered.asked:
            return
        ready = [self._ready(text, values) for text, values in unanswered.asked]
        results = self._run([*self._taken(), *ready])[-len(ready) :]
        self._foreseen += [(*asked, result) for asked, result in zip(unanswered.asked, results, strict=True)]

    def hold(self, keys: Sequence[int]) -> None:
        """Have the session take these locks before the transaction that comes next, and give them back with its end.

        They go in one message with what begins it, and it begins, so that it sees what was done by whoever had them
        before. It begins without them after `HOLD_SECONDS`: they keep it from being run again, and no more.
        """
        self._ahead.append(self._ready(_HOLD, [str(int(HOLD_SECONDS * 1000)), sorted(keys)])._replace(apart=True))

    def flush(self) -> int:
        """Run what is to be run before the next statement; return how many rows the last of it changed."""
        if not self._ahead:
            self._settle()
            return 0
        return self._run(self._taken())[-1].command_tuples or 0

    def cursor(self, driver: psycopg.Connection[Any], **how: Any) -> psycopg.Cursor[Any]:
        """Make a cursor of the driver's, for a statement that is not kept here."""
        self._foreseen = []
        self.flush()
        return psycopg.Cursor(driver, **how)

    def undo(self) -> None:
        """Undo the transaction that is open, if one is, and do not wait for the answer."""
        self._foreseen = []
        self._taken()
        if self._owed:
            return
        ends = [b"ROLLBACK"] if self._pg.transaction_status != TransactionStatus.IDLE else []
        if self._holds:
            ends.append(_GIVE_BACK)
            self._holds = False
        if ends:
            self._pg.send_query(b";".join(ends))
            self._send()
            self._owed = True

    def commit(self) -> None:
        """Run what is to be run before the next statement, and commit, in one message. What failed was not committed.

        Raises psycopg.OperationalError where nobody knows, the connection being lost.
        """
        self._foreseen = []
        ends = [_COMMIT, _RELEASE] if self._holds else [_COMMIT]
        self._run([*self._taken(), *ends])
        self._holds = False

    def _taken(self) -> list[_Ready]:
        ahead, self._ahead, self.unsent = self._ahead, [], False
        return ahead

    def _ready(self, text: str, values: Sequence[Any]) -> _Ready:
        name = self._names.get(text)
        if name is None:
            name = self._prepare(text)
        else:
            self._names.move_to_end(text)
        given: Any = self._values.dump_sequence(values, [PyFormat.AUTO] * len(values))
        return _Ready(text, name, given, self._values.formats)

    def _prepare(self, text: str) -> bytes:
        self._settle()
        if len(self._names) >= self._most:
            _, last = self._names.popitem(last=False)
            self._pg.exec_(b"DEALLOCATE " + last)
        self._made += 1
        name = b"floe_%d" % self._made
        result = self._pg.prepare(name, text.encode())
        if result.status not in _DONE:
            raise _error(self._pg, result)
        self._names[text] = name
        return name

    def _run(self, many: Sequence[_Ready]) -> list[Any]:
        """Run statements in one message; return what came of each, of which none failed but those that are apart."""
        self._settle()
        pg, parts = self._pg, 1
        pg.enter_pipeline_mode()
        for ready in many:
            if ready.name:
                pg.send_query_prepared(ready.name, ready.given, ready.formats)
            else:
                pg.send_query_params(ready.text.encode(), None)
            if ready.apart:
                pg.pipeline_sync()
                self._holds, parts = True, parts + 1
        pg.pipeline_sync()
        results = self._answers(parts)
        pg.exit_pipeline_mode()
        for ready, result in zip(many, results, strict=True):
            if result.status not in _DONE and not ready.apart:
                raise self._error(ready.text, result)
        return results

    def _answers(self, parts: int) -> list[Any]:
        """Return what came of everything that was sent in one message, which has so many parts."""
        self._send()
        found: list[Any] = []
        while True:
            result = self._answer()
            if result is None:  # there is one between two statements
                if self._pg.status == ConnStatus.BAD:
                    raise psycopg.OperationalError("The connection was lost.")
            elif result.status == ExecStatus.PIPELINE_SYNC:
                parts -= 1
                if not parts:
                    return found
            else:
                found.append(result)
                if self._pg.status == ConnStatus.BAD:
                    raise _error(self._pg, result)

    def _settle(self) -> None:
        while self._owed:
            result = self._answer()
            if result is None:
                self._owed = False
            elif result.status not in _DONE:
                raise _error(self._pg, result)

    def _answer(self) -> Any:
        while self._pg.is_busy():  # to wait for a result there would keep all other threads waiting
            self._poll.poll()
            self._pg.consume_input()
        return self._pg.get_result()

    def _send(self) -> None:
        while self._pg.flush():
            self._poll.modify(self._pg.socket, select.POLLIN | select.POLLOUT)
            ((_, what),) = self._poll.poll()
            self._poll.modify(self._pg.socket, select.POLLIN)
            if what & select.POLLIN:
                self._pg.consume_input()

    def _error(self, text: str, result: Any) -> psycopg.Error:
        error = _error(self._pg, result)
        if isinstance(error, psycopg.errors.InvalidSqlStatementName) or (
            isinstance(error, psycopg.errors.FeatureNotSupported) and error.diag.source_function == _REVALIDATING
        ):
            self._names.pop(text, None)
            return Stale(f"It is to be parsed anew: {error}")
        return error


class _NotPrepared(Exception):
    """A read asks something else than a prepared statement."""


class _Unanswered:
    """What a read is given for a connection so that one sees what it asks: it finds nothing."""

    rowcount = 0

    def __init__(self, dialect: sa.Dialect) -> None:
        self.dialect, self.asked = dialect, list[tuple[str, Sequence[Any]]]()
        self.connection, self.info = self, {HERE: self}

    def execute(self, text: Any, values: Sequence[Any] = ()) -> _Unanswered:
        """Note what is asked."""
        if not isinstance(text, str) or not text.startswith(_READS):
            raise _NotPrepared
        self.asked.append((text, values))
        return self

    def fetchall(self) -> list[Any]:
        """Return no rows."""
        return []

    def __getattr__(self, name: str) -> Any:
        """There is no other way to ask."""
        raise _NotPrepared(name)


class _Ready(NamedTuple):
    """A statement that the server keeps, and the values for it; or one without a name, which it does not keep."""

    text: str
    name: bytes = b""
    given: Any = None
    formats: Any = None
    apart: bool = False
    """It is no part of the transaction that follows, which does not mind if it failed."""


_HOLD = "SELECT set_config('lock_timeout', $1::TEXT, true), pg_advisory_lock(key) FROM unnest($2::BIGINT[]) AS key"
_GIVE_BACK = b"SELECT pg_advisory_unlock_all()"
_COMMIT = _Ready("COMMIT")  # in plain text, so that it can be told what is on the wire
_RELEASE = _Ready(_GIVE_BACK.decode())


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


def keep(driver: psycopg.Connection[Any], info: dict[Any, Any]) -> None:
    """Have a new connection keep statements; `info` is what SQLAlchemy knows of it, as long as it has it."""
    kept = info[HERE] = Statements(driver)
    driver.cursor_factory = kept.cursor  # type: ignore[assignment]  # it is called as a class is


def statements(conn: Connection) -> Statements:
    """Return what a connection keeps."""
    found: Statements = conn.connection.info[HERE]
    return found


def _error(connection: psycopg.pq.abc.PGconn, result: Any) -> psycopg.Error:
    if connection.status == ConnStatus.BAD and not result.error_field(psycopg.pq.DiagnosticField.SQLSTATE):
        return psycopg.OperationalError(result.get_error_message())
    return psycopg.errors.error_from_result(result)
