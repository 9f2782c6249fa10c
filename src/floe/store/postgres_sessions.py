"""Connections to a PostgreSQL: made when they are needed, made anew when they were cut, and what went wrong there."""

from __future__ import annotations

import enum
import logging
import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.types.numeric import Int8Dumper
from psycopg.types.string import TextLoader
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.pool import NullPool

from floe.core.errors import FloeError, Invalid, StoreUnavailable
from floe.logs import Rarely
from floe.store.postgres_statements import Statements, keep, statements

log = logging.getLogger(__name__)

PREPARED_FROM = 2
"""How often a statement is run before the server keeps it parsed."""
_CONNECT_SECONDS = 3
_PAUSE = 0.1
"""Seconds between two tries to connect while the server is away."""
_REACH = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}
"""After how long a network that takes and gives nothing is given up; milliseconds, where it is no whole number of s."""


class Failure(enum.Enum):
    """What an error of the database means for whoever asked it."""

    AGAIN = "another transaction was in the way, or changed the tables"
    CLASH = "a constraint was hurt: perhaps by what another transaction did at the same time"
    AWAY = "the server does not answer"
    SLOW = "it took too long"
    REFUSED = "the server could not do it"
    VALUE = "the server keeps no such value"
    OURS = "the statement was wrong"


_CODES = {
    "40001": Failure.AGAIN,
    "40P01": Failure.AGAIN,
    "26000": Failure.AGAIN,
    "23505": Failure.CLASH,
    "23503": Failure.CLASH,
    "23P01": Failure.CLASH,
    "57P01": Failure.AWAY,
    "57P02": Failure.AWAY,
    "57P03": Failure.AWAY,
    "57P05": Failure.AWAY,
    "25P03": Failure.AWAY,
    "57014": Failure.SLOW,
    "55P03": Failure.SLOW,
    "25006": Failure.REFUSED,
    "22021": Failure.VALUE,
    "22003": Failure.VALUE,
    "22P05": Failure.VALUE,
}
_CLASSES = {"08": Failure.AWAY, "53": Failure.REFUSED, "58": Failure.REFUSED, "XX": Failure.REFUSED}
_TOLD = {
    "25006": "it takes no writes (a standby?)",
    "53100": "its disk is full",
    "53200": "it has no memory left",
    "53300": "it has no connection left",
    "55P03": "something else has what it needs locked",
}


def failure(error: BaseException) -> Failure | None:
    """Return what an error means; None of one that is not the database's."""
    raw = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if not isinstance(raw, psycopg.Error):
        return None
    if raw.sqlstate is None:
        # The driver's own: a connection that was cut, or a text that holds what no text here may.
        return Failure.VALUE if isinstance(raw, psycopg.DataError) else Failure.AWAY if _cut(raw) else Failure.OURS
    return _CODES.get(raw.sqlstate) or _CLASSES.get(raw.sqlstate[:2], Failure.OURS)


def _cut(error: psycopg.Error) -> bool:
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)


class Trouble:
    """Turns errors of the server into what may be told of them; what it said itself is for the log."""

    def __init__(self) -> None:
        self._log = Rarely(log)

    def refusal(self, error: BaseException, what: str) -> FloeError | None:
        """Return what may be told of an error of a server that had to `write` or `read`; None if it is another."""
        kind = failure(error)
        if kind is None or kind in {Failure.OURS, Failure.CLASH}:
            return None
        if kind is Failure.VALUE:
            return Invalid(
                "A value cannot be kept: a text holds the character NUL (U+0000), or a number has more than 64 bits."
            )
        raw = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        code = getattr(raw, "sqlstate", None) or ""
        self._log.error(f"{what} {kind.name} {code}", "the database could not %s: %s", what, raw)
        why = _TOLD.get(code, kind.value)
        return StoreUnavailable(f"The database could not {what}: {why}. Nothing was changed; try again later.")


