"""What there is on PostgreSQL alone: transactions beside each other, and a server that may go away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa
from postgres_server import PostgresServer
from tests.contract.store.conftest import THINGS, Open, add, names

from floe.core.callers import CALLER
from floe.core.counters import Counters
from floe.core.errors import Busy, Invalid, Unavailable
from floe.store import migrate, postgres, postgres_readers, postgres_writers, write_turns
from floe.store.engine import Connection, Isolation
from floe.store.postgres import RERUN, Postgres
from floe.store.postgres_sessions import Failure, failure
from floe.store.write_turns import Turns


def take(name: str, most: int) -> Callable[[Connection], bool]:
    """Return what reads, checks and writes: it takes one more of a thing of which there are so many."""

    def write(conn: Connection) -> bool:
        taken: Any = conn.scalar(sa.select(THINGS.c.size).where(THINGS.c.name == name))
        if taken >= most:
            return False
        conn.execute(THINGS.update().where(THINGS.c.name == name).values(size=taken + 1))
        return True

    return write


async def size(db: Postgres, name: str) -> int:
    found: int = await db.read(lambda conn: conn.scalar(sa.select(THINGS.c.size).where(THINGS.c.name == name)))
    return found


async def test_what_is_checked_in_a_write_still_holds_when_it_is_done(open_postgres: Open) -> None:
    counters = Counters()
    two = [open_postgres(counters=counters) for _ in range(2)]
    await two[0].write(THINGS.create)
    await two[0].write(add("slots"))
    tries = [two[number % 2].write(take("slots", 30)) for number in range(60)]
    assert sum(await asyncio.gather(*tries)) == 30
    assert await size(two[0], "slots") == 30


async def test_transactions_in_each_other_s_way_are_run_again_and_counted(open_postgres: Open) -> None:
    counters = Counters()
    db = open_postgres(counters=counters)
    await db.write(THINGS.create)
    await db.write(add("a"))
    other = open_postgres()
    loop = asyncio.get_running_loop()
    runs = []

    def slow(conn: Connection) -> int:
        seen: Any = conn.scalar(sa.select(THINGS.c.size).where(THINGS.c.name == "a"))
        if not runs:
            asyncio.run_coroutine_threadsafe(other.write(take("a", 9)), loop).result(60)
        runs.append(seen)
        conn.execute(THINGS.update().where(THINGS.c.name == "a").values(size=seen + 10))
        return len(runs)

    assert await db.write(slow) == 2
    assert runs == [0, 1]
    assert await size(db, "a") == 11
    assert counters.total(RERUN, "conflict") == 1


async def test_at_read_committed_one_update_waits_for_the_other_and_is_not_run_again(open_postgres: Open) -> None:
    counters = Counters()
    two = [open_postgres(counters=counters) for _ in range(2)]
    await two[0].write(THINGS.create)
    await two[0].write(add("a"))
    grow = THINGS.update().where(THINGS.c.name == "a").values(size=THINGS.c.size + 1)
    writes = [two[n % 2].write(lambda conn: conn.execute(grow).rowcount, Isolation.READ_COMMITTED) for n in range(40)]
    assert await asyncio.gather(*writes) == [1] * 40
    assert await size(two[0], "a") == 40
    assert counters.total(RERUN) == 0


async def test_a_name_that_two_take_at_once_is_one_s(open_postgres: Open) -> None:
    two = [open_postgres() for _ in range(2)]
    await two[0].write(THINGS.create)

    def claim(conn: Connection) -> bool:
        if conn.scalar(sa.select(THINGS.c.name).where(THINGS.c.name == "www")) is not None:
            return False
        conn.execute(THINGS.insert().values(name="www"))
        return True

    assert sum(await asyncio.gather(*(two[number % 2].write(claim) for number in range(16)))) == 1


async def test_writes_of_one_project_do_not_get_in_each_other_s_way(open_postgres: Open) -> None:
    counters = Counters()
    db = open_postgres(counters=counters)
    await db.write(THINGS.create)
    await db.write(add("a"))
    token = CALLER.set(("project", "ann"))
    done = await asyncio.gather(*(db.write(take("a", 25)) for _ in range(50)))
    CALLER.reset(token)
    assert sum(done) == 25
    assert counters.total(RERUN) == 0


def test_projects_take_turns_and_the_cloud_itself_need_not(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: Turns[str] = Turns()
    for item, owner in (("a1", "a"), ("a2", "a"), ("x1", ""), ("b1", "b"), ("x2", "")):
        turns.add(item, owner)
    monkeypatch.setattr(write_turns, "MOST_WAITING", 5)
    with pytest.raises(Busy, match="5 writes wait"):
        turns.add("c1", "c")
    turns.add("x3", "")
    given = iter(turns)
    under_way = [next(given) for _ in range(5)]
    assert [item for (item,), _ in under_way] == ["a1", "x1", "b1", "x2", "x3"]
    for _, done in under_way:
        done()
    turns.close()
    with pytest.raises(Unavailable):
        turns.add("late", "")
    items, done = next(given)
    assert items == ["a2"]
    done()
    assert list(given) == []


# -- writes that are done together -------------------------------------------------------------------------


async def at_once(
    db: Postgres, *fns: Callable[[Connection], Any], isolation: Isolation = Isolation.SERIALIZABLE
) -> list[Any]:
    """Do writes that wait at the same time, behind one that is under way."""
    begun, held, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()

    def hold(conn: Connection) -> None:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(held.wait(), loop).result(60)

    first = asyncio.ensure_future(db.write(hold))
    await begun.wait()
    levels = (isolation, Isolation.SERIALIZABLE)  # in turn
    writes = [db.write(fn, levels[number % 2]) for number, fn in enumerate(fns)]
    waiting = asyncio.gather(*writes, return_exceptions=True)
    await asyncio.sleep(0)
    held.set()
    await first
    return await waiting


async def test_what_waits_at_the_same_time_is_committed_at_once_and_what_fails_is_undone_alone(
    open_postgres: Open,
) -> None:
    db = open_postgres(writers=1, together=16)
    await db.write(THINGS.create)
    tries: list[str] = []

    def fail(conn: Connection) -> None:
        add("never")(conn)
        raise KeyError("mine")

    def clash(conn: Connection) -> None:
        tries.append("clash")
        add("a")(conn)

    before = db.commits
    told = await at_once(db, add("a"), fail, clash, add("b\0"), lambda conn: None, add("c"), fail)
    assert [told[0], told[4], told[5]] == ["a", None, "c"]
    assert isinstance(told[1], KeyError)
    assert isinstance(told[2], sa.exc.IntegrityError)
    assert isinstance(told[3], Invalid)
    assert isinstance(told[6], KeyError)
    assert await names(db) == ["a", "c"]
    assert len(tries) == 1 + postgres_writers.CLASHES  # together, and then by itself
    assert db.commits - before == 2  # that which they wait for, and theirs
    assert await db.write(add("d")) == "d"


async def test_writes_together_that_are_in_another_s_way_are_done_one_by_one(open_postgres: Open) -> None:
    counters = Counters()
    db, other = open_postgres(counters=counters, writers=1, together=16), open_postgres()
    await db.write(THINGS.create)
    await db.write(lambda conn: [add(name)(conn) for name in "abc"])
    loop = asyncio.get_running_loop()
    runs: list[str] = []

    def slow(conn: Connection) -> bool:
        taken: Any = conn.scalar(sa.select(THINGS.c.size).where(THINGS.c.name == "b"))
        if not runs:
            asyncio.run_coroutine_threadsafe(other.write(take("b", 9)), loop).result(60)
        runs.append("b")
        conn.execute(THINGS.update().where(THINGS.c.name == "b").values(size=taken + 1))
        return True

    assert await at_once(db, take("a", 9), slow, take("c", 9)) == [True, True, True]
    assert [await size(db, name) for name in "abc"] == [1, 2, 1]
    assert len(runs) == 2
    assert counters.total(RERUN, "conflict") == 3


async def test_each_write_of_many_has_the_isolation_that_it_named(open_postgres: Open) -> None:
    db = open_postgres(writers=1, together=16)

    def level(conn: Connection) -> str:
        found: str = conn.exec_driver_sql("SHOW transaction_isolation").scalar_one()
        return found

    before = db.commits
    told = await at_once(db, *[level] * 6, isolation=Isolation.READ_COMMITTED)
    assert told == ["read committed", "serializable"] * 3
    assert db.commits - before == 3  # that which they wait for, and one of each


def test_a_batch_takes_from_each_project_before_it_takes_twice_from_one() -> None:
    turns: Turns[str] = Turns(4)
    for item, owner in (("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("x1", ""), ("a4", "a")):
        turns.add(item, owner)
    given = iter(turns)
    items, done = next(given)
    assert items == ["a1", "b1", "x1", "a2"]
    turns.add("b2", "b")  # waits until what b has under way is done
    done()
    turns.close()
    rest = [(found, finish()) for found, finish in given]
    assert [found for found, _ in rest] == [["a3", "b2", "a4"]]


# -- a connection that is cut -----------------------------------------------------------------------------


class Wire:
    """Stands between Floe and PostgreSQL, and loses answers."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.lose_commits = 0
        """Of so many COMMITs to come the server hears, and its answers are lost."""
        self.cut_before_commit = 0
        """So many COMMITs to come are lost themselves."""
        self.lost = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)  # also of one that is cancelled while it ends
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        mute = asyncio.Event()
        answers = asyncio.ensure_future(self._answers(there, writer, mute))
        try:
            while data := await reader.read(65536):
                commit = b"\0COMMIT\0" in data
                if commit and self.cut_before_commit:
                    self.cut_before_commit -= 1
                    self.lost += 1
                    break
                if commit and self.lose_commits:
                    self.lose_commits -= 1
                    self.lost += 1
                    mute.set()
                back.write(data)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            try:
                if not mute.is_set():
                    answers.cancel()
                await asyncio.wait([answers])
            finally:  # also where this is cancelled meanwhile
                answers.cancel()
                for each in (back, writer):
                    each.close()
            for each in (back, writer):
                with suppress(OSError):
                    await each.wait_closed()

    async def _answers(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter, mute: asyncio.Event) -> None:
        while data := await there.read(65536):
            if mute.is_set():
                writer.close()
                return
            writer.write(data)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)


