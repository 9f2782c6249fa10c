"""Migrations and tables say the same, and the release before goes on working on the newer schema."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from floe.store import migrate, schema


def test_the_newest_migration_is_the_one_that_the_release_knows() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == migrate.HEAD


def test_migrations_make_exactly_the_tables_that_the_code_declares(tmp_path: Path) -> None:
    file = tmp_path / "floe.db"
    migrate.ensure(file)
    engine = sa.create_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.load()) == []
    engine.dispose()


def test_a_database_that_is_up_to_date_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "floe.db"
    migrate.ensure(file)
    with closing(sqlite3.connect(file)) as connection:
        before = connection.execute("PRAGMA schema_version").fetchone()
    migrate.ensure(file)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA schema_version").fetchone() == before


def test_a_newer_schema_is_accepted_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "floe.db"
    migrate.ensure(file)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with caplog.at_level(logging.WARNING):
        migrate.ensure(file)
    assert "newer than this release's" in caplog.text
    assert migrate.current(file) == "9999"


def test_a_file_that_is_no_database_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "floe.db"
    file.write_text("this is no database, and somebody may want it back" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        migrate.ensure(file)
    assert file.read_text().startswith("this is no database")


def test_a_quota_set_before_it_was_noted_when_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "floe.db"
    migrate.upgrade(file, "0001")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("INSERT INTO quotas (project_id, resource, \"limit\") VALUES ('p', 'port', 7)")
    migrate.ensure(file)
    with closing(sqlite3.connect(file)) as connection:
        kept = connection.execute('SELECT resource, "limit", set_at FROM quotas').fetchall()
    assert kept == [("port", 7, None)]
