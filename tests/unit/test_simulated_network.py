"""The simulation's network: what it does to the product's own bus, which runs over it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest

from floe.bus import subjects
from floe.bus.nats import NatsBus
from floe.bus.wire import LATE, UNREAD
from floe.core.counters import Counters
from floe.core.errors import Unavailable
from floe.core.messages import Command, ConsoleOutput, Done, Heartbeat, ReadConsole, Report, Result
from floe.simulation.apart import MOST_FRAME, SMALL_FRAME, VERY_LATE
from floe.simulation.bus import Weather
from floe.simulation.loop import Process, VirtualLoop
from floe.simulation.network import ADDRESS, Network
from floe.simulation.parts import one_of


class Place:
    """A conductor and the host `h1`, each a process with its end of the bus."""

    def __init__(self, frame: int = MOST_FRAME) -> None:
        self.loop, self.weather, self.counters = VirtualLoop(), Weather(), Counters()
        self.done: list[Command] = []
        self.heard: list[tuple[float, Any]] = []
        self.said: list[str] = []
        self.backs = 0
        self.network = Network(
            self.loop,
            Random(7),
            self.weather,
            most_bytes=frame,
            latency=lambda: 0.01,
            pause=self._pause,
            note=lambda *what: self.said.append(str(what[0])),
            said=lambda _number, _what: None,
            took=lambda _number, _process: None,
            takers=one_of,
        )
        self.conductor, self.agent = Process("conductor-1", self.loop), Process("agent-h1", self.loop)
        self.asking = self._bus(self.conductor, ("conductor-1",))
        self.serving = self._bus(self.agent, ("agent-h1", "h1"))

    async def _pause(self, _point: str) -> None:
        return

    def _bus(self, process: Process, names: tuple[str, ...]) -> NatsBus:
        connect = self.network.link(process, names)
        return NatsBus(ADDRESS, names[0], counters=self.counters, clock=self.loop.time, connect=connect)

    async def _answer(self, command: Command) -> Result:
        self.done.append(command)
        return ConsoleOutput(text="x" * 5000) if isinstance(command, ReadConsole) else Done()

    async def _hear(self, event: Any) -> None:
        self.heard.append((self.loop.time(), event))

    async def _back(self) -> None:
        self.backs += 1

    def run(self, story: Callable[[Place], Awaitable[None]]) -> Place:
        """Tell a story as the conductor, once both are on the bus."""

        async def all_of_it() -> None:
            await self.asking.open()
            await self.agent.start(self._serve())
            await self.asking.listen(self._hear)
            await self.asking.request("h1", Report(), timeout=5.0)  # from here on it knows the host's clock
            self.done.clear()
            await story(self)

        self.loop.run_until_complete(self.conductor.start(all_of_it()))
        self.loop.abandon()
        return self

    async def _serve(self) -> None:
        await self.serving.open()
        await self.serving.serve("h1", self._answer, back=self._back)


def test_a_command_that_comes_when_whoever_asked_has_given_up_is_not_done() -> None:
    async def story(place: Place) -> None:
        place.weather.very_late["commands"] = VERY_LATE
        with pytest.raises(Unavailable, match="gave no answer"):
            for _ in range(50):  # chance spares some
                await place.asking.request("h1", Report(), timeout=5.0)
        place.done.clear()
        place.weather.very_late.clear()
        await asyncio.sleep(VERY_LATE + 1)

    place = Place().run(story)
    assert place.done == []
    assert place.counters.total(UNREAD, LATE) == 1


def test_a_host_is_heard_again_though_what_its_run_before_said_last_came_after_what_this_one_said_first() -> None:
    """Found by simulation: it was taken for dead for good, whatever it said, and a create never ended."""

    async def story(place: Place) -> None:
        place.asking._asking._clocks.began(subjects.token("h1"), "the run before", 250_000.0)
        with pytest.raises(Unavailable, match="gave no answer"):
            await place.asking.request("h1", Report(), timeout=5.0)
        assert await place.asking.request("h1", Report(), timeout=5.0) == Done()

    assert len(Place().run(story).done) == 1


def test_an_answer_that_comes_very_late_is_nobodys() -> None:
    async def story(place: Place) -> None:
        place.weather.very_late["answers"] = VERY_LATE
        with pytest.raises(Unavailable, match="gave no answer"):
            for _ in range(50):
                await place.asking.request("h1", Report(), timeout=5.0)
        place.weather.very_late.clear()
        await asyncio.sleep(VERY_LATE + 1)
        assert isinstance(await place.asking.request("h1", ReadConsole(server_id="s"), timeout=5.0), ConsoleOutput)

    Place().run(story)


def test_a_command_that_comes_twice_is_done_once() -> None:
    async def story(place: Place) -> None:
        place.weather.repeated = 1.0
        for _ in range(10):
            await place.asking.request("h1", Report(), timeout=5.0)
        await asyncio.sleep(1.0)

    assert len(Place().run(story).done) == 10


def test_what_is_said_in_a_short_cut_comes_when_it_is_over() -> None:
    async def story(place: Place) -> None:
        place.network.cut("h1")
        place.network.at(place.loop.time() + 1.0, place.network.mend, "h1")
        begun = place.loop.time()
        await place.asking.request("h1", Report(), timeout=5.0)
        assert place.loop.time() - begun > 1.0

    place = Place().run(story)
    assert len(place.done) == 1
    assert place.backs == 0


@pytest.mark.parametrize("name", ["h1", "conductor-1"])
def test_a_long_cut_is_noticed_and_ends_with_a_new_connection(name: str) -> None:
    async def story(place: Place) -> None:
        place.network.cut(name)
        place.network.at(place.loop.time() + 10.0, place.network.mend, name)
        with pytest.raises(Unavailable):
            await place.asking.request("h1", Report(), timeout=6.0)
        cut_off = place.asking if name == "conductor-1" else place.serving
        assert cut_off.trouble
        await asyncio.sleep(9.0)
        assert not cut_off.trouble
        assert isinstance(await place.asking.request("h1", Report(), timeout=5.0), Done)

    place = Place().run(story)
    assert len(place.done) == 1, "what was said before the connection broke went with it"
    assert place.said == ["bus lost", "bus back"]
    assert place.backs == (1 if name == "h1" else 0)


def test_who_is_slow_hears_later_and_in_order() -> None:
    async def story(place: Place) -> None:
        place.weather.slow["conductor-1"] = 3.0

        async def beat() -> None:
            for _ in range(3):
                await place.serving.publish(Heartbeat(host="h1"))
                await asyncio.sleep(0.1)

        begun = place.loop.time()
        await place.agent.start(beat())
        await asyncio.sleep(5.0)
        assert [round(at - begun, 1) for at, _ in place.heard] == [3.0, 3.1, 3.2]

    Place().run(story)


def test_what_is_larger_than_a_frame_goes_in_parts() -> None:
    async def story(place: Place) -> None:
        place.weather.late = 0.5
        for _ in range(20):
            found = await place.asking.request("h1", ReadConsole(server_id="s" * 900), timeout=60.0)
            assert isinstance(found, ConsoleOutput)
            assert len(found.text) == 5000

    place = Place(SMALL_FRAME).run(story)
    assert len(place.done) == 20


def test_nobody_answers_for_a_host_whose_agent_is_dead() -> None:
    async def story(place: Place) -> None:
        place.agent.kill()
        with pytest.raises(Unavailable, match="no agent serves it"):
            await place.asking.request("h1", Report(), timeout=5.0)

    assert Place().run(story).done == []
