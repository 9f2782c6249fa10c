"""What a transaction foresees to read: it comes to what it would have come to, and is asked before it is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from tests.contract.store.conftest import THINGS, Open, add

from floe.store.engine import Connection, Isolation, Transactions
from floe.store.foresight import foresee
from floe.store.prepared import Prepared

_ADD = Prepared(THINGS.insert(), columns=["name", "size"])
_SIZE = Prepared(sa.select(THINGS.c.size).where(THINGS.c.name == sa.bindparam("name")))
_GROW = Prepared(THINGS.update().where(THINGS.c.name == sa.bindparam("which")).values(size=THINGS.c.size + 1))
_GROW_ANEW = THINGS.update().values(size=THINGS.c.size + 1)


def size(conn: Connection, name: str) -> Any:
    found = _SIZE.first(conn, name=name)
    return found and found.size


def unprepared(conn: Connection) -> Any:
    return conn.execute(sa.select(THINGS.c.size)).fetchall()


def foreseen(conn: Connection, *names: str) -> None:
    foresee(conn, *(partial(size, name=name) for name in names))


async def test_what_is_foreseen_is_what_is_there(db: Transactions) -> None:
    await db.write(add("a", 1))
    await db.write(add("b", 2))

    def look(conn: Connection) -> list[Any]:
        foresee(conn, unprepared, partial(size, name="a"), partial(size, name="none"))
        found = [size(conn, "a"), size(conn, "b"), size(conn, "none"), size(conn, "a"), len(unprepared(conn))]
        foreseen(conn, "b")
        foreseen(conn, "a")
        foresee(conn)
        return [*found, size(conn, "b")]

    assert await db.write(look) == await db.read(look) == [1, 2, None, 1, 2, 2]


@pytest.mark.parametrize(
    "change",
    [
        lambda conn: _GROW.write(conn, which="a"),
        lambda conn: _GROW.write_later(conn, {"which": "a"}),
        lambda conn: _GROW.write_each(conn, [{"which": "a"}, {"which": "b"}]),
        lambda conn: conn.execute(_GROW_ANEW),
    ],
    ids=["write", "write_later", "write_each", "unprepared"],
)
async def test_what_is_written_shows_in_what_was_foreseen(
    db: Transactions, change: Callable[[Connection], Any]
) -> None:
    await db.write(add("a", 1))

    def work(conn: Connection) -> list[Any]:
        foreseen(conn, "a", "b")
        change(conn)
        return [size(conn, "a"), size(conn, "b")]

    assert await db.write(work) == [2, None]


async def test_writes_that_are_done_together_do_not_see_what_others_foresaw(db: Transactions) -> None:
    await db.write(add("a", 1))

    def refused(conn: Connection) -> None:
        _GROW.write(conn, which="a")
        foreseen(conn, "a")
        raise ValueError

    def last(conn: Connection) -> Any:
        foreseen(conn, "a")
        return size(conn, "a")

    came = await asyncio.gather(*map(db.write, (refused, last, refused, last)), return_exceptions=True)
    assert [came[1], came[3]] == [1, 1]


async def test_it_is_asked_when_it_is_foreseen_and_kept_until_something_is_written(
    open_postgres: Open, postgres_url: str
) -> None:
    db = open_postgres(writers=1)
    await db.write(THINGS.create)
    await db.write(add("a", 1))

    def elsewhere() -> None:
        with psycopg.connect(postgres_url) as other:
            other.execute("UPDATE things SET size = size + 10")

    def work(conn: Connection) -> list[Any]:
        foreseen(conn, "a")
        elsewhere()
        found = [size(conn, "a"), size(conn, "a")]
        _ADD.write_later(conn, {"name": "b", "size": 1})
        found.append(size(conn, "a"))
        foreseen(conn, "a")
        return found

    assert await db.write(work, Isolation.READ_COMMITTED) == [1, 1, 11]
    elsewhere()
    assert await db.write(partial(size, name="a"), Isolation.READ_COMMITTED) == 21


async def test_a_function_that_writes_where_nothing_is_found_writes_nothing_ahead(open_postgres: Open) -> None:
    db = open_postgres(writers=1)
    await db.write(THINGS.create)

    def made(conn: Connection) -> Any:
        if size(conn, "a") is None:
            _ADD.write(conn, name="a", size=1)
        return size(conn, "a")

    def work(conn: Connection) -> list[Any]:
        foresee(conn, made)
        return [size(conn, "a"), made(conn)]

    assert await db.write(work) == [None, 1]
