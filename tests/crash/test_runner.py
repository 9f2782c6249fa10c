"""A tiny workflow, killed between every two things it does; what was done is not done again, what failed is undone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from databases import LentDatabases, NewDatabase
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from floe.conductor.failures import Failure
from floe.conductor.fleet import ConductorSettings
from floe.conductor.flow import Begin, Flow, Outcome, Work
from floe.conductor.performing import Performer
from floe.conductor.removal import Removed
from floe.conductor.runner import Runner
from floe.conductor.saga import Choice, Node, OnHost, Saga, Write
from floe.core.actions import FAILED, OPEN_STATES, RUNNING, SUCCEEDED, Action, Begins, Step
from floe.core.clock import FixedClock
from floe.core.errors import HostFailure
from floe.core.given import PowerGiven
from floe.core.messages import Destroy
from floe.store import actions
from floe.store.engine import Connection, Transactions
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

    def saga(self) -> Saga:
        """Return a plan of all kinds of steps that leave something."""
        return tiny(
            Write(name="draw", do=self.draw, returns=int, after=lambda *_: self.tick()),
            self.effect("first", lambda flow: f"first {flow.result(int)}"),
            Write(name="middle", do=lambda _: lambda _conn: None, after=lambda *_: self.tick()),
            self.effect("second", lambda _: "second"),
            Write(name="end", do=lambda _: lambda _conn: None, last=True, after=lambda *_: self.tick()),
            fails=self.failed,
        )

    def draw(self, _flow: Flow) -> Work:
        self.tick()
        drawn = len(self.log)
        return lambda _conn: Outcome(output=drawn, begins=Begin(name="first", host="h"))

    def effect(self, name: str, says: Callable[[Flow], str]) -> OnHost:
        async def command(flow: Flow) -> Destroy:
            return Destroy(action_id=flow.action.id, server_id="s", guest_name=says(flow))

        async def undo(_flow: Flow, step: Step) -> Destroy:
            return Destroy(action_id="", server_id="s", guest_name=step.name)

        return OnHost(name=name, at=lambda _: "h", command=command, returns=str, seconds=1.0, undo=undo)

    async def command(self, _host: str, command: Destroy, **_: Any) -> str:
        self.tick()
        self.log.append(command.guest_name)
        self.tick()
        if self.fails and command.guest_name == "second":
            raise HostFailure("It broke.", host="h")
        return command.guest_name

    async def remove(self, _host: str, command: Destroy, **_: Any) -> Removed:
        self.tick()
        self.log.append(f"undo {command.guest_name}")
        self.tick()
        return Removed()

    def failed(self, _flow: Flow, failure: Failure) -> Work:
        def work(_conn: Connection) -> None:
            self.log.append(f"failed: {failure.message}")

        return work


def tiny(*steps: Node, fails: Callable[[Flow, Failure], Work] = lambda *_: lambda _conn: None) -> Saga:
    """Return a workflow of these steps."""
    return Saga(begins=Begins(kind="tiny", version=2), steps=steps, fails=fails, renamed={1: {"one": "first"}})


@pytest.fixture
async def db(tmp_path: Path, new_database: NewDatabase) -> AsyncIterator[Transactions]:
    made = new_database(tmp_path / "floe.db")
    made.open()
    await made.write(create_all)
    yield made
    made.close()


def an_action(clock: FixedClock, ident: str = "a1") -> Action:
    return Action(
        id=ident,
        kind="tiny",
        version=2,
        subject_id="s",
        project_id="p",
        user_id="u",
        request_id="r",
        created_at=clock.now(),
    )


def runner(
    db: Transactions, world: World, clock: FixedClock, owner: str, saga: Saga | None = None, sleep: Any = asyncio.sleep
) -> Runner:
    performer = Performer(world.command, world.remove)
    plans = {"tiny": saga or world.saga()}
    return Runner(db, clock, plans, performer, ConductorSettings(), owner=owner, sleep=sleep)


async def run_once(made: Runner) -> bool:
    """Run what waits; False if the process died of it."""
    await made.sweep()
    tasks = list(made._tasks.values())
    results = await asyncio.gather(*tasks, return_exceptions=True)
    return not any(isinstance(result, Killed) for result in results)


def state_of(db: Transactions, ident: str = "a1") -> str:
    found = db.read_now(lambda conn: actions.get(conn, ident))
    assert found is not None
    return found.state


async def test_a_workflow_runs_once_from_begin_to_end(db: Transactions) -> None:
    clock, world = FixedClock(), World()
    await db.write(lambda conn: actions.add(conn, an_action(clock)))
    assert await run_once(runner(db, world, clock, "one"))
    assert state_of(db) == SUCCEEDED
    assert world.log == ["first 0", "second"]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("dies_at", range(1, 20))
async def test_a_death_at_any_point_is_recovered_from(db: Transactions, dies_at: int, fails: bool) -> None:
    clock, world = FixedClock(), World(dies_at, fails)
    await db.write(lambda conn: actions.add(conn, an_action(clock)))
    survived = await run_once(runner(db, world, clock, "one"))
    if not survived:
        assert await run_once(runner(db, world, clock, "two"))  # the lease still runs: nothing may happen
        clock.advance(31)
        assert await run_once(runner(db, world, clock, "three"))
    assert state_of(db) == (FAILED if fails else SUCCEEDED)
    once = [entry for index, entry in enumerate(world.log) if entry not in world.log[:index]]
    done = ["first 0", "second"]
    assert once == ([*done, "undo second", "undo first", "failed: It broke."] if fails else done)
    assert len(world.log) - len(once) <= 2, "only the one thing that was under way is done again"


async def test_a_late_answer_of_a_dead_owner_changes_nothing(db: Transactions) -> None:
    clock, slow, gate = FixedClock(), World(), asyncio.Event()
    await db.write(lambda conn: actions.add(conn, an_action(clock)))
    hung = asyncio.Event()

    async def hang(flow: Flow) -> Any:
        hung.set()
        await gate.wait()
        return await flow.transaction("end", lambda _: slow.log.append("late"), last=True)

    saga = tiny(
        Write(name="draw", do=lambda _: lambda _conn: 0),
        Choice(name="end", by=hang, returns=None),
        fails=slow.failed,
    )
    old = runner(db, slow, clock, "old", saga)
    await old.sweep()
    await hung.wait()
    clock.advance(31)
    world = World()
    assert await run_once(runner(db, world, clock, "new"))
    assert state_of(db) == SUCCEEDED
    gate.set()
    await old.idle()
    assert slow.log == []
    assert state_of(db) == SUCCEEDED


def now_read(db: Transactions) -> Action:
    """Return the action as it is now."""
    found = db.read_now(lambda conn: actions.get(conn, "a1"))
    assert found is not None
    return found


async def test_an_owner_whose_lease_ran_out_and_back_may_not_write_from_a_stale_journal(db: Transactions) -> None:
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
    assert not await db.write(lambda conn: actions.end(conn, "a1", "a", 1, "succeeded", None, last))
    assert not await db.write(lambda conn: actions.end(conn, "a1", "a", 2, "succeeded", None, last))
    assert not await db.write(lambda conn: actions.take(conn, now_read(db), 1, "a", "running", last, last + lease))
    assert await db.write(lambda conn: actions.take(conn, now_read(db), 2, "a", "running", last, last + lease))
    assert await db.write(lambda conn: actions.end(conn, "a1", "a", 3, "succeeded", None, last))
    assert not await db.write(lambda conn: actions.end(conn, "a1", "a", 3, "failed", "again", last)), "it is closed"
    assert now_read(db).state == "succeeded"


async def test_a_lease_that_runs_out_before_the_next_sweep_is_taken_over_just_then(db: Transactions) -> None:
    clock, slept = FixedClock(), list[float]()
    action = an_action(clock)
    ends = clock.now() + timedelta(seconds=0.4)
    held = replace(action, state=RUNNING, lease_owner="dead", lease_until=ends)
    later = replace(held, id="a2", subject_id="s2", lease_until=ends + timedelta(seconds=30))
    await db.write(lambda conn: [actions.add(conn, held), actions.add(conn, later)])
    may = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await may.wait()
        clock.advance(seconds + 0.01)

    world = World()
    made = runner(db, world, clock, "heir", sleep=sleep)
    for _ in range(3):  # one is due, however often it is looked meanwhile
        assert await made.sweep() == 0
    may.set()
    async with asyncio.timeout(30):
        while state_of(db) in OPEN_STATES:
            await asyncio.sleep(0.001)
    assert slept == [pytest.approx(0.4)]
    assert world.log == ["first 0", "second"]
    assert state_of(db, "a2") == RUNNING
    await made.stop()


async def test_a_cancelled_action_stops_silently(db: Transactions) -> None:
    clock, gate, began = FixedClock(), asyncio.Event(), asyncio.Event()
    await db.write(lambda conn: actions.add(conn, an_action(clock)))
    told: list[str] = []

    world = World()

    async def command(*_: Any, **__: Any) -> str:
        began.set()
        await gate.wait()
        raise HostFailure("It was deleted.")

    async def remove(*_: Any, **__: Any) -> Removed:
        told.append("undo")
        return Removed()

    def failed(_flow: Flow, _failure: Failure) -> Work:
        return lambda _conn: told.append("failed")

    performer = Performer(command, remove)
    plan = {"tiny": structs.replace(world.saga(), fails=failed)}
    made = Runner(db, clock, plan, performer, ConductorSettings(), owner="one", sleep=asyncio.sleep)
    await made.sweep()
    await began.wait()
    await db.write(lambda conn: actions.cancel_open(conn, "s", clock.now(), but="delete"))
    gate.set()
    await made.idle()
    assert told == []
    assert state_of(db) not in OPEN_STATES


async def test_an_error_nobody_meant_is_tried_again_and_then_fails_the_action(db: Transactions) -> None:
    clock, tries = FixedClock(), []
    await db.write(lambda conn: actions.add(conn, an_action(clock)))

    def unexpected(_flow: Flow) -> Work:
        tries.append(1)
        raise ZeroDivisionError

    saga = tiny(Write(name="draw", do=lambda _: lambda _conn: None), Write(name="wrong", do=unexpected))
    made = runner(db, World(), clock, "one", saga)
    for _ in range(5):
        await made.sweep()
        await made.idle()
    assert len(tries) == 3
    assert state_of(db) == FAILED
    found = db.read_now(lambda conn: actions.get(conn, "a1"))
    assert found is not None
    assert found.message == "Unexpected error; it is in the cloud's log."


@settings(deadline=None, max_examples=40)
@given(deaths=st.lists(st.integers(1, 14), max_size=4), fails=st.booleans())
async def test_any_number_of_deaths_end_the_same_way(
    tmp_path_factory: pytest.TempPathFactory, lent_databases: LentDatabases, deaths: list[int], fails: bool
) -> None:
    async def play(new_database: NewDatabase) -> None:
        database = new_database(tmp_path_factory.mktemp("deaths") / "floe.db")
        database.open()
        try:
            await database.write(create_all)
            clock, world = FixedClock(), World(fails=fails)
            await database.write(lambda conn: actions.add(conn, an_action(clock)))
            for number, dies_at in enumerate([*deaths, -1]):
                world.events, world.dies_at = 0, dies_at
                await run_once(runner(database, world, clock, f"owner {number}"))
                clock.advance(31)
            assert state_of(database) == (FAILED if fails else SUCCEEDED)
            assert {entry for entry in world.log if entry.startswith("first")} == {"first 0"}
            if fails:
                assert world.log[-1] == "failed: It broke."
                assert world.log.index("undo second") < world.log.index("undo first")
        finally:
            database.close()

    with lent_databases() as new_database:
        await play(new_database)


@pytest.mark.parametrize("state", ["begun", "done"])
async def test_a_journal_of_an_earlier_version_is_finished_with_the_names_that_its_steps_have_now(
    db: Transactions, state: str
) -> None:
    clock, world = FixedClock(), World()
    old = replace(an_action(clock), version=1, state="running", attempts=1)
    now = clock.now()
    entries = [
        Step(action_id="a1", seq=1, name="draw", state="done", output=7, started_at=now),
        Step(action_id="a1", seq=2, name="one", state=state, host="h", output="first 7", started_at=now),
    ]

    def write(conn: Connection) -> None:
        actions.add(conn, old)
        actions.write_steps(conn, entries)

    await db.write(write)
    assert await run_once(runner(db, world, clock, "one"))
    assert state_of(db) == SUCCEEDED
    assert world.log == (["first 7", "second"] if state == "begun" else ["second"])


async def test_a_journal_of_a_later_version_is_left_to_the_release_that_wrote_it(
    db: Transactions, caplog: pytest.LogCaptureFixture
) -> None:
    clock, world = FixedClock(), World()
    later = replace(an_action(clock), version=3)
    await db.write(lambda conn: actions.add(conn, later))
    made = runner(db, world, clock, "one")
    for _ in range(3):
        assert await run_once(made)
    assert world.log == []
    assert now_read(db) == later
    assert caplog.text.count("is left alone") == 1
    assert "version 3; this release does 2" in caplog.text


async def test_an_action_that_was_given_what_cannot_be_read_is_left_alone_and_told_of(
    db: Transactions, caplog: pytest.LogCaptureFixture
) -> None:
    clock, world = FixedClock(), World()
    saga = structs.replace(world.saga(), begins=Begins(kind="tiny", version=2, given=PowerGiven))
    strange = replace(an_action(clock), input={"host": 7, "wanted": {}})
    await db.write(lambda conn: actions.add(conn, strange))
    made = runner(db, world, clock, "one", saga)
    for _ in range(2):
        assert await run_once(made)
    assert world.log == []
    assert now_read(db) == strange
    assert caplog.text.count("given what is no PowerGiven: Expected `str`, got `int` - at `$.host`") == 1
