"""The schema's version: brought up to date at start, without importing Alembic when it is so already.

Migrations only ever add (columns with defaults, tables, indexes), so that the release before goes on working on
the newer schema: a version that this release does not know is accepted, and said in the log.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.errors import Invalid, StoreUnavailable
from floe.store import address_columns, generations, holdings, port_bindings, quota_usages

log = logging.getLogger(__name__)

T = TypeVar("T")

Where = Path | str
"""A database: the file of SQLite, or the address of a PostgreSQL."""

_VERSIONS = Path(__file__).parent / "migrations" / "versions"
HEAD = max(path.name.partition("_")[0] for path in _VERSIONS.glob("0*.py"))
"""The newest version this release knows; a house test holds it against the migrations."""

_SEALED_FROM = "0008"
"""Before this version passwords lay readable in the actions."""


_BUSY = frozenset({"40P01", "55P03"})
"""What PostgreSQL says of a deadlock, and of a lock that was waited for in vain."""
_TRIES, _PAUSE_SECONDS = 60, 0.5
_LOCK_SECONDS = 0.5
"""How long a change waits for a table: others wait behind it, and a deadlock is looked for after 1 s, at their cost."""
_LOCK = 0x466C6F65
"""By which one process at a time changes the schema of a PostgreSQL."""


def current(where: Where) -> str | None:
    """Return the version of the database, None where there is none yet. Raises Unavailable, Invalid."""
    if isinstance(where, Path):
        return _current_of_file(where)
    with connected(where) as conn:
        there = conn.exec_driver_sql("SELECT to_regclass('alembic_version')").scalar()
        row = conn.exec_driver_sql("SELECT version_num FROM alembic_version").first() if there else None
    return str(row[0]) if row else None


def _current_of_file(path: Path) -> str | None:
    if not path.exists():
        return None
    with closing(sqlite3.connect(path, timeout=10)) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
    return str(row[0]) if row else None


def ensure(where: Where) -> None:
    """Bring the database to this release's schema, making it if need be. Raises Unavailable, Invalid."""
    found = current(where)
    if found is not None and found > HEAD:
        log.warning("the database %s has schema %s, newer than this release's %s; going on", shown(where), found, HEAD)
        return
    if found != HEAD:
        if found is not None and found < _SEALED_FROM and isinstance(where, Path):
            _wipe(where)
        upgrade(where)
    _mend(where)


def _mend(where: Where) -> None:
    """See that the database keeps what it keeps itself, all of it or nothing: a migration may have lost its triggers.

    And that it says where something of a server may be, though a release that said nothing of it was at work.
    """
    with connected(where) as conn:
        for itself, does in (
            (quota_usages, "counts what quotas limit"),
            (port_bindings, "keeps bindings of ports"),
            (generations, "counts changes of aggregates"),
        ):
            if not itself.kept(conn):
                _patiently(partial(_alone, conn, itself.keep))
                log.info("the database %s %s", shown(where), does)
        if missed := _patiently(partial(_alone, conn, holdings.mend)):
            log.info("the database %s says of %d more guests where they may be", shown(where), missed)


def upgrade(where: Where, revision: str = "head") -> None:
    """Run the migrations up to `revision`, all of them or none; one by one on a PostgreSQL that others work with.

    There each holds the tables that it changes, and nothing else, while it waits for one: others come to an end.
    """
    from alembic import command
    from alembic.script import ScriptDirectory

    found = None if isinstance(where, Path) else current(where)
    if found is None:
        run(where, command.upgrade, revision)
        return
    known = ScriptDirectory.from_config(_config())
    for each in reversed([script.revision for script in known.iterate_revisions(revision, found)]):
        _patiently(partial(run, where, command.upgrade, each))


def _patiently(change: Callable[[], T]) -> T:
    """Change a schema, again where others hold for too long what that needs, or wait for it themselves.

    Raises StoreUnavailable when they do so for a minute.
    """
    for _ in range(_TRIES):
        try:
            return change()
        except sa.exc.OperationalError as error:
            if getattr(error.orig, "sqlstate", None) not in _BUSY:
                raise
            held = error.orig
            log.info("the schema is in use, and is changed a little later: %s", held)
            time.sleep(_PAUSE_SECONDS)
    raise StoreUnavailable(
        "The schema could not be changed for a minute, as others hold its tables; look in pg_stat_activity for who has "
        f"a transaction open for long, end that, and do this again. PostgreSQL says: {held}"
    )


def _alone(conn: Connection, change: Callable[[Connection], T]) -> T:
    with alone(conn):
        if conn.dialect.name == "postgresql":
            conn.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
        return change(conn)


def _config() -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def run(where: Where, command: Callable[[Any, str], None], revision: str) -> None:
    """Run one of Alembic's commands, in one transaction: all of it or nothing."""
    config = _config()
    with connected(where) as conn:
        config.attributes["connection"] = conn
        _alone(conn, lambda _conn: command(config, revision))


def shown(where: Where) -> str:
    """Return the name of a database without the password that may stand in it."""
    return str(where) if isinstance(where, Path) else sa.make_url(where).render_as_string(hide_password=True)


@contextmanager
def connected(where: Where) -> Iterator[Connection]:
    """Give a connection on which nothing is begun but by our own statements."""
    if isinstance(where, str):
        from floe.store.postgres_sessions import Server

        server = Server(where, patience=10.0, settings={"lock_timeout": "10s"})
        conn = server.connect()
        try:
            _sound(conn)
            yield conn
        finally:
            conn.close()
            server.close()
        return
    driver = {"isolation_level": None, "timeout": 10}
    engine = sa.create_engine(f"sqlite:///{where}", hide_parameters=True, connect_args=driver)
    sa.event.listen(engine, "connect", lambda connection, _record: address_columns.teach(connection))
    try:
        with engine.connect() as conn:
            yield conn
    finally:
        engine.dispose()


@contextmanager
def alone(conn: Connection) -> Iterator[None]:
    """Have no other process change the schema meanwhile; a transaction, schema and all."""
    conn.rollback()  # what SQLAlchemy takes for one, since something was read
    with conn.begin():
        postgres = conn.dialect.name == "postgresql"
        conn.exec_driver_sql("BEGIN" if postgres else "BEGIN IMMEDIATE")
        try:
            if postgres:
                conn.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            yield
        except BaseException:
            conn.exec_driver_sql("ROLLBACK")
            raise
        conn.exec_driver_sql("COMMIT")


def _sound(conn: Connection) -> None:
    """Raise Invalid for a database that would not keep or sort text as SQLite does."""
    query = (
        "SELECT datname, pg_encoding_to_char(encoding),"
        " CASE WHEN to_jsonb(d) ->> 'datlocprovider' = 'i' THEN 'icu' ELSE datcollate END"  # said since version 15
        " FROM pg_database d WHERE datname = current_database()"
    )
    name, encoding, collation = conn.exec_driver_sql(query).one()
    if encoding != "UTF8" or collation not in {"C", "POSIX", "C.UTF-8", "C.utf8", "ucs_basic"}:
        raise Invalid(
            f"The database {name} keeps text as {encoding} and sorts it by {collation}; it must be UTF8 and C: "
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'."
        )


def _wipe(path: Path) -> None:
    """Take passwords and files out of actions that have ended, and their pieces out of free pages and the log.

    Comes before the migrations, so that it is done again after a crash. Those of open actions are sealed at start.
    """
    with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute(
            "UPDATE actions SET input = json_remove(input, '$.admin_password', '$.files') "
            "WHERE kind = 'create' AND state NOT IN ('pending', 'running', 'undoing')"
        )
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
