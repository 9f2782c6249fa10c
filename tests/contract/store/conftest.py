"""What a database must do, and where each of those that are shipped is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from floe.blobs.files import FileBlobs
from floe.bus.local import LocalBus
from floe.cloud.cloud import Cloud, CloudSettings
from floe.core.clock import FixedClock
from floe.core.counters import Counters
from floe.core.ids import random_id
from floe.store import audit, port_bindings, quota_usages
from floe.store.engine import Connection, Database, Transactions
from floe.store.postgres import Postgres
from floe.store.schema import create_all

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


@pytest.fixture(params=["sqlite", "four-writers", "many-in-one"])
async def both(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[list[Cloud]]:
    """Give two clouds on one database of each kind: on SQLite they share it, as all roles of one process do."""
    counters = Counters()
    if request.param == "sqlite":
        db = Database(tmp_path / "x.db")
        db.open()
        await db.write(create_all)
        databases: list[Transactions] = [db, db]
    else:
        open_postgres = request.getfixturevalue("open_postgres")
        writers, together = {"four-writers": (4, 1), "many-in-one": (1, 16)}[request.param]
        databases = [open_postgres(counters=counters, writers=writers, together=together) for _ in range(2)]
    made = [_cloud(each, tmp_path, counters) for each in databases]
    yield made
    for cloud in made:
        await cloud.bus.close()
    broken: Any = await made[0].db.read(audit.instant)
    assert broken == []
    if request.param == "sqlite":
        databases[0].close()


def _cloud(db: Transactions, folder: Path, counters: Counters) -> Cloud:
    return Cloud(
        db=db,
        bus=LocalBus(),
        blobs=FileBlobs(folder / "blobs"),
        clock=FixedClock(),
        new_id=random_id,
        settings=CloudSettings(),
        token_keys=[Fernet.generate_key()].copy,
        counters=counters,
    )


@pytest.fixture(params=[(4, 1), (1, 16)], ids=["four-writers", "many-in-one"])
async def two(request: pytest.FixtureRequest, open_postgres: Open, tmp_path: Path) -> AsyncIterator[list[Cloud]]:
    """Give two clouds on one database: of four writers each, and of one that does what waits together."""
    writers, together = request.param
    made = []
    for _ in range(2):
        counters = Counters()
        made.append(_cloud(open_postgres(counters=counters, writers=writers, together=together), tmp_path, counters))
    yield made
    for cloud in made:
        await cloud.bus.close()
    for drifted in (quota_usages.drifted, port_bindings.drifted):
        found: Any = await made[0].db.read(drifted)
        assert found == []


async def raced(tries: Sequence[Awaitable[Any]], refused: type[Exception] | tuple[type[Exception], ...]) -> list[Any]:
    """Return what those came to that got something; all others were refused with a reason."""
    done = await asyncio.gather(*tries, return_exceptions=True)
    for each in done:
        if isinstance(each, BaseException) and not isinstance(each, refused):
            raise each
    return [each for each in done if not isinstance(each, BaseException)]


def add(name: str, size: int = 0) -> Callable[[Connection], str]:
    """Return what adds a thing."""

    def insert(conn: Connection) -> str:
        conn.execute(THINGS.insert().values(name=name, size=size))
        return name

    return insert


async def names(db: Transactions) -> list[str]:
    """Return the names of all things."""
    return await db.read(lambda conn: list(conn.scalars(sa.select(THINGS.c.name).order_by(THINGS.c.name))))
