"""A process has the roles that its settings name, holds its state directory, and goes on at once after a death."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from floe.assembly.node import Node
from floe.core.errors import Conflict, Invalid
from floe.places import place
from floe.settings import Settings, load
from floe.testing import EmbeddedCloud


@pytest.mark.parametrize("roles", ["api", "api,conductor", "agent conductor"])
def test_roles_that_would_not_find_the_others_are_refused_with_what_is_missing(tmp_path: Path, roles: str) -> None:
    settings = Settings(state=tmp_path, hypervisor="fake", roles=roles)
    with pytest.raises(Invalid) as refused:
        Node(settings, passwords={}, token_keys=[], url="http://localhost")
    for role in {"api", "conductor", "agent"} - set(roles.replace(",", " ").split()):
        assert role in str(refused.value).partition("without")[2].partition(":")[0]
    assert "database and a bus that several processes can share" in str(refused.value)


@pytest.mark.parametrize("roles", ["", "nova", "api,api,conductor,agent", "api;conductor;agent"])
def test_roles_that_are_none_are_refused(roles: str) -> None:
    with pytest.raises(Invalid, match="roles must be some of api, conductor, agent, each once"):
        load({"roles": roles}, {})


def test_floe_up_says_which_roles_it_cannot_serve_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "floe", "up", "--state", str(tmp_path / "state"), "--hypervisor", "fake"]
    done = subprocess.run(
        [*command, "--listen", "127.0.0.1:0", "--roles", "conductor"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 2
    assert "roles is 'conductor', without api and agent" in done.stderr
    assert "Traceback" not in done.stderr


async def test_roles_in_another_order_start_in_theirs(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path, hypervisor="fake", roles="agent, conductor api")
    node = Node(settings, passwords={"admin": "a", "demo": "d"}, token_keys=[], url="http://localhost")
    await node.start()
    assert node.agents[0].serves
    assert (await node.health())["agents"] == "ok"
    await node.agents[0].stop()
    assert (await node.hosts.parts())["agents"] == "0 of 1 take commands"
    await node.stop()


async def test_a_folder_has_one_cloud_at_a_time_and_the_next_runs_at_its_place(tmp_path: Path) -> None:
    async with EmbeddedCloud(tmp_path / "state") as cloud:
        before = cloud.node.conductor.owner
        with pytest.raises(Conflict, match="already uses the state directory"):
            await EmbeddedCloud(tmp_path / "state").__aenter__()
    async with EmbeddedCloud(tmp_path / "state") as cloud:
        after = cloud.node.conductor.owner
    async with EmbeddedCloud(tmp_path / "other") as cloud:
        other = cloud.node.conductor.owner
    assert before != after
    assert before.partition("/")[0] == after.partition("/")[0] != other.partition("/")[0]


def test_a_place_that_a_power_cut_left_empty_is_a_new_one(tmp_path: Path) -> None:
    first = place(tmp_path)
    assert place(tmp_path) == first
    (tmp_path / "place").write_text("")
    assert place(tmp_path) not in ("", first)
