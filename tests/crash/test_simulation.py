"""The whole cloud in simulation: a fixed set of seeds, that a seed replays, and that planted bugs are found.

The seeds run in processes of their own, because the order of sets of strings has to be the same in all of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from floe.simulation import running
from floe.simulation.plan import make
from floe.simulation.running import Simulator
from floe.simulation.storage import Synced

SEEDS, PARTS = 300, 4


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "floe.simulation.command", *arguments]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize("part", range(PARTS))
def test_every_promise_is_kept_whatever_is_killed(part: int) -> None:
    each = SEEDS // PARTS
    done = simulate("--seeds", str(each), "--from", str(part * each))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "bug",
    [
        *("no-sweep", "claim-outside", "port-forgotten", "network-order", "count-left", "members-order"),
        *("done-when-begun", "id-made-inside", "one-taken-by-all"),
    ],
)
def test_a_planted_bug_is_found(bug: str) -> None:
    done = simulate("--planted", bug)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{bug}: found after" in done.stdout


def test_a_planted_bug_is_shrunk_to_a_script_that_still_finds_it() -> None:
    from floe.simulation.planted import PLANTED

    bug = next(bug for bug in PLANTED if bug.name == "port-forgotten")
    simulator = Simulator(plant=bug.plant)
    try:
        outcome = next(found for seed in range(20) if (found := simulator.seed(seed)).violations)
        small = simulator.shrink(outcome)
        assert len(small.plan.events) < len(outcome.plan.events)
        assert small.violations[0].rule == outcome.violations[0].rule
        assert simulator.run(small.plan).digest == small.digest
    finally:
        simulator.close()


def test_a_seed_goes_the_same_way_twice() -> None:
    simulator = Simulator()
    try:
        seen = {seed: simulator.seed(seed).digest for seed in range(12)}
        assert {seed: simulator.run(make(seed)).digest for seed in reversed(range(12))} == {
            seed: seen[seed] for seed in range(12)
        }
        assert len(set(seen.values())) == len(seen)
    finally:
        simulator.close()


def test_what_a_killed_run_left_is_removed_by_the_next() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = running.memory() / f"floe-simulation-{gone.pid}-x"
    left.mkdir()
    simulator = Simulator()
    simulator.close()
    assert not left.exists()


def test_what_others_left_open_is_not_told_of_by_a_simulator(tmp_path: Path) -> None:
    left: list[object] = [(tmp_path / "open").open("wb", buffering=0)]
    left.append(left)
    del left  # a warning of it would fail this test
    Simulator().close()


def test_a_plan_with_one_conductor_less_asks_nothing_of_it() -> None:
    plan = next(
        plan
        for plan in map(make, range(1000))
        if plan.conductors == 2 and any(event.args.get("role") == "conductor-2" for event in plan.events)
    )
    fewer = running.with_one_conductor(plan)
    assert fewer.roles == [role for role in plan.roles if role != "conductor-2"]
    assert fewer.events == tuple(event for event in plan.events if event.args.get("role") != "conductor-2")


def test_a_power_loss_leaves_what_was_synced(tmp_path: Path) -> None:
    synced, dice = Synced(), Random(1)
    with synced.watching(), (tmp_path / "kept").open("wb") as file:
        file.write(b"safe")
        file.flush()
        os.fsync(file.fileno())
        file.write(b" or not")
    sizes = set()
    for _ in range(50):
        (tmp_path / "lost").write_bytes(b"never synced")
        synced.power_loss(tmp_path, dice)
        assert (tmp_path / "kept").read_bytes().startswith(b"safe")
        sizes.add((tmp_path / "lost").stat().st_size if (tmp_path / "lost").exists() else None)
    assert {None, 0} <= sizes
    assert len(sizes) > 3
