"""Reads: the short ones at once, the long ones beside the event loop, all of them bounded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from threading import get_ident

import pytest

from floe.core.callers import CALLER
from floe.core.counters import Counters
from floe.core.errors import Busy, Unavailable
from floe.store.engine import Connection, Database
from floe.store.readers import MOVED, SCANNED, STEPS

_NUMBERS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n{}) SELECT count(*) FROM n"


def _count(up_to: int) -> str:
    return _NUMBERS.format(f" WHERE x < {up_to}")


_ENDLESS = _NUMBERS.format("")


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
async def db(tmp_path: Path, counters: Counters) -> AsyncIterator[Database]:
    database = Database(tmp_path / "x.db", counters=counters)
    database.open()
    yield database
    database.close()


def _where(conn: Connection, statement: str) -> tuple[int, int]:
    return int(conn.exec_driver_sql(statement).scalar_one()), get_ident()


async def test_a_short_read_runs_at_once(db: Database, counters: Counters) -> None:
    assert await db.read(lambda conn: _where(conn, _count(10))) == (10, get_ident())
    assert counters.total(SCANNED) == 0


async def test_a_read_that_proves_long_is_done_in_a_thread_and_loses_nothing(db: Database, counters: Counters) -> None:
    found, thread = await db.read(lambda conn: _where(conn, _count(STEPS)))
    assert found == STEPS
    assert thread != get_ident()
    assert (counters.total(MOVED), counters.total(SCANNED)) == (1, 1)


async def test_the_budget_is_that_of_a_read_not_of_a_statement(db: Database, counters: Counters) -> None:
    def look(conn: Connection) -> list[tuple[int, int]]:
        return [_where(conn, _count(STEPS // 20)) for _ in range(20)]

    (only,) = set(await db.read(look))
    assert only[1] != get_ident()
    for _ in range(20):
        assert (await db.read(lambda conn: _where(conn, _count(STEPS // 20))))[1] == get_ident()
    assert counters.total(MOVED) == 1


async def test_a_read_that_fails_is_not_taken_for_a_long_one(db: Database, counters: Counters) -> None:
    with pytest.raises(Unavailable, match="did not take the statement"):
        await db.read(lambda conn: conn.exec_driver_sql("SELECT * FROM missing"))
    assert counters.total(SCANNED) == 0


async def test_nobody_waits_for_a_long_read_but_long_ones(db: Database) -> None:
    others_read = threading.Event()

    def slow(conn: Connection) -> bool:
        conn.exec_driver_sql("SELECT 1")
        return others_read.wait(30)

    long = [asyncio.create_task(db.scan(slow)) for _ in range(10)]
    await asyncio.sleep(0)
    assert await db.read(lambda conn: _where(conn, _count(10))) == (10, get_ident())
    others_read.set()
    assert all(await asyncio.gather(*long))


async def test_a_read_that_would_never_end_is_given_up(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.db", read_seconds=0.05)
    database.open()
    with pytest.raises(Unavailable, match=r"longer than 0\.05 s"):
        await database.read(lambda conn: _where(conn, _ENDLESS))
    assert (await database.read(lambda conn: _where(conn, _count(5))))[0] == 5
    database.close()


async def test_nothing_is_read_for_one_who_has_gone(db: Database) -> None:
    gone = [asyncio.create_task(db.scan(lambda conn: _where(conn, _ENDLESS))) for _ in range(6)]
    await asyncio.sleep(0)
    for task in gone:
        task.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    assert (await db.scan(lambda conn: _where(conn, _count(5))))[0] == 5


async def test_a_flood_of_long_reads_is_refused_and_does_not_displace_others(db: Database) -> None:
    async def ask(who: str) -> int:
        CALLER.set((who, ""))
        return (await db.scan(lambda conn: _where(conn, _count(3 * STEPS))))[0]

    flood = [asyncio.create_task(ask("flood")) for _ in range(1000)]
    await asyncio.sleep(0)
    assert await asyncio.create_task(ask("somebody")) == 3 * STEPS
    assert not all(task.done() for task in flood)
    answers = await asyncio.gather(*flood, return_exceptions=True)
    assert {type(answer) for answer in answers} == {int, Busy}


async def test_closing_stops_what_is_being_read(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.db")
    database.open()
    endless = [asyncio.create_task(database.scan(lambda conn: _where(conn, _ENDLESS))) for _ in range(3)]
    await asyncio.sleep(0)
    database.close()
    answers = await asyncio.gather(*endless, return_exceptions=True)
    assert all(isinstance(answer, Unavailable) for answer in answers)
