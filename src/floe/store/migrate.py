"""The schema's version: brought up to date at start, without importing Alembic when it is so already.

Migrations only ever add (columns with defaults, tables, indexes), so that the release before goes on working on
the newer schema: a version that this release does not know is accepted, and said in the log.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from floe.store import generations, holdings, port_bindings, quota_usages

log = logging.getLogger(__name__)

_VERSIONS = Path(__file__).parent / "migrations" / "versions"
HEAD = max(path.name.partition("_")[0] for path in _VERSIONS.glob("0*.py"))
"""The newest version this release knows; a house test holds it against the migrations."""

_SEALED_FROM = "0008"
"""Before this version passwords lay readable in the actions."""


def current(path: Path) -> str | None:
    """Return the version of the database file, None where there is none yet."""
    if not path.exists():
        return None
    with closing(sqlite3.connect(path, timeout=10)) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
    return str(row[0]) if row else None


def ensure(path: Path) -> None:
    """Bring the database file to this release's schema, making it if need be."""
    found = current(path)
    if found is not None and found > HEAD:
        log.warning("the database %s has schema %s, newer than this release's %s; going on", path, found, HEAD)
        return
    if found != HEAD:
        if found is not None and found < _SEALED_FROM:
            _wipe(path)
        upgrade(path)
    _mend(path)


def _mend(path: Path) -> None:
    """See that the database keeps what it keeps itself, all of it or nothing: a migration may have lost its triggers.

    And that it says where something of a server may be, though a release that said nothing of it was at work.
    """
    driver = {"isolation_level": None, "timeout": 10}
    engine = sa.create_engine(f"sqlite:///{path}", hide_parameters=True, connect_args=driver)
    try:
        with engine.connect() as conn:
            for itself, does in (
                (quota_usages, "counts what quotas limit"),
                (port_bindings, "keeps bindings of ports"),
                (generations, "counts changes of aggregates"),
            ):
                if not itself.kept(conn):
                    conn.exec_driver_sql("BEGIN IMMEDIATE")
                    itself.keep(conn)
                    conn.exec_driver_sql("COMMIT")
                    log.info("the database %s %s", path, does)
            conn.exec_driver_sql("BEGIN IMMEDIATE")
            if missed := holdings.mend(conn):
                log.info("the database %s says of %d more guests where they may be", path, missed)
            conn.exec_driver_sql("COMMIT")
    finally:
        engine.dispose()


def upgrade(path: Path, revision: str = "head") -> None:
    """Run the migrations up to `revision`."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["path"] = path
    command.upgrade(config, revision)


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
