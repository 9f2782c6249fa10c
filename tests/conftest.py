"""What tests of every kind may use."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from databases import Files, LentDatabases, NewDatabase, PostgresDatabases
from hypothesis import settings
from nats_server import NatsServer, nats_server

from floe.core.ids import random_id
from floe.store.engine import Transactions
from floe.store.repeated import RepeatedWrites
from floe.testing import EmbeddedCloud

Repeating = Callable[[Transactions], Transactions]
SQLITE, POSTGRESQL = "sqlite", "postgresql"

# httpx asks for this at each request to an application, and looks for it on the disk each time: it is not there.
sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]

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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is true of SQLite alone, where clouds stand on another database, and Debian if nobody asks for it.

    Tests with real guests that share a cloud are of one group: one process runs them all, and boots it once.
    """
    for item in items:
        if item.get_closest_marker("e2e"):
            item.add_marker(pytest.mark.xdist_group(_whose_guests(item)))
    left_out = [] if config.getoption("database") == SQLITE else ["sqlite"]
    left_out += [] if "debian" in config.getoption("markexpr") else ["debian"]
    others = [item for item in items if any(map(item.get_closest_marker, left_out))]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


def _whose_guests(item: pytest.Item) -> str:
    """Return what names the cloud that a test shares: that of its file, or one that several files have."""
    kind = item.callspec.params.get("pair") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None
    return str(item.location[0]) if kind is None else f"pair-{kind}"


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


@pytest.fixture(scope="session")
def no_text_holds(kind_of_database: str) -> str:
    """The characters that the database keeps in no text."""
    return "" if kind_of_database == SQLITE else "\0"


@pytest.fixture(scope="session")
def lent_databases(request: pytest.FixtureRequest, kind_of_database: str) -> LentDatabases:
    """Lend what makes databases, each known by a path: for tests that need new ones time after time.

    They have all tables already; who borrowed them has closed them when they are given back.
    """

    if kind_of_database == SQLITE:
        folder: Path = request.getfixturevalue("tmp_path_factory").mktemp("empty")
        return Files(folder).lent
    postgres: PostgresDatabases = request.getfixturevalue("postgres")
    return postgres.lent


@pytest.fixture
def new_database(lent_databases: LentDatabases) -> Iterator[NewDatabase]:
    """Make databases for one test."""
    with lent_databases() as make:
        yield make


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
