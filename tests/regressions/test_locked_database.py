"""A database that another process had locked for too long made requests fail with 500, and builds with them.

A write that its caller had given up ended the writer, and all writes after it, when its commit failed.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from floe.core.errors import StoreUnavailable
from floe.store.engine import Connection, Database

things = sa.Table("things", sa.MetaData(), sa.Column("name", sa.String, primary_key=True))


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "x.db", patience=0.1)
    database.open()
    await database.write(things.create)
    yield database
    database.close()


@pytest.mark.parametrize("writes", [1, 5])
async def test_writes_to_a_locked_database_are_refused_as_such_and_leave_nothing(db: Database, writes: int):
    def add(conn: Connection) -> None:
        conn.execute(things.insert().values(name="x"))

    other = sqlite3.connect(db.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    refusals = await asyncio.gather(*(db.write(add) for _ in range(writes)), return_exceptions=True)
    other.execute("ROLLBACK")
    other.close()
    assert [type(refusal) for refusal in refusals] == [StoreUnavailable] * writes
    assert await db.read(lambda conn: conn.scalars(sa.select(things.c.name)).all()) == []
    await db.write(add)


async def test_a_write_nobody_waits_for_may_fail(db: Database):
    busy, go_on = threading.Event(), threading.Event()

    def hold(_conn: Connection) -> None:
        busy.set()
        go_on.wait(10)

    def end_the_transaction(conn: Connection) -> None:
        conn.exec_driver_sql("ROLLBACK")  # as SQLite itself does when the disk is full

    held = asyncio.ensure_future(db.write(hold))
    await asyncio.to_thread(busy.wait, 10)
    together = [asyncio.ensure_future(db.write(end_the_transaction)) for _ in range(3)]
    await asyncio.sleep(0)
    together[1].cancel()
    await asyncio.sleep(0)
    go_on.set()
    await held
    results = await asyncio.gather(*together, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable, asyncio.CancelledError, StoreUnavailable]
    await asyncio.wait_for(db.write(lambda _conn: None), 10)