@asynccontextmanager
async def wired(url: str) -> AsyncIterator[tuple[Wire, str]]:
    address = sa.make_url(url)
    assert address.port is not None
    wire = Wire(address.port)
    server = await asyncio.start_server(wire.carry, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield wire, address.set(port=port).render_as_string(hide_password=False)
    server.close()
    await wire.end()


@pytest.mark.parametrize("how", [{"writers": 4, "together": 1}, {"writers": 1, "together": 3}])
@pytest.mark.parametrize("lost", ["lose_commits", "cut_before_commit"])
async def test_a_write_whose_commit_is_lost_is_done_once(
    postgres_url: str, open_postgres: Open, lost: str, how: dict[str, Any]
) -> None:
    counters = Counters()
    async with wired(postgres_url) as (wire, url):
        db = open_postgres(url, counters=counters, **how)
        await db.write(THINGS.create)
        await db.write(add("a"))
        setattr(wire, lost, 5)

        def grow(conn: Connection) -> int:
            conn.execute(THINGS.update().where(THINGS.c.name == "a").values(size=THINGS.c.size + 1))
            grown: Any = conn.scalar(sa.select(THINGS.c.size).where(THINGS.c.name == "a"))
            return int(grown)

        told = await asyncio.gather(*(db.write(grow) for _ in range(20)))
        assert wire.lost == 5
        assert sorted(told) == list(range(1, 21))  # each was told of what it did, and did it once
        assert await size(db, "a") == 20
        assert counters.total(RERUN, "lost") >= 5
        await asyncio.to_thread(db.close)


async def test_a_server_that_comes_back_is_used_again_and_no_accepted_write_is_lost() -> None:
    server = PostgresServer(durable=True)
    server.start()
    url = server.url("floe")
    server.execute("CREATE DATABASE floe TEMPLATE template0")
    migrate.ensure(url)
    counters, dice = Counters(), Random(7)
    db = Postgres(url, counters=counters, patience=60)
    db.open()
    accepted: list[str] = []
    stopping = False

    async def write(writer: int) -> None:
        number = 0
        while not stopping:
            number += 1
            accepted.append(await db.write(add(f"{writer}-{number}")))
            await asyncio.sleep(0.01 * dice.random())

    try:
        await db.write(THINGS.create)
        writers = [asyncio.ensure_future(write(writer)) for writer in range(8)]
        for immediately in (True, False):
            before = len(accepted)
            while len(accepted) < before + 40:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(server.stop, immediately=immediately)
            await asyncio.to_thread(server.start)
        before = len(accepted)
        while len(accepted) < before + 40:
            await asyncio.sleep(0.01)
        stopping = True
        await asyncio.gather(*writers)
        assert sorted(accepted) == await names(db)
        assert counters.total(RERUN, "lost") > 0
    finally:
        await asyncio.to_thread(db.close)
        server.remove()


async def test_while_the_server_is_away_that_is_said_and_soon() -> None:
    server = PostgresServer()
    server.start()
    server.execute("CREATE DATABASE floe TEMPLATE template0")
    migrate.ensure(server.url("floe"))
    db = Postgres(server.url("floe"), patience=0.3)
    db.open()
    try:
        await db.write(THINGS.create)
        server.stop()
        asked = [
            db.write(add("a")),
            names(db),
            db.scan(lambda conn: conn.scalar(sa.select(1))),
            *(db.write(add("b")) for _ in range(40)),
        ]
        for told in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(told, Unavailable)
            assert "Nothing was changed" in str(told) or "given up" in str(told)
        server.start()
        for _ in range(100):  # it was looked for a moment ago
            try:
                await db.write(add("c"))
                break
            except Unavailable:
                await asyncio.sleep(0.05)
        assert await names(db) == ["c"]
    finally:
        await asyncio.to_thread(db.close)
        server.remove()


async def test_a_server_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (postgres, postgres_readers):
        monkeypatch.setattr(module, "HUNG", 0.2)
    server = PostgresServer()
    server.start()
    server.execute("CREATE DATABASE floe TEMPLATE template0")
    migrate.ensure(server.url("floe"))
    db = Postgres(server.url("floe"), patience=0.3, write_seconds=0.5, read_seconds=0.5)
    db.open()
    try:
        await db.write(THINGS.create)
        await names(db)
        server.freeze()
        for told in await asyncio.gather(db.write(add("a")), names(db), return_exceptions=True):
            assert isinstance(told, Unavailable)
        server.thaw()
    finally:
        await asyncio.to_thread(db.close)
        server.remove()


# -- what cannot be done ----------------------------------------------------------------------------------


async def test_a_lock_that_is_not_to_be_had_is_given_up(open_postgres: Open, postgres_url: str) -> None:
    import psycopg

    db = open_postgres(write_seconds=0.4)
    await db.write(THINGS.create)
    with psycopg.connect(postgres_url) as other:
        other.execute("LOCK TABLE things")
        with pytest.raises(Unavailable, match="has what it needs locked"):
            await db.write(add("a"))
    assert await db.write(add("a")) == "a"


@pytest.mark.parametrize("value", ["a\0b", "\0"])
async def test_text_that_cannot_be_kept_is_the_caller_s_mistake(open_postgres: Open, value: str) -> None:
    db = open_postgres()
    await db.write(THINGS.create)
    with pytest.raises(Invalid, match="NUL"):
        await db.write(add(value))
    for look in (db.read, db.scan):
        with pytest.raises(Invalid, match="NUL"):
            await look(lambda conn: conn.execute(sa.select(THINGS).where(THINGS.c.name == value)).all())
    assert await names(db) == []


async def test_nothing_is_written_where_it_is_to_be_read(open_postgres: Open) -> None:
    db = open_postgres()
    await db.write(THINGS.create)
    for look in (db.read, db.scan):
        with pytest.raises(Unavailable, match="takes no writes"):
            await look(add("a"))


def test_what_is_no_error_of_the_database_is_none() -> None:
    assert failure(ValueError("x")) is None
    assert {Failure.AGAIN, Failure.CLASH} == postgres_writers.CONFLICTS


@pytest.mark.parametrize("url", ["sqlite:///x", "postgresql://", "mysql://h/n", "postgresql+asyncpg://h/n", "x"])
def test_an_address_of_something_else_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="postgresql://user:password@host:5432/name"):
        Postgres(url)


@pytest.mark.parametrize(
    ("how", "what"),
    [("ENCODING 'SQL_ASCII' LOCALE 'C'", "SQL_ASCII"), ("ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'de'", "icu")],
)
def test_a_database_that_would_sort_or_keep_text_otherwise_is_refused(postgres: Any, how: str, what: str) -> None:
    postgres.server.execute(f"CREATE DATABASE other TEMPLATE template0 {how}")
    try:
        with pytest.raises(Invalid, match=f"{what}.*CREATE DATABASE other TEMPLATE template0"):
            migrate.ensure(postgres.server.url("other"))
    finally:
        postgres.server.execute("DROP DATABASE other")
