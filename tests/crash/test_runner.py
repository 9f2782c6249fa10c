"""A tiny workflow, killed between every two things it does; what was done is not done again, what failed is undone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from floe.conductor.failures import Failure
from floe.conductor.fleet import ConductorSettings
from floe.conductor.runner import Runner
from floe.conductor.workflow import Begin, Flow, Outcome, Workflow
from floe.core.actions import FAILED, OPEN_STATES, SUCCEEDED, Action, Step
from floe.core.clock import FixedClock
from floe.core.errors import HostFailure
from floe.store import actions
from floe.store.engine import Connection, Database
from floe.store.schema import create_all


class Killed(BaseException):
    """The process died here."""


class World:
    """What the workflow changes outside the database, and a death that waits at the n-th event."""

    def __init__(self, dies_at: int = -1, fails: bool = False) -> None:
        self.log: list[str] = []
        self.dies_at, self.events, self.fails = dies_at, 0, fails

    def tick(self) -> None:
        self.events += 1
        if self.events == self.dies_at:
            raise Killed

    def workflow(self) -> Workflow:
        return Workflow(kind="tiny", run=self.run, undos={"first": self.undo, "second": self.undo}, failed=self.failed)

    async def run(self, flow: Flow) -> None:
        self.tick()
        drawn = await flow.transaction("draw", lambda _: Outcome(output=len(self.log), begins=Begin(name="first")))
        self.tick()
        await flow.effect("first", self.effect(f"first {drawn}"), returns=str)
        self.tick()
        await flow.transaction("middle", lambda _: None)
        self.tick()
        await flow.effect("second", self.effect("second", self.fails), returns=str)
        self.tick()
        await flow.transaction("end", lambda _: None, last=True)
        self.tick()

    def effect(self, name: str, fails: bool = False) -> Callable[[], Awaitable[str]]:
        async def call() -> str:
            self.tick()
            self.log.append(name)
            self.tick()
            if fails:
                raise HostFailure("It broke.", host="h")
            return name

        return call

    async def undo(self, flow: Flow, step: Step) -> None:
        self.tick()
        self.log.append(f"undo {step.name}")
        self.tick()

    def failed(self, conn: Connection, flow: Flow, failure: Failure) -> None:
        self.log.append(f"failed: {failure.message}")


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    made = Database(tmp_path / "floe.db")
    made.open()
    await made.write(create_all)
    yield made
    made.close()


def an_action(clock: FixedClock, ident: str = "a1") -> Action:
    return Action(
        id=ident, kind="tiny", subject_id="s", project_id="p", user_id="u", request_id="r", created_at=clock.now()
    )


def runner(db: Database, world: World, clock: FixedClock, owner: str) -> Runner:
    return Runner(db, clock, {"tiny": world.workflow()}, ConductorSettings(), owner=owner, sleep=asyncio.sleep)


async def run_once(made: Runner) -> bool:
    """Run what waits; False if the process died of it."""
    made.sweep()
    tasks = list(made._tasks.values())
    results = await asyncio.gather(*tasks, return_exceptions=True)
    return not any(isinstance(result, Killed) for result in results)


def state(db: Database, ident: str = "a1") -> str:
    found = db.read_now(lambda conn: actions.get(conn, ident))
    assert found is not None
    return found.state


async def test_a_workflow_runs_once_from_begin_to_end(db: Database) -> None:
    clock, world = FixedClock(), World()
    await db.write(lambda conn: actions.add(conn, an_action(clock)))
    assert await run_once(runner(db, world, clock, "one"))
    assert state(db) == SUCCEEDED
    assert world.log == ["first 0", "second"]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("dies_at", range(1, 20))
async def test_a_death_at_any_point_is_recovered_from(db: Database, dies_at: int, fails: bool) -> None:
    clock, world = FixedClock(), World(dies_at, fails)
    await db.write(lambda conn: actions.add(conn, an_action(clock)))
    survived = await run_once(runner(db, world, clock, "one"))
    if not survived:
        assert await run_once(runner(db, world, clock, "two"))  # the lease still runs: nothing may happen
        clock.advance(31)
        assert await run_once(runner(db, world, clock, "three"))
    assert state(db) == (FAILED if fails else SUCCEEDED)
    once = [entry for index, entry in enumerate(world.log) if entry not in world.log[:index]]
    done = ["first 0", "second"]
    assert once == ([*done, "undo second", "undo first", "failed: It broke."] if fails else done)
    assert len(world.log) - len(once) <= 2, "only the one thing that was under way is done again"


async def test_a_late_answer_of_a_dead_owner_changes_nothing(db: Database) -> None:
    clock, slow, gate = FixedClock(), World(), asyncio.Event()
    await db.write(lambda conn: actions.add(conn, an_action(clock)))
    hung = asyncio.Event()

    async def hang(flow: Flow) -> None:
        await flow.transaction("draw", lambda _: 0)
        hung.set()
        await gate.wait()
        await flow.transaction("end", lambda _: slow.log.append("late"), last=True)

    workflow = Workflow(kind="tiny", run=hang, failed=slow.failed)
    old = Runner(db, clock, {"tiny": workflow}, ConductorSettings(), owner="old", sleep=asyncio.sleep)
    old.sweep()
    await hung.wait()
    clock.advance(31)
    world = World()
    assert await run_once(runner(db, world, clock, "new"))
    assert state(db) == SUCCEEDED
    gate.set()
    await old.idle()
    assert slow.log == []
    assert state(db) == SUCCEEDED


def now_read(db: Database) -> Action:
    """Return the action as it is now."""
    found = db.read_now(lambda conn: actions.get(conn, "a1"))
    assert found is not None
    return found


async def test_an_owner_whose_lease_ran_out_and_back_may_not_write_from_a_stale_journal(db: Database) -> None:
    clock = FixedClock()
    await db.write(lambda conn: actions.add(conn, an_action(clock)))
    lease = timedelta(seconds=30)

    now = clock.now()
    assert await db.write(lambda conn: actions.take(conn, now_read(db), 0, "a", "running", now, now + lease))
    clock.advance(31)
    later = clock.now()
    assert await db.write(lambda conn: actions.take(conn, now_read(db), 1, "b", "running", later, later + lease))
    clock.advance(31)
    last = clock.now()
    assert not await db.write(lambda conn: actions.hold(conn, "a1", "a", 1, "running", last, last + lease))
    assert not await db.write(lambda conn: actions.take(conn, now_read(db), 1, "a", "running", last, last + lease))
    assert await db.write(lambda conn: actions.take(conn, now_read(db), 2, "a", "running", last, last + lease))


async def test_a_cancelled_action_stops_silently(db: Database) -> None:
    clock, gate, began = FixedClock(), asyncio.Event(), asyncio.Event()
    await db.write(lambda conn: actions.add(conn, an_action(clock)))
    told: list[str] = []

    async def run(flow: Flow) -> None:
        await flow.transaction("draw", lambda _: Outcome(begins=Begin(name="first")))
        began.set()
        await gate.wait()
        raise HostFailure("It was deleted.")

    async def undo(flow: Flow, step: Step) -> None:
        told.append("undo")

    workflow = Workflow(kind="tiny", run=run, undos={"first": undo}, failed=lambda *_: told.append("failed"))
    made = Runner(db, clock, {"tiny": workflow}, ConductorSettings(), owner="one", sleep=asyncio.sleep)
    made.sweep()
    await began.wait()
    await db.write(lambda conn: actions.cancel_open(conn, "s", clock.now(), but="delete"))
    gate.set()
    await made.idle()
    assert told == []
    assert state(db) not in OPEN_STATES


async def test_an_error_nobody_meant_is_tried_again_and_then_fails_the_action(db: Database) -> None:
    clock, tries = FixedClock(), []
    await db.write(lambda conn: actions.add(conn, an_action(clock)))

    async def run(flow: Flow) -> None:
        await flow.transaction("draw", lambda _: None)
        tries.append(1)
        raise ZeroDivisionError

    workflow = Workflow(kind="tiny", run=run, failed=lambda *_: None)
    made = Runner(db, clock, {"tiny": workflow}, ConductorSettings(), owner="one", sleep=asyncio.sleep)
    for _ in range(5):
        made.sweep()
        await made.idle()
    assert len(tries) == 3
    assert state(db) == FAILED
    found = db.read_now(lambda conn: actions.get(conn, "a1"))
    assert found is not None
    assert found.message == "Unexpected error; it is in the cloud's log."


@settings(deadline=None, max_examples=40)
@given(deaths=st.lists(st.integers(1, 14), max_size=4), fails=st.booleans())
async def test_any_number_of_deaths_end_the_same_way(
    tmp_path_factory: pytest.TempPathFactory, deaths: list[int], fails: bool
) -> None:
    async def play() -> None:
        database = Database(tmp_path_factory.mktemp("deaths") / "floe.db")
        database.open()
        try:
            await database.write(create_all)
            clock, world = FixedClock(), World(fails=fails)
            await database.write(lambda conn: actions.add(conn, an_action(clock)))
            for number, dies_at in enumerate([*deaths, -1]):
                world.events, world.dies_at = 0, dies_at
                await run_once(runner(database, world, clock, f"owner {number}"))
                clock.advance(31)
            assert state(database) == (FAILED if fails else SUCCEEDED)
            assert {entry for entry in world.log if entry.startswith("first")} == {"first 0"}
            if fails:
                assert world.log[-1] == "failed: It broke."
                assert world.log.index("undo second") < world.log.index("undo first")
        finally:
            database.close()

    await play()
