"""What tests of every kind may use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from floe.testing import EmbeddedCloud


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
async def embedded(first_start: Path, tmp_path: Path) -> AsyncIterator[EmbeddedCloud]:
    """A running cloud with two fake hosts."""
    async with EmbeddedCloud(tmp_path / "state", hosts=2, template=first_start) as cloud:
        yield cloud
