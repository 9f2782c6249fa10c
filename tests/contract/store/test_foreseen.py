"""Reads that say beforehand what they will ask: they come to what others come to, whatever is in their way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from tests.contract.store.conftest import THINGS, Open, add, names

from floe.core.counters import Counters
from floe.core.errors import Invalid, Unavailable
from floe.store import postgres_foresight
from floe.store.engine import Connection, Transactions
from floe.store.postgres import FORESEEN, Postgres
from floe.store.prepared import Asked, Prepared

_SIZE = Prepared(sa.select(THINGS.c.size).where(THINGS.c.name == sa.bindparam("name")))
_TAKES = Prepared(sa.select(sa.func.pg_sleep(sa.bindparam("seconds", type_=sa.Float)).label("slept")))
_BACKENDS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'floe'"


def asks(*of: str) -> list[Asked]:
    return [_SIZE.asked(name=name) for name in of]


def sizes(*of: str) -> Callable[[Connection], list[Any]]:
    def look(conn: Connection) -> list[Any]:
        found = [_SIZE.first(conn, name=name) for name in of]
        return [row and row.size for row in found]

    return look


async def until_foreseen(db: Postgres, counters: Counters, read: Callable[[], Awaitable[Any]]) -> Any:
    """Read until that is done by the event loop itself, for which a connection is made beside it."""
    before = counters.total(FORESEEN)
    async with asyncio.timeout(60):
        while True:
            found = await read()
            if counters.total(FORESEEN) > before:
                return found
            await asyncio.sleep(0.01)


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
async def quick(open_postgres: Open, counters: Counters, monkeypatch: pytest.MonkeyPatch) -> Postgres:
    """Give a database whose event loop has its connection."""
    monkeypatch.setattr(postgres_foresight, "_PAUSE", 0.01)
    made = open_postgres(writers=1, counters=counters)
    await made.write(THINGS.create)
    await made.write(add("a", 1))
    await made.write(add("b", 2))
    await until_foreseen(made, counters, lambda: made.read(sizes("a"), *asks("a")))
    return made


async def test_it_comes_to_what_it_would_without(db: Transactions) -> None:
    await db.write(add("a", 1))
    for _ in range(50):
        assert await db.read(sizes("a", "x"), *asks("a", "x")) == [1, None]
        assert await db.read(sizes("a", "x")) == [1, None]


async def test_many_at_once_each_have_their_own(quick: Postgres, counters: Counters) -> None:
    before = counters.total(FORESEEN)
    many = postgres_foresight.MOST_AT_ONCE * 3
    found = await asyncio.gather(
        *(quick.read(sizes(*"ab"[: 1 + n % 2]), *asks(*"ab"[: 1 + n % 2])) for n in range(many))
    )
    assert found == [[1, 2][: 1 + n % 2] for n in range(many)]
    done = counters.total(FORESEEN) - before
    assert 0 < done <= postgres_foresight.MOST_AT_ONCE  # the others took turns in threads


async def test_what_was_not_foreseen_is_asked_all_the_same(quick: Postgres, counters: Counters) -> None:
    before = counters.total(FORESEEN)
    assert await quick.read(sizes("a", "b"), *asks("a")) == [1, 2]
    assert await quick.read(lambda conn: conn.scalar(sa.select(sa.func.count()).select_from(THINGS)), *asks("a")) == 2
    assert counters.total(FORESEEN) == before


async def test_all_is_of_one_view_and_nothing_can_be_written(quick: Postgres, counters: Counters) -> None:
    setting = Prepared(sa.select(sa.func.current_setting(sa.bindparam("name", type_=sa.String)).label("it")))
    names_of = ("transaction_isolation", "transaction_read_only", "lock_timeout")

    def look(conn: Connection) -> list[str]:
        return [setting.first(conn, name=name).it for name in names_of]

    foreseen = [setting.asked(name=name) for name in names_of]
    found = await until_foreseen(quick, counters, lambda: quick.read(look, *foreseen))
    assert found[:2] == ["repeatable read", "on"]


async def test_what_a_read_raises_is_raised_and_one_that_is_given_up_is_in_nobody_s_way(quick: Postgres) -> None:
    def fail(conn: Connection) -> None:
        raise LookupError(sizes("a")(conn))

    with pytest.raises(LookupError):
        await quick.read(fail, *asks("a"))
    given_up = [asyncio.ensure_future(quick.read(sizes("a"), *asks("a"))) for _ in range(8)]
    await asyncio.sleep(0)
    for task in given_up:
        task.cancel()
    assert await quick.read(sizes("b"), *asks("b")) == [2]


async def test_what_was_written_is_seen_at_once(quick: Postgres) -> None:
    for number in range(20):
        await quick.write(lambda conn, number=number: conn.execute(THINGS.update().values(size=number)))  # type: ignore[misc]
        assert await quick.read(sizes("a", "b"), *asks("a", "b")) == [number, number]


async def test_a_connection_that_is_cut_is_made_anew(quick: Postgres, counters: Counters, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as driver:
        for _ in range(3):
            waiting = [asyncio.ensure_future(quick.read(sizes("a"), *asks("a"))) for _ in range(8)]
            await asyncio.to_thread(driver.execute, _BACKENDS)
            assert await asyncio.gather(*waiting) == [[1]] * 8
            assert await until_foreseen(quick, counters, lambda: quick.read(sizes("b"), *asks("b"))) == [2]


async def test_what_takes_long_goes_on_in_a_thread(quick: Postgres, counters: Counters) -> None:
    slow = _TAKES.asked(seconds=0.6)
    both = asyncio.gather(
        quick.read(lambda conn: _TAKES.first(conn, seconds=0.6) is not None, slow),
        quick.read(sizes("a"), *asks("a")),
    )
    assert await both == [True, [1]]
    assert await until_foreseen(quick, counters, lambda: quick.read(sizes("b"), *asks("b"))) == [2]


async def test_columns_that_have_changed_are_read_as_they_are(quick: Postgres, counters: Counters) -> None:
    await quick.write(lambda conn: conn.exec_driver_sql("ALTER TABLE things ALTER COLUMN size TYPE text"))
    assert await quick.read(sizes("a"), *asks("a")) == ["1"]
    assert await until_foreseen(quick, counters, lambda: quick.read(sizes("a"), *asks("a"))) == ["1"]


async def test_what_no_database_holds_is_the_caller_s_mistake(quick: Postgres) -> None:
    with pytest.raises(Invalid, match="NUL"):
        await quick.read(sizes("a\0b"), *asks("a", "a\0b"))
    assert await quick.read(sizes("a"), *asks("a")) == [1]


async def test_a_server_that_stands_still_is_given_up(
    quick: Postgres, counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_foresight, "_PATIENCE", 0.05)
    link: Any = quick._foresight and quick._foresight._link
    monkeypatch.setattr(link, "_write", lambda: None)  # what is sent gets nowhere
    assert await quick.read(sizes("a"), *asks("a")) == [1]
    assert await until_foreseen(quick, counters, lambda: quick.read(sizes("b"), *asks("b"))) == [2]


async def test_closing_ends_it(quick: Postgres) -> None:
    last = asyncio.ensure_future(quick.read(sizes("a"), *asks("a")))
    await asyncio.sleep(0)
    quick.close()
    with pytest.raises(Unavailable):
        await last
    with pytest.raises(Unavailable):
        await quick.read(sizes("a"), *asks("a"))
    quick.open()
    assert await names(quick) == ["a", "b"]
