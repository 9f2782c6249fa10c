from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
import sqlalchemy as sa

from floe.core.errors import Unavailable
from floe.core.ids import random_id
from floe.store import history
from floe.store import write_sessions as sessions
from floe.store.engine import Connection, Database
from floe.store.repeated import RepeatedWrites
from floe.store.write_sessions import Mark, Sessions, write_sessions

things = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False, default=0),
)
NOW = datetime(2026, 5, 1, tzinfo=UTC)


class Fate(Random):
    """Dice that always fall the same way: each write runs twice, lost (0) or rolled back (1) the first time."""

    def __init__(self, rolled_back: bool) -> None:
        super().__init__(0)
        self._fall = 0.9 if rolled_back else 0.1

    def random(self) -> float:
        return self._fall


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "x.db")
    database.open()
    await database.write(things.create)
    await database.write(write_sessions.create)
    yield database
    database.close()


@pytest.fixture(params=[False, True], ids=["answer lost", "rolled back"])
def db(plain: Database, request: pytest.FixtureRequest) -> RepeatedWrites:
    return RepeatedWrites(plain, share=1.0, dice=Fate(request.param), new_id=random_id, now=lambda: NOW)


def _insert(name: str) -> Callable[[Connection], str]:
    def insert(conn: Connection) -> str:
        conn.execute(things.insert().values(name=name))
        return name

    return insert


def _count_up(conn: Connection) -> int:
    conn.execute(things.update().values(number=things.c.number + 1))
    return int(conn.execute(sa.select(things.c.number)).scalar_one())


def _delete(conn: Connection) -> None:
    if conn.execute(things.delete()).rowcount != 1:
        raise LookupError("there is none")


async def _found(db: RepeatedWrites) -> list[tuple[str, int]]:
    return await db.read(lambda conn: [(row.name, row.number) for row in conn.execute(sa.select(things))])


async def test_whatever_runs_twice_is_done_once_and_answers_as_if_it_ran_once(db: RepeatedWrites) -> None:
    assert await db.write(_insert("a")) == "a"
    assert [await db.write(_count_up) for _ in range(3)] == [1, 2, 3]
    assert await _found(db) == [("a", 3)]
    await db.write(_delete)
    assert await _found(db) == []
    assert db.repeated == 5


async def test_what_fails_fails_and_the_next_write_of_its_session_is_done(db: RepeatedWrites) -> None:
    with pytest.raises(LookupError, match="there is none"):
        await db.write(_delete)
    await db.write(_insert("a"))
    assert await _found(db) == [("a", 0)]


async def test_writes_at_the_same_time_do_not_take_one_another_for_themselves(db: RepeatedWrites) -> None:
    await db.write(_insert("a"))
    assert sorted(await asyncio.gather(*(db.write(_count_up) for _ in range(50)))) == list(range(1, 51))
    assert await _found(db) == [("a", 50)]


async def test_others_write_between_the_two_tries(plain: Database) -> None:
    db = RepeatedWrites(plain, share=1.0, dice=Fate(True), new_id=random_id, now=lambda: NOW)
    seen: list[list[str]] = []  # the test's own, to see the tries by

    def look(conn: Connection) -> None:
        seen.append(list(conn.scalars(sa.select(things.c.name))))

    await asyncio.gather(db.write(look), plain.write(_insert("b")))
    assert seen == [[], ["b"]]


async def test_a_session_of_which_a_write_was_given_up_is_not_used_again() -> None:
    numbers = iter(range(10))
    pool = Sessions(lambda: f"s{next(numbers)}", lambda: NOW)

    def use(error: BaseException | None) -> Mark:
        try:
            with pool.mark() as mark:
                if error:
                    raise error
        except BaseException as raised:
            assert raised is error
        return mark

    assert use(None) == Mark("s0", 1, NOW)
    assert use(Unavailable("locked")) == Mark("s0", 2, NOW)
    assert use(asyncio.CancelledError()) == Mark("s0", 3, NOW)
    assert use(None) == Mark("s1", 1, NOW)


async def test_a_session_has_one_row_and_goes_when_nobody_has_it_any_more(plain: Database) -> None:
    for number in range(1, 100):
        assert await plain.write(lambda conn: sessions.put(conn, Mark("s", number, NOW)))  # noqa: B023
    assert not await plain.write(lambda conn: sessions.put(conn, Mark("s", 99, NOW)))
    assert await plain.write(lambda conn: sessions.put(conn, Mark("t", 1, NOW)))
    later, kind = NOW + timedelta(days=2), history.WRITE_SESSIONS
    keys = await plain.read(lambda conn: history.find(conn, kind, later))
    assert sorted(keys) == [("s", 99), ("t", 1)]
    assert await plain.write(lambda conn: sessions.put(conn, Mark("s", 100, later)))
    assert await plain.write(lambda conn: history.forget(conn, kind, keys)) == {"write_sessions": 1}
    assert not await plain.write(lambda conn: sessions.put(conn, Mark("s", 100, later)))
