"""Whatever the way does to commands, and whatever the clocks say: none that was given up is carried out."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from floe.bus.envelope import Envelope, Word
from floe.bus.lateness import DRIFT, HostClocks, Punctual

RATES = st.floats(1 - DRIFT / 2.1, 1 + DRIFT / 2.1)


@dataclass
class Machine:
    """A machine with a clock that began at some time and goes at a rate of its own."""

    began: float
    rate: float
    true: list[float]

    def clock(self) -> float:
        return self.began + self.true[0] * self.rate


@dataclass
class Way:
    """What is under way, by when it arrives: a message may come twice, and after what was sent later."""

    dice: Random
    coming: list[tuple[float, int, object]] = field(default_factory=list)

    def send(self, now: float, what: object) -> None:
        for _ in range(self.dice.choice((0, 1, 1, 1, 2))):
            delay = self.dice.choice((0.0005, 0.01, 0.3, 2.0, 30.0, 400.0)) * self.dice.random()
            self.coming.append((now + delay, len(self.coming), what))


@given(seed=st.integers(0, 2**32), began=st.floats(0, 1e6), rates=st.tuples(RATES, RATES))
@settings(max_examples=300, deadline=None)
def test_nothing_is_done_that_was_given_up_or_done_before(seed: int, began: float, rates: tuple[float, float]) -> None:
    dice, true = Random(seed), [0.0]
    ours, theirs = Machine(dice.random() * 1e5, rates[0], true), Machine(began, rates[1], true)
    clocks, way = HostClocks(ours.clock), Way(dice)
    host, runs, done = Punctual("run 0", theirs.clock), 0, set[tuple[str, int]]()
    gives_up: dict[int, float] = {}
    for number in range(1, 80):
        true[0] += dice.choice((0.0, 0.001, 0.5, 10.0, 200.0)) * dice.random()
        if dice.random() < 0.03:
            runs += 1
            host = Punctual(f"run {runs}", theirs.clock)  # the agent starts anew
        if dice.random() < 0.5:
            way.send(true[0], ("heard", host.run, theirs.clock()))
        seconds = dice.choice((0.2, 5.0, 20.0))
        run, until = clocks.until("h", seconds)
        gives_up[number] = ours.clock() + seconds
        way.send(true[0], Envelope(by="us", number=number, run=run, until=until))
        now = true[0]
        due = sorted(coming for coming in way.coming if coming[0] <= now)
        way.coming = [coming for coming in way.coming if coming[0] > now]
        for when, _, what in due:
            true[0] = max(when, 0.0)
            if isinstance(what, Envelope):
                if host.refusal(what) is None:
                    assert ours.clock() < gives_up[what.number], "nobody waits for it any more"
                    assert (host.run, what.number) not in done, "it was done before"
                    assert what.run == host.run, "it was said to an agent that is no more"
                    done.add((host.run, what.number))
            else:
                _, run, clock = what  # type: ignore[misc]
                clocks.heard("h", run, clock)
        true[0] = now


@given(rates=st.tuples(RATES, RATES), quiet=st.floats(0, 100), delay=st.floats(0, 1))
@settings(deadline=None)
def test_what_comes_soon_is_done(rates: tuple[float, float], quiet: float, delay: float) -> None:
    """So that refusing is no way out: after a word of the host, commands that take a second are in time."""
    true = [0.0]
    ours, theirs = Machine(17.0, rates[0], true), Machine(9000.0, rates[1], true)
    clocks, host = HostClocks(ours.clock), Punctual("a", theirs.clock)
    clocks.heard("h", "a", theirs.clock())
    true[0] += quiet
    run, until = clocks.until("h", 2.0)
    true[0] += delay
    asked = Envelope(by="us", number=1, run=run, until=until)
    assert host.refusal(asked) is None
    assert host.refusal(asked) == Word.NONE, "a copy of it is not answered"


def test_a_run_that_is_over_is_not_asked_again_though_it_goes_on_speaking() -> None:
    clocks = HostClocks(lambda: 5.0)
    clocks.began("h", "a", 100.0)
    clocks.began("h", "b", 7.0)
    assert not clocks.heard("h", "a", 101.0)
    assert clocks.until("h", 1.0)[0] == "b"
    assert clocks.heard("h", "c", 3.0), "one of which it was not told that it began"
    assert clocks.until("h", 1.0)[0] == "c"
    assert not clocks.heard("h", "a", 102.0)
    clocks.began("h", "a", 103.0)
    assert clocks.until("h", 1.0)[0] == "a"
    clocks.ended("h", "a")
    assert not clocks.heard("h", "a", 104.0)
    assert clocks.until("h", 1.0) == ("", 0.0)
    assert clocks.heard("h", "d", 1.0)
    assert clocks.until("h", 1.0)[0] == "d"


def test_who_does_not_know_the_run_is_told_it() -> None:
    host, clocks = Punctual("a", lambda: 100.0), HostClocks(lambda: 5.0)
    run, until = clocks.until("h", 20)
    assert host.refusal(Envelope(by="us", number=1, run=run, until=until)) == Word.AGAIN
    clocks.heard("h", host.run, host.clock())
    run, until = clocks.until("h", 20)
    assert host.refusal(Envelope(by="us", number=2, run=run, until=until)) is None
