"""What a database must do, and where each of those that are shipped is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from floe.store.engine import Connection, Database, Transactions
from floe.store.postgres import Postgres

THINGS = sa.Table(
    "things", sa.MetaData(), sa.Column("name", sa.String, primary_key=True), sa.Column("size", sa.Integer, default=0)
)
Open = Callable[..., Postgres]


@pytest.fixture(params=["sqlite", "postgresql"])
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Give a database with the table of things."""
    made: Transactions = (
        Database(tmp_path / "x.db", read_seconds=3.0)
        if request.param == "sqlite"
        else Postgres(request.getfixturevalue("postgres_url"), read_seconds=3.0)
    )
    made.open()
    await made.write(THINGS.create)
    yield made
    made.close()


@pytest.fixture
def open_postgres(postgres_url: str) -> Iterator[Open]:
    """Open the same database of PostgreSQL any number of times, each with four writers: as four processes would."""
    opened: list[Postgres] = []

    def make(url: str = postgres_url, **how: Any) -> Postgres:
        opened.append(Postgres(url, **{"writers": 4, "together": 1, **how}))
        opened[-1].open()
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def add(name: str, size: int = 0) -> Callable[[Connection], str]:
    """Return what adds a thing."""

    def insert(conn: Connection) -> str:
        conn.execute(THINGS.insert().values(name=name, size=size))
        return name

    return insert


async def names(db: Transactions) -> list[str]:
    """Return the names of all things."""
    return await db.read(lambda conn: list(conn.scalars(sa.select(THINGS.c.name).order_by(THINGS.c.name))))
