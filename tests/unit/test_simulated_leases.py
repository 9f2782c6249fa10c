"""What the simulation's judge says of each write to an action, given who holds it and who writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from floe.cloud.audit import Violation
from floe.core.actions import CANCELLED, FAILED, RUNNING, SUCCEEDED, Action, Step
from floe.core.entries import BEGUN
from floe.simulation.leases import BROKEN, NOT_FREE, NOT_HELD, Leases
from floe.simulation.loop import Process, VirtualLoop
from floe.simulation.site import START, SimulatedClock
from floe.store import actions
from floe.store.engine import Connection
from floe.store.memory import MemoryStore

LEASE = 8.0
Write = Callable[[Connection], Any]


class Place:
    """Two conductors, `a` and `b`, and an API, in one database."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.loop, self.store = VirtualLoop(), MemoryStore()
        self.leases = Leases(self.store, self._accuse, time=self.loop.time, lease=LEASE)
        self.clock = SimulatedClock(self.loop)
        self.processes = {name: Process(name, self.loop) for name in ("a", "b", "api")}
        for name in ("a", "b"):
            self.leases.conducts(f"{name}/1", self.processes[name], self.clock)

    def _accuse(self, violation: Violation) -> None:
        self.found.append(violation.rule)

    def write(self, who: str, fn: Write, *, after: float = 0.0) -> None:
        """Commit as one of them, some seconds later."""

        def commit() -> None:
            self.clock.now()
            self.store.write(fn)
            self.leases.committed()

        async def later() -> None:
            self.loop.call_later(after, self.processes[who].call, commit)
            done = self.loop.create_future()
            self.loop.call_later(after + 0.001, done.set_result, None)
            await done

        self.loop.run_until_complete(later())

    def action(self) -> Action:
        found = self.store.read(lambda conn: actions.get(conn, "x"))
        assert found is not None
        return found

    def take(self, who: str, *, silent: bool = False) -> Write:
        def fn(conn: Connection) -> None:
            found, now = actions.get(conn, "x"), self.clock.now()
            assert found is not None
            until = now + timedelta(seconds=LEASE)
            assert actions.take(conn, found, found.attempts, f"{who}/1", RUNNING, now, until, silent=silent)

        return fn

    def hold(self, who: str) -> Write:
        def fn(conn: Connection) -> None:
            found, now = actions.get(conn, "x"), self.clock.now()
            assert found is not None
            until = now + timedelta(seconds=LEASE)
            assert actions.hold(conn, "x", f"{who}/1", found.attempts, RUNNING, now, until)

        return fn

    def end(self, who: str, state: str = SUCCEEDED) -> Write:
        def fn(conn: Connection) -> None:
            found = actions.get(conn, "x")
            assert found is not None
            assert actions.end(conn, "x", f"{who}/1", found.attempts, state, None, self.clock.now())

        return fn


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    made = Action(id="x", kind="create", subject_id="s", project_id="p", user_id="u", request_id="r", created_at=START)
    place.write("api", lambda conn: actions.add(conn, made))
    yield place
    place.loop.abandon()
    place.store.close()


def entry(conn: Connection) -> None:
    actions.write_steps(conn, [Step(action_id="x", seq=1, name="spawn", state=BEGUN, started_at=START)])


def let_go(who: str) -> Write:
    return lambda conn: actions.let_go(conn, f"{who}/1")


def close(state: str) -> Write:
    return lambda conn: actions.close(conn, "x", state, None, START)


def changed(**values: Any) -> Write:
    """Write past all that `store.actions` asks for."""
    return lambda conn: conn.execute(actions.actions.update().values(**values))


