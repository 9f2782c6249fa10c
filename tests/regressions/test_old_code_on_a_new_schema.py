"""A release goes on working while the database has the next release's schema: migrations only add."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def first_start(first_start: Path, tmp_path: Path) -> Path:
    """A state directory whose database a later release has migrated."""
    folder = tmp_path / "migrated"
    shutil.copytree(first_start, folder)
    with closing(sqlite3.connect(folder / "floe.db")) as db:
        for table in ("servers", "actions", "action_steps", "ports", "hosts", "allocations"):
            db.execute(f"ALTER TABLE {table} ADD COLUMN from_later TEXT")
        db.execute("CREATE TABLE of_later (id INTEGER PRIMARY KEY, text TEXT NOT NULL DEFAULT '')")
        db.execute("UPDATE alembic_version SET version_num = '9999'")
        db.commit()
    return folder


async def test_servers_are_built_and_deleted_on_a_newer_schema(start: Any, kit: Any) -> None:
    user = await start(hosts=2)
    ident = await user.built()
    await user.delete(ident)
    await kit.until(lambda: user.gone(ident))
    await user.cloud.settled()
    assert kit.violations(user.cloud) == []
