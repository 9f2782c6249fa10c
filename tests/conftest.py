"""What tests of every kind may use."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from hypothesis import settings
from nats_server import NatsServer, nats_server
from postgres_server import PostgresServer

from floe.core.ids import random_id
from floe.store import migrate
from floe.store.engine import Database, Transactions
from floe.store.repeated import RepeatedWrites
from floe.testing import EmbeddedCloud

Repeating = Callable[[Transactions], Transactions]
NewDatabase = Callable[[Path], Transactions]
SQLITE, POSTGRESQL = "sqlite", "postgresql"

# A run tells of the change, not of the dice: examples are the same each time. `--hypothesis-profile=explore` draws new.
settings.register_profile("repeatable", derandomize=True)
settings.register_profile("explore", print_blob=True)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--writes-twice",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="run a share of all writes to the database twice",
    )
    parser.addoption(
        "--database", choices=[SQLITE, POSTGRESQL], default=SQLITE, help="the database that clouds in tests stand on"
    )
    parser.addoption(
        "--chaos-seconds",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="for how long processes of a cluster are killed at random (120 before a release)",
    )


@pytest.fixture
def writes_twice(request: pytest.FixtureRequest) -> float:
    """The share of writes that run twice in this test."""
    share: float = request.config.getoption("writes_twice")
    return 0.0 if request.node.get_closest_marker("once") else share


@pytest.fixture
def repeating(writes_twice: float, request: pytest.FixtureRequest) -> Repeating:
    """Make of a database one on which as many writes run twice as the command line says."""
    dice = Random(request.node.nodeid)

    def make(db: Transactions) -> Transactions:
        if not writes_twice:
            return db
        return RepeatedWrites(db, share=writes_twice, dice=dice, new_id=random_id, now=lambda: datetime.now(UTC))

    return make


_WIPE = """
DO $$ DECLARE name text; found bool; BEGIN
    SET LOCAL session_replication_role = replica;
    SET LOCAL lock_timeout = '5s';
    FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
        AND relname <> 'alembic_version' LOOP
        EXECUTE format('SELECT EXISTS (SELECT 1 FROM %I)', name) INTO found;
        IF found THEN EXECUTE format('DELETE FROM %I', name); END IF;
    END LOOP;
    FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S' LOOP
        PERFORM setval(name::regclass, 1, false);
    END LOOP;
END $$
"""


class PostgresDatabases:
    """A PostgreSQL of the tests', and databases in it, each a copy of another."""

    def __init__(self) -> None:
        import psycopg  # which tests on SQLite do without

        self.server = PostgresServer()
        self.server.start()
        self._admin = psycopg.connect(self.server.url(), autocommit=True)
        self._numbers = itertools.count(1)
        self.empty = self.copy_of("template0")
        """Has all tables."""
        migrate.ensure(self.empty)
        self._free: list[str] = []

    def take(self) -> str:
        """Return a database with all tables, which nobody uses."""
        return self._free.pop() if self._free else self.copy_of(self.empty)

    def give_back(self, url: str) -> None:
        """Empty a database for whoever takes it next: to make one takes many times as long."""
        import psycopg

        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_WIPE)
        self._free.append(url)

    def copy_of(self, url: str) -> str:
        """Return a new database like that one, which nobody is connected to."""
        name, template = f"floe_{next(self._numbers)}", url.rpartition("/")[2]
        self._admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.server.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, and cut off whoever is connected to it."""
        self._admin.execute(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    def close(self) -> None:
        """Remove everything."""
        self._admin.close()
        self.server.remove()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresDatabases]:
    """Give a PostgreSQL."""
    databases = PostgresDatabases()
    yield databases
    databases.close()


@pytest.fixture
def postgres_url(postgres: PostgresDatabases) -> Iterator[str]:
    """Give a database of PostgreSQL with all tables."""
    url = postgres.copy_of(postgres.empty)
    yield url
    postgres.drop(url)


@pytest.fixture(scope="session")
def kind_of_database(request: pytest.FixtureRequest) -> str:
    """What clouds in tests stand on, as the command line says."""
    found: str = request.config.getoption("database")
    return found


@pytest.fixture
def new_database(request: pytest.FixtureRequest, kind_of_database: str) -> Iterator[NewDatabase]:
    """Make databases to be opened, each known by a path; those of PostgreSQL have all tables already."""
    known: dict[Path, str] = {}

    def make(path: Path) -> Transactions:
        if kind_of_database == SQLITE:
            return Database(path)
        if path not in known:
            known[path] = postgres.take()
        from floe.store.postgres import Postgres

        return Postgres(known[path])

    if kind_of_database == POSTGRESQL:
        postgres: PostgresDatabases = request.getfixturevalue("postgres")
    yield make
    for url in known.values():
        postgres.give_back(url)


@pytest.fixture(scope="session")
def first_start_url(request: pytest.FixtureRequest, kind_of_database: str) -> str:
    """The database of `first_start`, "" where it is SQLite's."""
    if kind_of_database == SQLITE:
        return ""
    postgres: PostgresDatabases = request.getfixturevalue("postgres")
    return postgres.copy_of(postgres.empty)


@pytest.fixture(scope="session")
def first_start(tmp_path_factory: pytest.TempPathFactory, first_start_url: str) -> Path:
    """The state directory of a cloud that was started once and stopped: a quick beginning for all others."""
    folder = tmp_path_factory.mktemp("first-start") / "state"

    async def start_and_stop() -> None:
        async with EmbeddedCloud(folder, hosts=2, database=first_start_url):
            pass

    asyncio.run(start_and_stop())
    return folder


@pytest.fixture
def started_database(request: pytest.FixtureRequest, first_start: Path, first_start_url: str) -> Iterator[str]:
    """Give a copy of the database of `first_start`; "" where it comes with the folder."""
    if not first_start_url:
        yield ""
        return
    postgres: PostgresDatabases = request.getfixturevalue("postgres")
    url = postgres.copy_of(first_start_url)
    yield url
    postgres.drop(url)


@pytest.fixture
async def embedded(
    first_start: Path, started_database: str, tmp_path: Path, writes_twice: float
) -> AsyncIterator[EmbeddedCloud]:
    """A running cloud with two fake hosts."""
    state = tmp_path / "state"
    async with EmbeddedCloud(
        state, hosts=2, template=first_start, database=started_database, repeated_writes=writes_twice
    ) as cloud:
        yield cloud


@pytest.fixture(scope="session")
def nats() -> Iterator[NatsServer]:
    """A NATS server that takes everybody; whoever stops or freezes one has one of his own."""
    with nats_server() as server:
        yield server
