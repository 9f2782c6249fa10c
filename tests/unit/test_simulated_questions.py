"""What the simulation's judge says of what hosts are asked, when, and by whom; and of clocks and ways that it has."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from floe.bus.lateness import DRIFT
from floe.cloud.audit import Violation
from floe.core.errors import NotAcceptable, StoreUnavailable
from floe.core.messages import Command, Destroy, Destroyed, Failed, Report
from floe.simulation.apart import MOST_FRAME, SMALL_FRAME
from floe.simulation.database import SimulatedDatabase, Way
from floe.simulation.loop import Process, VirtualLoop
from floe.simulation.plan import make
from floe.simulation.questions import NOT_UNDERSTOOD, OVERTAKEN, TOO_LATE, UNNUMBERED, UNPROVEN, Questions
from floe.simulation.site import START, SimulatedClock
from floe.store import hosts
from floe.store.memory import MemoryStore

LEASE = 8.0
REFUSED = Failed(kind="gone", message="another one has it")


class Held:
    """What is known of the one action there is: which attempt it is, and for how long it was not proved."""

    attempt: int | None = 1
    age: float | None = 0.0

    def attempt_of_ours(self, _action_id: str) -> int | None:
        return self.attempt

    def unproven(self, _action_id: str) -> float | None:
        return self.age


class Place:
    def __init__(self, loop: VirtualLoop) -> None:
        self.found: list[str] = []
        self.loop, self.held = loop, Held()
        self.process = Process("conductor-1", self.loop)
        self.questions = Questions(
            self.held,  # type: ignore[arg-type]  # it is asked for these two alone
            self._accuse,
            time=self.loop.time,
            lease=LEASE,
        )

    def _accuse(self, violation: Violation) -> None:
        self.found.append(violation.rule)

    def at(self, when: float, call: Callable[..., None], *args: Any) -> None:
        self.loop.call_at(when, self.process.call, call, *args)

    def rules(self) -> list[str]:
        done = self.loop.create_future()
        self.loop.call_at(100.0, done.set_result, None)
        self.loop.run_until_complete(done)
        return self.found


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    yield made
    made.abandon()


@pytest.fixture
def place(loop: VirtualLoop) -> Place:
    return Place(loop)


def destroy(attempt: int = 1) -> Destroy:
    return Destroy(action_id="a", server_id="s", guest_name="g", attempt=attempt)


@pytest.mark.parametrize(("after", "rules"), [(4.0, []), (6.0, []), (9.0, [TOO_LATE])])
def test_a_command_is_late_when_all_who_asked_it_have_given_up(place: Place, after: float, rules: list[str]) -> None:
    place.at(1.0, place.questions.asked, "h1", destroy(), 5.0)
    place.at(1.0 + after, place.questions.came, "h1", destroy())
    place.at(1.0 + after, place.questions.came, "h2", destroy())
    assert place.rules() == rules


def test_a_command_that_was_asked_again_is_in_time_until_that_is_given_up(place: Place) -> None:
    place.at(1.0, place.questions.asked, "h1", destroy(), 5.0)
    place.at(6.0, place.questions.asked, "h1", destroy(), 5.0)
    place.at(10.5, place.questions.came, "h1", destroy())
    assert place.rules() == []


def test_a_host_that_stood_still_after_it_took_a_command_is_not_accused(place: Place) -> None:
    place.at(1.0, place.questions.asked, "h1", destroy(), 5.0)
    place.at(2.0, place.process.stall, 20.0)
    place.at(3.0, place.questions.came, "h1", destroy())
    assert place.rules() == []


@pytest.mark.parametrize(("age", "rules"), [(None, []), (4.0, []), (5.9, []), (6.5, [UNPROVEN])])
def test_who_asks_has_proved_of_late_that_the_action_is_its_own(
    place: Place, age: float | None, rules: list[str]
) -> None:
    place.held.age = age
    place.at(1.0, place.questions.asked, "h1", destroy(), 5.0)
    place.at(1.0, place.questions.asked, "h1", Report(), 5.0)
    assert place.rules() == rules


def test_who_asks_says_which_attempt_it_is(place: Place) -> None:
    place.held.attempt = 2
    place.at(1.0, place.questions.asked, "h1", destroy(2), 5.0)
    assert place.rules() == []
    place = Place(place.loop)
    place.held.attempt = 2
    place.at(1.0, place.questions.asked, "h1", destroy(1), 5.0)
    assert place.rules() == [UNNUMBERED]


@pytest.mark.parametrize(
    ("second", "answer", "rules"),
    [
        (1, Destroyed(), [OVERTAKEN]),
        (1, REFUSED, []),
        (2, Destroyed(), []),
        (3, Destroyed(), []),
        (0, Destroyed(), []),  # nobody counts
    ],
)
def test_a_host_refuses_whom_it_knows_to_be_overtaken(place: Place, second: int, answer: Any, rules: list[str]) -> None:
    first, later = destroy(2), destroy(second)
    place.questions.told("h1", first)
    place.questions.answered("h1", first, Destroyed())
    place.questions.told("h1", later)
    place.questions.answered("h1", later, answer)
    assert place.found == rules


def test_what_was_begun_before_a_later_attempt_was_heard_of_may_end(place: Place) -> None:
    first, later = destroy(1), destroy(2)
    place.questions.told("h1", first)
    place.questions.told("h1", later)
    place.questions.answered("h1", first, Destroyed())
    assert place.found == []


def test_a_host_that_lost_what_it_heard_obeys_anybody(place: Place) -> None:
    place.questions.told("h1", destroy(2))
    place.questions.forgot("h1")
    later: Command = destroy(1)
    place.questions.told("h1", later)
    place.questions.answered("h1", later, Destroyed())
    assert place.found == []


def test_a_command_that_is_not_understood_is_told_of(place: Place) -> None:
    place.questions.answered("h1", Report(), Failed(kind=NotAcceptable.kind, message="?"))
    assert place.found == [NOT_UNDERSTOOD]


# -- clocks and ways ----------------------------------------------------------------------------------


def test_clocks_of_machines_differ_in_rate_and_by_less_than_a_second_and_never_go_back(loop: VirtualLoop) -> None:
    clocks = [SimulatedClock(loop, Random(seed)) for seed in range(40)]
    begun = [clock.monotonic() for clock in clocks]
    told: list[list[float]] = []

    async def live() -> None:
        for clock in clocks:
            clock.jump = -1.0
        for _ in range(20):
            told.append([clock.monotonic() for clock in clocks])
            await asyncio.sleep(0.1)
        for clock in clocks:
            clock.jump = 0.0
        await asyncio.sleep(998.0)

    loop.run_until_complete(live())
    assert all(
        before <= after for one, next_ in itertools.pairwise(told) for before, after in zip(one, next_, strict=True)
    )
    assert told[5] == told[0], "they stand still for as long as they fell behind"
    assert told[15] > told[0]
    parts = [(clock.monotonic() - at) / loop.time() - 1 for clock, at in zip(clocks, begun, strict=True)]
    assert all(abs(part) <= DRIFT / 2 for part in parts)
    assert max(parts) - min(parts) > 0.8 * DRIFT, "two run apart by nearly all that hosts allow for"
    off = [clock.now() - START - timedelta(seconds=loop.time()) for clock in clocks]
    assert max(off) - min(off) <= timedelta(seconds=1)
    assert max(off) - min(off) > timedelta(seconds=0.8)
    assert max(begun) - min(begun) > 1000, "each counts from a moment of its own"


def test_a_machine_that_is_started_anew_counts_anew(loop: VirtualLoop) -> None:
    clock = SimulatedClock(loop, Random(1))
    assert clock.monotonic() >= 10.0
    clock.reboot()
    assert clock.monotonic() == 0.0


async def _at_once(_point: str) -> None:
    return


def test_a_database_that_is_cut_off_is_unavailable_and_one_answer_may_be_lost_for_good(loop: VirtualLoop) -> None:
    way, store = Way(), MemoryStore()
    db = SimulatedDatabase(store, pause=_at_once, refusal=lambda: None, committed=lambda: None, way=way)

    async def write() -> int:
        return await db.write(lambda conn: conn.execute(hosts.hosts.delete()).rowcount)

    async def live() -> None:
        assert await write() == 0
        way.cut = True
        for work in (write, lambda: db.read(hosts.count), lambda: db.scan(hosts.count)):
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                await work()
        way.cut, way.unsure, before = False, 1, db.commits
        with pytest.raises(StoreUnavailable, match="not known"):
            await write()
        assert db.commits == before + 1, "it was done"
        await write()
        way.slow, begun = 3.0, loop.time()
        await db.read(hosts.count)
        assert loop.time() - begun == pytest.approx(3.0)

    loop.run_until_complete(live())
    store.close()


# -- plans --------------------------------------------------------------------------------------------


def test_all_that_goes_wrong_between_programs_does_so_often_enough() -> None:
    plans = [make(seed) for seed in range(1000)]
    counted = Counter(event.what for plan in plans for event in plan.events)
    least = {"unplug": 60, "no-database": 60, "slow-bus": 30, "slow-database": 30, "very-late": 150, "tick": 40}
    assert {what: counted[what] for what in least if counted[what] < least[what]} == {}
    events = [(plan, event) for plan in plans for event in plan.events if event.what in least]
    assert all(not plan.together for plan, _ in events)
    which = Counter(event.args["which"] for plan, event in events if event.what == "very-late" and plan.frame)
    assert set(which) == {"commands", "answers", "events"}
    assert which.total() == counted["very-late"], "it needs the bus between machines, which knows what is late"
    cut = Counter(
        event.args["role"].partition("-")[0] for _, event in events if event.what in {"unplug", "no-database"}
    )
    assert set(cut) == {"api", "conductor"}
    assert sum(event.args["unsure"] for _, event in events if event.what == "no-database") > 20
    assert {event.args["jump"] for _, event in events if event.what == "tick"} == {-1.0, -0.3, 0.3, 1.0}
    frames = Counter(plan.frame for plan in plans if not plan.together)
    assert set(frames) == {0, SMALL_FRAME, MOST_FRAME}
    assert min(frames.values()) > 100
    assert {plan.apart for plan in plans if not plan.together} == {True, False}
    assert not any(plan.frame or plan.apart for plan in plans if plan.together)
