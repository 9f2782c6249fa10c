"""What SQLAlchemy compiles is compiled once for all that reads and writes SQLite in a process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from floe.store.engine import Connection, Database

_COMPILED: list[str] = []


class _Seen(FunctionElement[int]):
    """Tells when it is compiled."""

    name = "seen"
    inherit_cache = True
    type = sa.Integer()


@compiles(_Seen)
def _note(_element: _Seen, _compiler: Any, **_how: Any) -> str:
    _COMPILED.append("once")
    return "1"


def _look(conn: Connection) -> int | None:
    return conn.scalar(sa.select(_Seen()))


def test_a_statement_is_compiled_once_for_writers_readers_and_all_files(tmp_path: Path) -> None:
    async def use(db: Database) -> None:
        assert [await db.write(_look), await db.read(_look), await db.scan(_look)] == [1, 1, 1]

    for name in ("one", "other"):
        db = Database(tmp_path / name)
        db.open()
        asyncio.run(use(db))
        db.close()
    assert _COMPILED == ["once"]
