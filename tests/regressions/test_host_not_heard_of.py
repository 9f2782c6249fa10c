"""After a restart nothing is placed on a host that was there before and is not any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from floe.testing import EmbeddedCloud


@pytest.fixture
async def first_start(tmp_path: Path) -> Path:
    """A state that was left by a cloud of two hosts which was killed: both are still thought to be there."""
    folder = tmp_path / "before"
    async with EmbeddedCloud(folder, hosts=2) as cloud:
        for agent in cloud.node.agents:
            await agent.crash()
        cloud.node.agents.clear()
    return folder


async def test_a_create_after_the_restart_does_not_wait_for_a_host_that_is_gone(start: Any) -> None:
    user = await start(hosts=1)
    assert not user.cloud.node.conductor.fleet.alive("fake-2")
    made = [await user.built(name=f"s{number}") for number in range(4)]
    assert set(user.cloud.node.fake_hosts["fake-1"].guests) == set(made)
