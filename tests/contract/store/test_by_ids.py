"""Rows by ids: any number of them, of any kind, on each database."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from tests.contract.store.conftest import THINGS

from floe.store.engine import Transactions
from floe.store.listing import ByIds

ODD = ("", "a", "A", "ä", "日本", "it's", 'a "quoted" one', "a,b", "[]", "\\", "%", "a\nb", "null", "1")
BY_NAME = ByIds(sa.select(THINGS.c.name).order_by(THINGS.c.name), THINGS.c.name)
BY_SIZE = ByIds(
    sa.select(THINGS.c.name, THINGS.c.size).where(THINGS.c.name != sa.bindparam("other")), THINGS.c.size,
    (sa.select(sa.null(), THINGS.c.size).where(THINGS.c.name == sa.bindparam("other")), THINGS.c.size),
)  # fmt: skip


@pytest.fixture
async def filled(db: Transactions) -> Transactions:
    rows = [{"name": name, "size": size} for size, name in enumerate(ODD)]
    await db.write(lambda conn: conn.execute(THINGS.insert(), rows))
    return db


@pytest.mark.parametrize(
    "wanted", [(), ("a",), ("a", "a"), ("A", "no"), ODD, (*ODD, *map(str, range(40_000)))], ids=len
)
async def test_texts_are_found_whatever_is_in_them(filled: Transactions, wanted: tuple[str, ...]) -> None:
    found = await filled.read(lambda conn: BY_NAME.rows(conn, wanted))
    assert sorted(found) == sorted((name,) for name in ODD if name in wanted)


@pytest.mark.parametrize("wanted", [(0,), (0, 3), (-1, 2**40, 5), tuple(range(len(ODD)))])
async def test_whole_numbers_are_found_with_further_queries(filled: Transactions, wanted: tuple[int, ...]) -> None:
    found = await filled.read(lambda conn: BY_SIZE.tuples(conn, wanted, other="A"))
    there = [(name, size) for size, name in enumerate(ODD) if size in wanted]
    assert sorted(found, key=repr) == sorted(((None if name == "A" else name, size) for name, size in there), key=repr)
