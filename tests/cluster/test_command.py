"""`scripts/cluster` brings everything up with one command, and `--end` leaves nothing, whatever happened meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cluster_plan import PLAN, planned
from cluster_processes import everything
from role_processes import until

from cluster import Cluster

COMMAND = Path(__file__).parents[2] / "scripts" / "lib" / "cluster_command.py"
WHOLE = {"postgres", "nats", "proxy", "api-1", "api-2", "conductor-1", "conductor-2", "agent-1", "agent-2", "agent-3"}


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(COMMAND), "--dir", str(folder), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def floe(cluster: Cluster, *words: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "floe", *words, "--state", str(cluster.state)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


def opened(folder: Path) -> Cluster:
    return Cluster(folder, planned(folder))


def test_one_command_brings_up_all_of_it_and_says_how_to_use_it(folder: Path) -> None:
    told = command(folder)
    assert told.returncode == 0, told.stderr
    (ready,) = (line for line in told.stdout.splitlines() if line.startswith("cluster: ready"))
    clouds = Path(ready.split()[-1])
    assert clouds == folder / "clouds.yaml"
    assert clouds.stat().st_mode & 0o777 == 0o600
    cluster = opened(folder)
    assert set(cluster.running()) == WHOLE
    assert f'"{cluster.url}/identity/v3"' in clouds.read_text()
    assert "hosts: 3 of 3 up   servers: 0   conductors: 2 of 2 up" in floe(cluster, "top", "--once")

    again = command(folder)
    assert again.returncode == 0, again.stderr
    assert "all of it is there already" in again.stderr
    assert ready in again.stdout
    other = command(folder, "--agents", "4")
    assert other.returncode == 1
    assert "has a cluster of 3 agents with 1 hosts each" in other.stderr
    assert "--end" in other.stderr

    pids = cluster.running()
    for name in ("postgres", "proxy", "api-2", "conductor-1", "agent-3"):
        os.kill(pids[name], signal.SIGKILL)
    cluster.freeze("nats")
    third = command(folder)
    assert third.returncode == 0, third.stderr
    assert {name: pid for name, pid in cluster.running().items() if pids[name] == pid} == {
        name: pids[name] for name in ("nats", "api-1", "conductor-2", "agent-1", "agent-2")
    }
    assert set(cluster.running()) == WHOLE

    for name in ("nats", "api-1", "postgres"):
        os.kill(cluster.running()[name], signal.SIGKILL)
    cluster.freeze("conductor-2")
    assert command(folder, "--end").returncode == 0
    assert not folder.exists()
    assert everything(folder) == set()
    last = command(folder, "--end")
    assert (last.returncode, last.stderr) == (0, f"cluster: there is none in {folder}\n")


@pytest.mark.parametrize("said", ["about to start", "postgres is there", "api-1 is ready"])
def test_a_start_that_was_killed_is_ended(folder: Path, said: str) -> None:
    with subprocess.Popen(
        [sys.executable, str(COMMAND), "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as starting:
        assert starting.stderr is not None
        assert any(said in line for line in starting.stderr)
        starting.kill()
    ended = command(folder, "--end")
    assert ended.returncode == 0, ended.stderr
    assert not folder.exists()
    assert everything(folder) == set()


def test_a_directory_that_was_removed_under_a_cluster_hides_none_of_its_processes(folder: Path) -> None:
    folder.mkdir(mode=0o711)
    cluster = opened(folder)
    cluster.prepare()
    for name in ("postgres", "nats", "proxy"):
        cluster.begin(name)
        cluster.wait(name)
    subprocess.run(["rm", "-rf", folder], check=True)
    ended = command(folder, "--end")
    assert "but processes of it, which are ended" in ended.stderr
    until(lambda: not everything(folder), "something is left")
    cluster.reap()


def test_what_is_no_cluster_is_left_alone(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    (folder / "thesis").touch()
    for words in ((), ("--end",)):
        refused = command(folder, *words)
        assert refused.returncode == 1
        assert "has something else in it than a cluster" in refused.stderr
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert "or a link" in command(link, "--end").stderr
    assert "is no directory" in command(folder / "thesis").stderr
    assert [path.name for path in folder.iterdir()] == ["thesis"]


@pytest.mark.parametrize("left", ["", "{", '{"shape": {"agents": 3, "moons": 1}, "ports": {}, "password": ""}'])
def test_a_plan_that_another_release_left_is_told_of_and_ended(folder: Path, left: str) -> None:
    folder.mkdir()
    (folder / PLAN).write_text(left)
    refused = command(folder)
    assert refused.returncode == 1
    assert "is not as this release writes it" in refused.stderr
    assert command(folder, "--end").returncode == 0
    assert not folder.exists()


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("--agents", "0", "--agents must be between 1 and 200 (it is 0)"),
        ("--agents", "201", "--agents must be between 1 and 200 (it is 201)"),
        ("--hosts-each", "10001", "--hosts-each must be between 1 and 10000 (it is 10001)"),
        ("--fake-delay", "-1", "--fake-delay must be between 0 and 3600 (it is -1)"),
        ("--fake-delay", "nan", "--fake-delay must be between 0 and 3600 (it is nan)"),
    ],
)
def test_numbers_are_checked(folder: Path, flag: str, value: str, says: str) -> None:
    refused = command(folder, flag, value)
    assert refused.returncode == 2
    assert says in refused.stderr
    assert not folder.exists()
