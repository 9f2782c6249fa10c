from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from floe.core.errors import Unavailable
from floe.store.engine import Connection, Database

things = sa.Table("things", sa.MetaData(), sa.Column("name", sa.String, primary_key=True))


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "x.db")
    database.open()
    await database.write(things.create)
    yield database
    database.close()


def _add(name: str) -> object:
    def insert(conn: Connection) -> str:
        conn.execute(things.insert().values(name=name))
        return name

    return insert


async def _names(db: Database) -> list[str]:
    return await db.read(lambda conn: list(conn.scalars(sa.select(things.c.name).order_by(things.c.name))))


async def test_what_is_written_can_be_read_at_once(db: Database) -> None:
    assert await db.write(_add("a")) == "a"
    assert await _names(db) == ["a"]


async def test_a_write_that_fails_undoes_itself_and_not_its_company(db: Database) -> None:
    def fail(conn: Connection) -> None:
        conn.execute(things.insert().values(name="half"))
        raise LookupError("no")

    results = await asyncio.gather(
        *(db.write(_add(f"n{index}")) for index in range(20)), db.write(fail), return_exceptions=True
    )
    assert isinstance(results[-1], LookupError)
    assert results[:-1] == [f"n{index}" for index in range(20)]
    assert "half" not in await _names(db)
    assert len(await _names(db)) == 20


async def test_a_lone_write_that_fails_leaves_nothing(db: Database) -> None:
    def fail(conn: Connection) -> None:
        conn.execute(things.insert().values(name="half"))
        raise LookupError("no")

    with pytest.raises(LookupError):
        await db.write(fail)
    assert await _names(db) == []


async def test_writes_that_come_together_share_commits(db: Database) -> None:
    before = db.commits
    await asyncio.gather(*(db.write(_add(f"n{index}")) for index in range(60)))
    assert db.commits - before == 1
    await asyncio.gather(*(db.write(_add(f"m{index}")) for index in range(150)))
    assert db.commits - before == 1 + 3  # sixty-four at once, so that nobody waits for too many others


async def test_a_write_whose_caller_has_gone_is_not_done_and_its_company_is(db: Database) -> None:
    waiting = [asyncio.ensure_future(db.write(_add(f"n{index}"))) for index in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(each) for each in done] == ["n0", "", "n2"]
    assert await _names(db) == ["n0", "n2"]


def test_writes_of_one_event_loop_after_another_are_done(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.db")
    database.open()

    async def leave_one_behind() -> None:
        await database.write(things.create)
        asyncio.get_running_loop().call_soon(asyncio.get_running_loop().stop)
        await database.write(_add("left behind"))

    loop = asyncio.new_event_loop()
    with pytest.raises(RuntimeError, match="stopped before"):
        loop.run_until_complete(leave_one_behind())
    loop.close()
    assert asyncio.run(asyncio.wait_for(database.write(_add("next")), 60)) == "next"
    database.close()


async def test_what_was_asked_before_close_is_written(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.db")
    database.open()
    await database.write(things.create)
    pending = [asyncio.ensure_future(database.write(_add(f"n{index}"))) for index in range(10)]
    await asyncio.sleep(0)
    database.close()
    assert await asyncio.gather(*pending) == [f"n{index}" for index in range(10)]
    with pytest.raises(Unavailable):
        await database.write(_add("late"))


async def test_the_durable_settings_are_on(db: Database) -> None:
    found = await db.read(lambda conn: conn.exec_driver_sql("PRAGMA synchronous").scalar_one())
    mode = await db.read(lambda conn: conn.exec_driver_sql("PRAGMA journal_mode").scalar_one())
    assert (found, mode) == (2, "wal")


@pytest.mark.parametrize("size", [20, 20_000], ids=["within a page", "in pages of its own"])
async def test_what_is_erased_is_not_left_in_free_space(tmp_path: Path, size: int) -> None:
    database = Database(tmp_path / "x.db")
    database.open()
    await database.write(things.create)
    secret = "Pa55w0rd" * (size // 8)
    for name in ("a", secret, "z"):
        await database.write(_add(name))
    await database.write(lambda conn: conn.execute(things.delete().where(things.c.name == secret)))
    database.close()
    assert [path.name for path in tmp_path.iterdir() if b"Pa55w0rd" in path.read_bytes()] == []


async def test_the_log_that_grew_under_a_long_read_is_cut_back_after_it(db: Database, tmp_path: Path) -> None:
    log, most = tmp_path / "x.db-wal", 16 * 2**20

    def fill(conn: Connection) -> None:
        conn.execute(things.insert(), [{"name": f"{number} {'x' * 4000}"} for number in range(1000)])
        conn.execute(things.delete())

    with Database(tmp_path / "x.db")._engine.connect() as long_read:
        long_read.exec_driver_sql("BEGIN")
        long_read.exec_driver_sql("SELECT * FROM things").all()
        while log.stat().st_size <= 2 * most:
            await db.write(fill)
        long_read.rollback()
    for _ in range(3):
        await db.write(fill)
    assert log.stat().st_size <= most