class Server:
    """Where a PostgreSQL is, and whether it is there: for all threads.

    While it is away a call waits for it, for `patience` seconds since it was first missed; after that each is refused
    at once that does not find it back.
    """

    def __init__(self, url: str, *, patience: float, settings: Mapping[str, str]) -> None:
        self.url = address(url)
        self._patience = patience
        self._engine = _engine(self.url, settings)
        self._missed: float | None = None
        self._tried = float("-inf")
        self._trouble = Trouble()
        self._lock = threading.Lock()

    def connect(self) -> Connection:
        """Return a new connection. Raises Unavailable, Invalid where it refuses us."""
        while True:
            with self._lock:
                now = time.monotonic()
                away = self._missed is not None and now - self._missed > self._patience
                if away and now - self._tried < _PAUSE:
                    raise StoreUnavailable("The database does not answer. Nothing was changed; try again later.")
                self._tried = now
            try:
                made = self._engine.connect()
            except sa.exc.DBAPIError as error:
                told = self._trouble.refusal(error, "be reached")
                now = time.monotonic()
                with self._lock:
                    self._missed = self._missed or now
                    away = now - self._missed > self._patience
                if away:
                    raise told or StoreUnavailable("The database cannot be reached.") from None
                time.sleep(_PAUSE)
            else:
                self._missed = None
                return made

    def close(self) -> None:
        """Let go of what connections share."""
        self._engine.dispose()


class Session:
    """A place for one connection, for one thread at a time."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._conn: Connection | None = None
        self._file: int | None = None
        """A handle of the connection's socket, by which any thread may cut it."""
        self._lock = threading.Lock()

    def connection(self) -> Connection:
        """Return the connection, made if need be. Raises Unavailable."""
        if self._conn is None:
            self._conn = self._server.connect()
            driver: Any = self._conn.connection.driver_connection
            with self._lock:
                self._file = os.dup(driver.fileno())
        return self._conn

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, as far as is known here."""
        return self._conn is not None

    def statements(self) -> Statements:
        """Return what runs on the connection, made if need be. Raises Unavailable."""
        return statements(self.connection())

    def end(self) -> None:
        """Undo the transaction that is open, if one is; let go of a connection for which that is not to be had.

        SQLAlchemy is not told: it is in a transaction of its own, of which the server knows nothing, for good.
        """
        if self._conn is None:
            return
        try:
            statements(self._conn).undo()
        except psycopg.Error:
            self.drop()

    def drop(self) -> None:
        """Let go of the connection; the next one who needs it has a new one."""
        conn, self._conn = self._conn, None
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None
        if conn is not None:
            with suppress(Exception):
                conn.invalidate()
            with suppress(Exception):
                conn.close()

    def cut(self) -> None:
        """Cut the connection from another thread: whoever waits for its answer hears that it was lost."""
        with self._lock, suppress(OSError):
            if self._file is not None:
                with socket.socket(fileno=os.dup(self._file)) as handle:
                    handle.shutdown(socket.SHUT_RDWR)


def address(url: str) -> URL:
    """Return where a database is. Raises Invalid for what is no address of a PostgreSQL."""
    try:
        made = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        made = None
    if made is None or made.drivername not in {"postgresql", "postgres"} or not made.database:
        raise Invalid("database must be like postgresql://user:password@host:5432/name, or empty for SQLite.")
    return made.set(drivername="postgresql+psycopg")


def _engine(url: URL, settings: Mapping[str, str]) -> Engine:
    given = url.query.get("options", "")
    options = " ".join(
        [*([given] if isinstance(given, str) and given else []), *(f"-c {k}={v}" for k, v in settings.items())]
    )
    engine = sa.create_engine(
        url.difference_update_query(["options"]),
        poolclass=NullPool,  # a `Session` is the place of a connection
        hide_parameters=True,  # in errors, and so in logs: they hold what tenants sent
        isolation_level="AUTOCOMMIT",  # transactions are begun by our own statements
        use_native_hstore=False,
        native_inet_types=False,
        execution_options={"preserve_rowcount": True},
        connect_args={
            "application_name": "floe",
            "client_encoding": "utf8",
            "connect_timeout": _CONNECT_SECONDS,
            "options": options,
            "prepare_threshold": PREPARED_FROM,
            **_REACH,
        },
    )

    @sa.event.listens_for(engine, "connect")
    def _connect(connection: psycopg.Connection[Any], record: Any) -> None:
        adapters = connection.adapters
        adapters.register_dumper(int, Int8Dumper)  # else a statement would be prepared once for each width of number
        adapters.register_loader("numeric", _Whole)
        adapters.register_loader("inet", TextLoader)
        keep(connection, record.info)

    return engine


class _Whole(psycopg.adapt.Loader):
    """A sum of whole numbers, which PostgreSQL gives as a decimal one."""

    def load(self, data: Any) -> int:
        """Return it; there is no column of decimals, so that it is whole."""
        return int(bytes(data))
