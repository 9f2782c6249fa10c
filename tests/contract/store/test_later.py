"""Writes that are not waited for: they are done in their order, and what is wrong with them is their own write's."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from tests.contract.store.conftest import THINGS, Open, add, names

from floe.core.counters import Counters
from floe.store.engine import Connection, Transactions
from floe.store.postgres import RERUN
from floe.store.postgres_statements import statements
from floe.store.prepared import Prepared

_ADD = Prepared(THINGS.insert(), columns=["name", "size"])
_SIZE = Prepared(sa.select(THINGS.c.size).where(THINGS.c.name == sa.bindparam("name")))
_GROW = Prepared(THINGS.update().where(THINGS.c.name == sa.bindparam("which")).values(size=THINGS.c.size + 1))


def put(*many: str) -> Any:
    """Return what adds things, and waits for none of them."""
    return lambda conn: _ADD.write_later(conn, *({"name": name, "size": 1} for name in many))


async def test_what_comes_after_finds_it_done(db: Transactions) -> None:
    def work(conn: Connection) -> list[Any]:
        put("a", "b")(conn)
        found = [_SIZE.first(conn, name="a").size]
        _GROW.write_later(conn, {"which": "a"})
        found.append(conn.scalar(sa.select(THINGS.c.size).where(THINGS.c.name == "a")))
        _GROW.write_later(conn, {"which": "a"})
        found.append(_GROW.write(conn, which="a"))
        _GROW.write_later(conn, {"which": "a"}, {"which": "a"})
        put()(conn)
        return found

    assert await db.write(work) == [1, 2, 1]
    assert await db.read(lambda conn: _SIZE.first(conn, name="a").size) == 6
    assert await names(db) == ["a", "b"]


async def test_what_is_wrong_with_it_undoes_its_own_write_alone(db: Transactions) -> None:
    await db.write(put("a"))

    def caught(conn: Connection) -> None:
        put("y")(conn)
        put("a")(conn)

    tries = [db.write(fn) for fn in (put("b"), caught, put("c"), put("a"), put("d"), add("e"))]
    came = await asyncio.gather(*tries, return_exceptions=True)
    assert [isinstance(each, Exception) for each in came] == [False, True, False, True, False, False]
    assert await names(db) == ["a", "b", "c", "d", "e"]


async def test_what_a_write_raises_takes_back_what_it_did_not_wait_for(db: Transactions) -> None:
    def work(conn: Connection) -> None:
        put("a")(conn)
        raise LookupError

    with pytest.raises(LookupError):
        await db.write(work)
    await db.write(put("b"))
    assert await names(db) == ["b"]


async def test_it_goes_with_the_commit_in_one_message(open_postgres: Open) -> None:
    db = open_postgres(writers=1)
    await db.write(THINGS.create)

    def work(conn: Connection) -> bool:
        put("a")(conn)
        return statements(conn).unsent

    assert await db.write(work)
    assert await names(db) == ["a"]
    with pytest.raises(psycopg.errors.UniqueViolation):
        await db.write(work)
    assert await names(db) == ["a"]


@pytest.mark.parametrize("how", [{"writers": 1, "together": 16}, {"writers": 4}], ids=["many-in-one", "four-writers"])
async def test_others_are_not_told_what_is_wrong_with_it(open_postgres: Open, how: dict[str, Any]) -> None:
    counters = Counters()
    two = [open_postgres(counters=counters, **how) for _ in range(2)]
    await two[0].write(THINGS.create)
    tries = [two[n % 2].write(put(f"n{n // 2}")) for n in range(40)]
    came = await asyncio.gather(*tries, return_exceptions=True)
    wrong = [each for each in came if isinstance(each, Exception)]
    assert len(wrong) == 20, wrong
    assert all(isinstance(each, psycopg.errors.UniqueViolation) for each in wrong)
    assert len(await names(two[0])) == 20
    assert counters.total(RERUN) > 0
