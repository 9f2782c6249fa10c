"""What the cloud relies on, whichever database it stands on."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import sqlalchemy as sa
from tests.contract.store.conftest import THINGS, add, names

from floe.core.callers import CALLER, Caller, work_for_the_cloud
from floe.core.errors import Busy, Unavailable
from floe.store.engine import Connection, Isolation, Transactions
from floe.store.prepared import Prepared


def fail(conn: Connection) -> None:
    conn.execute(THINGS.insert().values(name="half"))
    raise LookupError("no")


@pytest.mark.parametrize("isolation", Isolation)
async def test_what_is_written_can_be_read_at_once(db: Transactions, isolation: Isolation) -> None:
    assert await db.write(add("a"), isolation) == "a"
    assert await names(db) == ["a"]


async def test_a_write_that_fails_undoes_itself_and_not_its_company(db: Transactions) -> None:
    results = await asyncio.gather(
        *(db.write(add(f"n{index:02}")) for index in range(20)), db.write(fail), return_exceptions=True
    )
    assert isinstance(results[-1], LookupError)
    assert results[:-1] == await names(db) == [f"n{index:02}" for index in range(20)]


async def test_a_lone_write_that_fails_leaves_nothing(db: Transactions) -> None:
    with pytest.raises(LookupError):
        await db.write(fail)
    assert await names(db) == []


async def test_what_a_constraint_forbids_is_an_error_and_the_next_write_is_done(db: Transactions) -> None:
    await db.write(add("a"))
    with pytest.raises(sa.exc.IntegrityError):
        await db.write(add("a"))
    await db.write(add("b"))
    assert await names(db) == ["a", "b"]


async def test_after_a_statement_that_is_wrong_all_goes_on(db: Transactions) -> None:
    def wrong(conn: Connection) -> Any:
        return conn.exec_driver_sql("SELECT nothing FROM nowhere").all()

    for run in (db.write, db.read, db.scan):
        with pytest.raises((sa.exc.DBAPIError, Unavailable)):
            await run(wrong)
    assert await db.write(add("a")) == "a"


async def test_what_was_asked_before_close_is_written(db: Transactions) -> None:
    pending = [asyncio.ensure_future(db.write(add(f"n{index}"))) for index in range(10)]
    await asyncio.sleep(0)
    db.close()
    assert await asyncio.gather(*pending) == [f"n{index}" for index in range(10)]
    for run in (db.write, db.read, db.scan):
        with pytest.raises(Unavailable):
            await run(add("late"))
    db.open()
    assert await names(db) == [f"n{index}" for index in range(10)]


async def test_a_read_has_one_view_whatever_is_written_meanwhile(db: Transactions) -> None:
    await db.write(add("a"))
    begun, written = threading.Event(), threading.Event()

    def look(conn: Connection) -> list[list[str]]:
        found = [list(conn.scalars(sa.select(THINGS.c.name)))]
        begun.set()
        assert written.wait(60)
        return [*found, list(conn.scalars(sa.select(THINGS.c.name)))]

    reading = asyncio.ensure_future(db.scan(look))
    await asyncio.to_thread(begun.wait, 60)
    await db.write(add("b"))
    written.set()
    assert await reading == [["a"], ["a"]]
    assert await names(db) == ["a", "b"]


async def test_a_read_that_takes_too_long_is_given_up_and_others_are_not(db: Transactions) -> None:
    await db.write(lambda conn: conn.execute(THINGS.insert(), [{"name": f"{n}"} for n in range(600)]))
    endless = sa.text("SELECT count(*) FROM things a, things b, things c, things d, things e")  # 600 ** 5 rows
    reading = asyncio.ensure_future(db.read(lambda conn: conn.scalar(endless)))
    assert len(await names(db)) == 600
    with pytest.raises(Unavailable, match="takes longer than"):
        await reading
    assert len(await names(db)) == 600


async def test_how_many_rows_a_write_changed_is_known(db: Transactions) -> None:
    insert = Prepared(sa.insert(THINGS))
    grow = Prepared(THINGS.update().where(THINGS.c.name < sa.bindparam("before")).values(size=THINGS.c.size + 1))

    def write(conn: Connection) -> list[int]:
        return [
            conn.execute(THINGS.insert().values(name="a")).rowcount,
            insert.write(conn, name="b", size=2**40),
            insert.write_each(conn, [{"name": name, "size": 1} for name in "cde"]),
            grow.write(conn, before="c"),
            conn.execute(THINGS.delete().where(THINGS.c.name > "c")).rowcount,
            conn.execute(sa.text("INSERT INTO things SELECT 'f', 1 WHERE 1 = 0")).rowcount,
        ]

    assert await db.write(write) == [1, 1, 3, 2, 2, 0]
    total = await db.read(lambda conn: conn.scalar(sa.select(sa.func.sum(THINGS.c.size))))
    assert (total, type(total)) == (2**40 + 3, int)


async def test_text_sorts_and_compares_by_its_letters_numbers(db: Transactions) -> None:
    given = ["Z", "a", "B", "ä", "é", "_", "1", "10", "9", "ß", "😀", "a b", "aa"]
    await db.write(lambda conn: conn.execute(THINGS.insert(), [{"name": name} for name in given]))
    assert await names(db) == sorted(given)
    like = sa.select(THINGS.c.name).where(THINGS.c.name.ilike("A%"))
    assert sorted(await db.read(lambda conn: list(conn.scalars(like)))) == ["a", "a b", "aa"]


async def test_what_the_cloud_had_begun_is_never_refused_a_read_and_others_are(db: Transactions) -> None:
    def slow(conn: Connection) -> int:
        if conn.dialect.name == "postgresql":
            return len(conn.exec_driver_sql("SELECT pg_sleep(0.002)").all())
        return 1

    async def all_at_once(caller: Caller, *, cloud: bool) -> list[Any]:
        async def one() -> int:
            CALLER.set(caller)
            if cloud:
                work_for_the_cloud()
            return await db.scan(slow)

        return await asyncio.gather(*(asyncio.create_task(one()) for _ in range(600)), return_exceptions=True)

    for project in ("", "p"):
        assert await all_at_once((project, "user"), cloud=True) == [1] * 600
        kinds = {type(each) for each in await all_at_once((project, "user"), cloud=False)}
        assert kinds == {int, Busy}