def test_what_conductors_do_in_turn_is_right(place: Place) -> None:
    place.write("a", place.take("a"))
    place.write("a", lambda conn: (place.hold("a")(conn), entry(conn)))
    place.write("a", let_go("a"))
    place.write("b", place.take("b"))
    place.write("b", lambda conn: (place.hold("b")(conn), actions.wait_for(conn, "x", "h1", START)))
    place.write("a", lambda conn: actions.back(conn, "h1"))
    place.write("a", place.take("a"))
    place.write("a", place.end("a"))
    assert place.found == []
    assert place.action().state == SUCCEEDED


@pytest.mark.parametrize("silent", [False, True])
def test_a_lease_that_ran_out_may_be_taken(place: Place, silent: bool) -> None:
    place.write("a", place.take("a"))
    place.write("b", place.take("b", silent=silent), after=LEASE + 0.1)
    assert place.found == []


def test_a_lease_that_ran_out_by_the_takers_clock_may_be_taken(place: Place) -> None:
    place.write("a", place.take("a"))
    place.clock.offset = 40.0
    place.write("b", place.take("b"))
    assert place.found == []


@pytest.mark.parametrize("seconds", [0.0, LEASE - 0.5])
def test_a_lease_that_has_not_run_out_may_not_be_taken(place: Place, seconds: float) -> None:
    place.write("a", place.take("a"))
    place.write("b", place.take("b", silent=True), after=seconds)
    assert place.found == [NOT_FREE]


def test_a_lease_that_was_renewed_has_not_run_out(place: Place) -> None:
    place.write("a", place.take("a"))
    place.write("a", place.hold("a"), after=LEASE / 2)
    place.write("b", place.take("b", silent=True), after=LEASE / 2 + 1)
    assert place.found == [NOT_FREE]


@pytest.mark.parametrize(
    "write",
    [
        entry,
        changed(lease_owner="b/1"),
        changed(lease_until=START + timedelta(hours=1)),
        changed(writes=actions.actions.c.writes + 1),
        changed(writes=actions.actions.c.writes + 1, lease_owner=None),
        changed(attempts=actions.actions.c.attempts + 2, lease_owner="b/1"),
        lambda conn: actions.wait_for(conn, "x", "h1", START),
        close(SUCCEEDED),
        close(FAILED),
    ],
)
@pytest.mark.parametrize("held", [True, False])
def test_who_does_not_hold_an_action_may_not_write_to_it(place: Place, write: Write, held: bool) -> None:
    place.write("a", place.take("a"))
    if not held:
        place.write("a", let_go("a"))
    before = place.action()
    place.write("b", write)
    assert before != place.action() or write is entry
    fails_with_others = not held and place.action().state == FAILED
    assert place.found == ([] if fails_with_others else [NOT_HELD])


def test_who_holds_an_action_may_not_hand_it_to_another(place: Place) -> None:
    place.write("a", place.take("a"))
    place.write("a", changed(lease_owner="b/1"))
    assert place.found == [NOT_HELD]


def test_an_entry_that_is_finished_by_another_is_seen(place: Place) -> None:
    place.write("a", place.take("a"))
    place.write("a", lambda conn: (place.hold("a")(conn), entry(conn)))
    place.write("b", lambda conn: conn.execute(actions.steps.update().values(finished_at=START)))
    assert place.found == [NOT_HELD]


@pytest.mark.parametrize("who", ["api", "b"])
def test_anybody_may_cancel(place: Place, who: str) -> None:
    place.write("a", place.take("a"))
    place.write(who, lambda conn: actions.cancel_open(conn, "s", START, but="delete"))
    assert place.action().state == CANCELLED
    assert place.found == []


def test_the_lease_of_one_that_lives_may_not_be_broken(place: Place) -> None:
    place.write("a", place.take("a"))
    place.write("b", lambda conn: actions.break_leases(conn, "a"))
    assert place.found == [BROKEN]


def test_the_lease_of_the_dead_may_be_broken(place: Place) -> None:
    place.write("a", place.take("a"))
    place.processes["a"].kill()
    place.write("b", lambda conn: actions.break_leases(conn, "a"))
    place.write("b", place.take("b"))
    assert place.found == []
