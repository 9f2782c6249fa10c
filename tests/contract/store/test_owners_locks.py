"""Writes of one owner by several processes on PostgreSQL: one after the other, for they are in each other's way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from tests.contract.store.conftest import THINGS, Open, add
from tests.contract.store.test_postgres import size, take

from floe.core.callers import CALLER
from floe.core.counters import Counters
from floe.store.engine import Connection
from floe.store.postgres import RERUN, Postgres
from floe.store.postgres_writers import lock_of


@pytest.fixture(autouse=True)
def of_a_project() -> Iterator[None]:
    token = CALLER.set(("project", "ann"))
    yield
    CALLER.reset(token)


async def locks(db: Postgres) -> int:
    """Return how many locks there are in the database, those that are waited for too."""
    text = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return await db.read(lambda conn: conn.exec_driver_sql(text).scalar_one())


@pytest.mark.parametrize("how", [{"writers": 4}, {"writers": 1, "together": 16}], ids=["four-writers", "many-in-one"])
async def test_no_process_runs_again_what_another_was_in_the_way_of(open_postgres: Open, how: dict[str, Any]) -> None:
    counters = Counters()
    three = [open_postgres(counters=counters, **how) for _ in range(3)]
    await three[0].write(THINGS.create)
    await three[0].write(add("a"))
    done = await asyncio.gather(*(three[number % 3].write(take("a", 50)) for number in range(90)))
    assert sum(done) == await size(three[0], "a") == 50
    assert counters.total(RERUN) == 0
    assert await locks(three[0]) == 0


async def test_what_fails_gives_its_locks_back(open_postgres: Open) -> None:
    two = [open_postgres(writers=1) for _ in range(2)]
    await two[0].write(THINGS.create)
    await two[0].write(add("a"))

    def fail(conn: Connection) -> None:
        raise LookupError(conn.dialect.name)

    def fail_later(conn: Connection) -> None:
        add("b")(conn)
        fail(conn)

    for wrong, error in ((fail, LookupError), (fail_later, LookupError), (add("a"), sa.exc.IntegrityError)):
        with pytest.raises(error):
            await two[0].write(wrong)
        assert await two[1].write(take("a", 9))
        assert await locks(two[1]) == 0


async def test_a_lock_that_somebody_keeps_holds_nobody_up_for_long(open_postgres: Open, postgres_url: str) -> None:
    db = open_postgres(writers=1)
    await db.write(THINGS.create)
    with psycopg.connect(postgres_url, autocommit=True) as driver:
        driver.execute("SELECT pg_advisory_lock(%s)", [lock_of("project")])
        assert await db.write(add("a")) == "a"
        assert await size(db, "a") == 0
        assert await locks(db) == 1  # that which is kept
    assert await db.write(take("a", 9))
    patience = "SHOW lock_timeout"
    assert await db.write(lambda conn: conn.exec_driver_sql(patience).scalar_one()) == "5s"  # as it was for all else


async def test_projects_do_not_wait_for_each_other(open_postgres: Open, postgres_url: str) -> None:
    db = open_postgres(writers=1)
    await db.write(THINGS.create)
    with psycopg.connect(postgres_url, autocommit=True) as driver:
        driver.execute("SELECT pg_advisory_lock(%s)", [lock_of("other")])
        assert lock_of("other") != lock_of("project")
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        assert await db.write(lambda conn: conn.exec_driver_sql(waits).scalar_one()) == 0


async def test_a_server_that_was_restarted_has_no_locks_left(open_postgres: Open, postgres_url: str) -> None:
    db = open_postgres(writers=1)
    await db.write(THINGS.create)
    await db.write(add("a"))
    with psycopg.connect(postgres_url, autocommit=True) as driver:
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'floe'"
        for _ in range(3):
            driver.execute(cut)
            assert await db.write(take("a", 9))
    assert await size(db, "a") == 3
    assert await locks(db) == 0
