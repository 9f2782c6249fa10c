"""The whole cloud in simulation: a fixed set of seeds, that a seed replays, and that planted bugs are found.

The seeds run in processes of their own, because the order of sets of strings has to be the same in all of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from floe.agent.folders import remove_folder
from floe.conductor.runner import Runner
from floe.simulation import command, running
from floe.simulation.apart import OLDER_THAN_ALL
from floe.simulation.plan import make
from floe.simulation.planted import PLANTED
from floe.simulation.planting import BY_ITSELF, Planted, patched
from floe.simulation.questions import UNPROVEN
from floe.simulation.running import Simulator
from floe.simulation.shape import HEALED, Event, Plan
from floe.simulation.storage import REMOVED_FOR_CERTAIN, Removals, Synced
from floe.simulation.world import SETTINGS

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


QUICK = (
    *("step-before-effect", "no-sweep", "undo-not-idempotent", "no-undo", "count-left", "port-forgotten"),
    *("delete-waits-for-nobody", "release-uncounted", "disk-left-out", "files-left", "not-brought-back"),
    *("one-taken-by-all", "holding-too-early", "deadline-ignored", "one-taken-by-each", "parts-for-one"),
    *("attempt-uncounted", "leases-of-the-dead", "report-uncompared", "last-part-unsent", "gone-for-ever"),
    *("gateway-kept", "way-of-another", "password-said-once", "password-whenever"),
    *("topology-in-parts", "pin-untold"),
)
"""Planted bugs that the first few runs show; `scripts/simulate --planted` looks for all of them."""


def test_planted_bugs_are_found() -> None:
    done = simulate("--planted", *QUICK)
    assert done.returncode == 0, done.stdout + done.stderr
    head, *rows, total = done.stdout.splitlines()
    assert head.split() == ["planted", "bug", "runs", "by", "seed", "CPU", "s", "what", "was", "seen"]
    told = {row.split()[0]: row.split()[1:4] for row in rows}
    assert set(told) == set(QUICK)
    assert all(0 < int(runs) <= int(seed) + 1 and float(seconds) > 0 for runs, seed, seconds in told.values())
    assert total.startswith(f"{len(QUICK)} of {len(QUICK)} planted bugs were found, in ")


def test_a_planted_bug_that_is_not_found_is_told_of_and_is_a_failure() -> None:
    done = simulate("--planted", "move-not-taken-home", "--most", "1")
    assert done.returncode == 1, done.stderr
    _, row, total = done.stdout.splitlines()
    assert row.split()[:4] == ["move-not-taken-home", "1", "NOT", "FOUND"]
    assert total.startswith("0 of 1 planted bugs were found, in 1 runs")
    assert total.endswith("; not: move-not-taken-home")


@pytest.mark.parametrize(("broken", "seed"), [(False, 0), (True, None)])
def test_an_error_of_what_was_planted_does_not_count_as_found(broken: bool, seed: int | None, tmp_path: Path) -> None:
    """The bug is what its text says; that what stands for it fails by itself says nothing of the simulator."""
    source = tmp_path / ("planted_broken.py" if broken else "other.py")
    source.write_text("async def renew(self):\n    raise ZeroDivisionError\n")
    code: dict[str, Any] = {}
    exec(compile(source.read_text(), source, "exec"), code)
    found = command.find(Planted("bug", "", patched((Runner, "renew", code["renew"]))), 0, 2)
    assert found.seed == seed
    assert (BY_ITSELF in found.what) == broken


def stood_still_for_longer_than_a_lease(conductor: str, seed: int) -> Plan:
    """One of two conductors builds on a host that is away, stands still, and comes to itself when the other has it."""
    create = {"project": 0, "least": 1, "most": 1, "flavor": "0", "image": 0, "group": False, "network": "none"}
    events = (
        Event(at=1.0, what="crash", args={"role": "agent-h1", "point": "plane.after", "count": 1, "down": 15.0}),
        Event(at=3.0, what="create", args=create),
        Event(at=3.8, what="stall", args={"role": conductor, "seconds": 10.0}),
    )
    return Plan(seed=seed, hosts=1, conductors=2, together=False, slow=1.0, noise=False, events=events)


@pytest.mark.parametrize("bug", [None, "no-fencing"])
def test_who_lost_a_lease_is_seen_to_go_on_writing(bug: str | None) -> None:
    simulator = Simulator(plant=next((each.plant for each in PLANTED if each.name == bug), None))
    try:
        plans = [stood_still_for_longer_than_a_lease(f"conductor-{n}", seed) for n in (1, 2) for seed in (1, 2)]
        found = {violation.rule for plan in plans for violation in simulator.run(plan).violations}
    finally:
        simulator.close()
    assert found == ({UNPROVEN} if bug else set())  # it proves nothing, and does not stop asking


def led_to_and_gone(pick: int) -> Plan:
    """Two servers on one host, each with a floating IP, of which one goes, while the other keeps the router there."""

    def routed(at: float, what: str, other: int = 0) -> Event:
        return Event(at=at, what="routed", args={"do": what, "project": 0, "pick": 1, "other": other})

    create = {"project": 0, "least": 2, "most": 2, "flavor": "0", "image": 0, "group": False, "network": "auto"}
    events = (
        Event(at=1.0, what="create", args=create),
        routed(1.5, "router"),
        routed(2.0, "join"),
        *(routed(6.0 + n / 2, "floating", n) for n in range(2)),
        Event(at=15.0, what="delete", args={"pick": pick}),
    )
    return Plan(seed=1, hosts=1, conductors=1, together=False, slow=0.2, noise=False, events=events)


@pytest.mark.parametrize("bug", [None, "floating-of-the-gone"])
def test_where_floating_ips_are_is_seen_while_it_lasts(bug: str | None) -> None:
    simulator = Simulator(plant=next((each.plant for each in PLANTED if each.name == bug), None))
    try:
        found = {violation.rule for pick in (0, 1) for violation in simulator.run(led_to_and_gone(pick)).violations}
    finally:
        simulator.close()
    assert bool(found) == (bug is not None), found


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("unplug", ("bus lost conductor", "bus back conductor")),
        ("partition", ("bus lost agent", "bus back agent")),
        ("very-late", ("very late do", "very late _R", "very late one")),
    ],
)
def test_what_goes_wrong_between_programs_is_felt(what: str, told: tuple[str, ...]) -> None:
    plans = [
        plan
        for plan in map(make, range(400))
        if plan.frame and any(each.what == what and each.args["seconds"] > 4.0 for each in plan.events)
    ]
    missing, simulator = set(told), Simulator()
    try:
        for plan in plans:
            if missing:
                story = "\n".join(simulator.run(plan, story=True).story)
                missing = {each for each in missing if each not in story}
    finally:
        simulator.close()
    assert missing == set()


def test_long_runs_have_partitions_and_lateness_beyond_all_that_is_waited_for() -> None:
    plans = [plan for plan in map(make, range(1500)) if plan.healed != HEALED]
    cuts = [each for plan in plans for each in plan.events if each.args.get("seconds", 0.0) > 30.0]
    assert {(each.what, each.args.get("role", each.args.get("host", "")).rstrip("-123")) for each in cuts} >= {
        *(("partition", "h"), ("unplug", "api"), ("unplug", "conductor"), ("no-database", "api")),
        ("no-database", "conductor"),
    }
    waits = (SETTINGS.spawn, SETTINGS.destroy, SETTINGS.lease, SETTINGS.host_down, SETTINGS.write_seen)
    late = [each.args["by"] for plan in plans for each in plan.events if "by" in each.args and "which" in each.args]
    assert late
    assert min(late) > max(waits)
    assert all(max(each.at for each in plan.events) < plan.healed for plan in plans)


def test_what_is_older_than_any_deadline_still_comes() -> None:
    plans = [
        plan for plan in map(make, range(1500)) if any(each.args.get("by") == OLDER_THAN_ALL for each in plan.events)
    ]
    simulator = Simulator()
    try:
        told = "\n".join("\n".join(simulator.run(plan, story=True).story) for plan in plans[:8])
    finally:
        simulator.close()
    assert "very late" in told


def test_runs_in_which_a_bug_cannot_show_are_passed_over() -> None:
    plans = [make(seed) for seed in range(200)]
    needs = {"": 200, "power": 0, "hypervisor destroy": 0, "an event there is not": 0}
    for what in needs:
        needs[what] = len([plan for plan in plans if Planted("bug", "", patched(), what).matters(plan)])
    assert needs[""] == 200
    assert needs["power"] > needs["hypervisor destroy"] > needs["an event there is not"] == 0


def test_a_planted_bug_is_shrunk_to_a_script_that_still_finds_it() -> None:
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


def test_a_power_loss_brings_back_what_was_removed_just_before(tmp_path: Path) -> None:
    """Neither guests nor files are synced when they go; after a while it is certain that they went."""
    dice, now, back, late, images = Random(1), [0.0], set(), set(), set()
    cached = tmp_path / "cache" / "image"
    cached.parent.mkdir()
    cached.touch()
    for number in range(40):
        removals = Removals(tmp_path / "guests", tmp_path / "removed", cached.parent, lambda: now[0], lambda _: False)
        for name in ("early", "soon"):
            folder = tmp_path / "guests" / name
            (folder / "images").mkdir(parents=True)
            (folder / "images" / "kernel").hardlink_to(cached)
            (folder / "images" / "evicted").touch()
            (folder / "disk").write_text(name)
            removals.guest(name)
            removals.instead(remove_folder)(folder)
            assert not folder.exists()
            assert cached.stat().st_nlink == 1, "who counts its names sees it"
            now[0] += REMOVED_FOR_CERTAIN - 1
        guests, folders = removals.power_loss(dice)
        found = {path.name for path in (tmp_path / "guests").iterdir()}
        back.add(("soon" in guests, "soon" in found))
        late |= {name for name in (*guests, *found) if name == "early"}
        assert all((tmp_path / "guests" / name / "disk").read_text() == name for name in found)
        images |= {tuple(path.name for path in (tmp_path / "guests" / name).glob("images/*")) for name in found}
        assert cached.stat().st_nlink == 1 + len([*tmp_path.glob("guests/*/images/kernel")]), f"run {number}"
        assert found == set(folders)
        assert removals.power_loss(dice) == ([], [])
        shutil.rmtree(tmp_path / "guests")
    assert back == {(True, True), (True, False), (False, True), (False, False)}
    assert late == set()
    assert images == {("kernel",), ()}, "all that can be back, or a part alone"


def test_a_power_loss_brings_no_folder_back_whose_place_another_had_that_was_brought_to_the_disk(
    tmp_path: Path,
) -> None:
    """What is on the disk for certain says that what was there before it has gone."""
    dice, clock, found = Random(1), count(), {True: set[str](), False: set[str]()}
    for synced in (True, False) * 20:
        removals = Removals(
            tmp_path / "guests", tmp_path / "removed", tmp_path, lambda: float(next(clock)), lambda _, is_=synced: is_
        )
        for order in ("first", "second"):
            folder = tmp_path / "guests" / "guest"
            folder.mkdir(parents=True)
            (folder / "disk").write_text(order)
            removals.instead(remove_folder)(folder)
        removals.power_loss(dice)
        found[synced] |= {path.read_text() for path in tmp_path.glob("guests/guest/disk")}
        shutil.rmtree(tmp_path / "guests")
    assert found == {True: {"second"}, False: {"first", "second"}}
