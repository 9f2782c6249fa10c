"""What tests of every kind may use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from hypothesis import settings

from floe.core.ids import random_id
from floe.store.engine import Transactions
from floe.store.repeated import RepeatedWrites
from floe.testing import EmbeddedCloud

Repeating = Callable[[Transactions], Transactions]

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
def first_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state directory of a cloud that was started once and stopped: a quick beginning for all others."""
    folder = tmp_path_factory.mktemp("first-start") / "state"

    async def start_and_stop() -> None:
        async with EmbeddedCloud(folder, hosts=2):
            pass

    asyncio.run(start_and_stop())
    return folder


@pytest.fixture
async def embedded(first_start: Path, tmp_path: Path, writes_twice: float) -> AsyncIterator[EmbeddedCloud]:
    """A running cloud with two fake hosts."""
    async with EmbeddedCloud(tmp_path / "state", hosts=2, template=first_start, repeated_writes=writes_twice) as cloud:
        yield cloud
