"""What every bus promises of commands, and of the two ways to listen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import Any

import pytest
from nats_server import NatsServer

from floe.bus.address import NatsAddress
from floe.bus.local import LocalBus
from floe.bus.nats import NatsBus
from floe.bus.protocol import Bus
from floe.bus.queue import MOST_WAITING
from floe.core.errors import HostFailure, Unavailable
from floe.core.guests import PowerState
from floe.core.messages import (
    ActionWaits,
    Command,
    Done,
    Event,
    Failed,
    GuestChanged,
    Heartbeat,
    HostDown,
    HostsCompared,
    Inspect,
    ListGuests,
    NetworkChanged,
    Progress,
    Result,
)
from floe.simulation.apart import SMALL_FRAME
from floe.simulation.bus import SimulatedBus, Weather
from floe.simulation.loop import Process, VirtualLoop
from floe.simulation.network import ADDRESS, Network
from floe.simulation.parts import one_of

Story = Callable[[Bus], Awaitable[None]]

FOR_ALL: tuple[Event, ...] = (
    Heartbeat(host="h1"),
    Progress(host="h1", action_id="a", step="image", started=1.0),
    HostsCompared(by="c", hosts=("h1", "h2")),
)
FOR_ONE: tuple[Event, ...] = (
    HostDown(host="h1"),
    GuestChanged(host="h1", server_id="s", power_state=PowerState.SHUTDOWN),
    ActionWaits(action_id="a"),
    NetworkChanged(),
)


def on_local(story: Story) -> None:
    async def run() -> None:
        bus = LocalBus()
        await story(bus)
        await bus.close()

    asyncio.run(run())


def on_simulated(story: Story) -> None:
    """The simulation's bus in fine weather: everybody is in one process, as on the local one."""
    loop = VirtualLoop()

    async def pause(_point: str) -> None:
        return

    def nothing(*_said: Any) -> None:
        return

    bus = SimulatedBus(
        loop,
        Random(7),
        Weather(),
        latency=lambda: 0.001,
        pause=pause,
        note=nothing,
        asked=nothing,
        told=nothing,
        answered=nothing,
        said=nothing,
        took=nothing,
        takers=one_of,
    )
    task = Process("all", loop).start(story(bus))  # type: ignore[arg-type]
    loop.run_until_complete(task)
    loop.abandon()


def on_simulated_network(story: Story) -> None:
    """The bus between machines, over the simulation's network in fine weather."""
    loop = VirtualLoop()

    async def pause(_point: str) -> None:
        return

    def nothing(*_said: Any) -> None:
        return

    network = Network(
        loop,
        Random(7),
        Weather(),
        most_bytes=SMALL_FRAME,
        latency=lambda: 0.001,
        pause=pause,
        note=nothing,
        said=nothing,
        took=nothing,
        takers=one_of,
    )
    process = Process("all", loop)
    bus = NatsBus(ADDRESS, "test", clock=loop.time, connect=network.link(process, ("all",)))

    async def run() -> None:
        await bus.open()
        await story(bus)
        await bus.close()

    loop.run_until_complete(process.start(run()))
    loop.abandon()


def on_nats(story: Story, url: str) -> None:
    async def run() -> None:
        bus = NatsBus(NatsAddress(servers=(url,)), "test")
        await bus.open()
        try:
            await story(bus)
        finally:
            await bus.close()

    asyncio.run(run())


@pytest.fixture(
    params=[on_local, on_simulated, on_simulated_network, on_nats],
    ids=["local", "simulated", "simulated-network", "nats"],
)
def on_a_bus(request: Any) -> Callable[[Story], None]:
    """Run a story on a bus of each kind."""
    if request.param is not on_nats:
        found: Callable[[Story], None] = request.param
        return found
    server: NatsServer = request.getfixturevalue("nats")
    return partial(on_nats, url=server.url)


class Ear:
    """Keeps what it is handed."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    async def take(self, event: Any) -> None:
        self.heard.append(event)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not come to pass")


async def answer(command: Command) -> Result:
    return Done()


def test_an_event_for_all_reaches_all_who_listen_and_none_who_share(on_a_bus: Callable[[Story], None]) -> None:
    async def story(bus: Bus) -> None:
        listening, sharing = [Ear(), Ear(), Ear()], [Ear(), Ear()]
        for ear in listening:
            await bus.listen(ear.take)
        for ear in sharing:
            await bus.share(ear.take)
        for event in FOR_ALL:
            await bus.publish(event)
        await until(lambda: all(len(ear.heard) == len(FOR_ALL) for ear in listening))
        for ear in listening:  # in their order from each host; what is no host's comes anywhere between
            assert [event for event in ear.heard if hasattr(event, "host")] == list(FOR_ALL[:2])
            assert FOR_ALL[2] in ear.heard
        assert not any(ear.heard for ear in sharing)

    on_a_bus(story)


def test_an_event_for_one_reaches_one_of_those_who_share_and_none_who_listen(
    on_a_bus: Callable[[Story], None],
) -> None:
    async def story(bus: Bus) -> None:
        listening, sharing = Ear(), [Ear(), Ear(), Ear()]
        await bus.listen(listening.take)
        for ear in sharing:
            await bus.share(ear.take)
        sent = [ActionWaits(action_id=str(number)) for number in range(60)]
        for event in (*FOR_ONE, *sent):
            await bus.publish(event)
        await until(lambda: sum(len(ear.heard) for ear in sharing) >= len(FOR_ONE) + len(sent))
        taken = [event for ear in sharing for event in ear.heard]
        assert sorted(map(str, taken)) == sorted(map(str, [*FOR_ONE, *sent])), "each of them once"
        assert all(ear.heard for ear in sharing), "and all have their share"
        assert listening.heard == []

    on_a_bus(story)


def test_events_of_a_host_are_handed_over_one_after_the_other_in_their_order(
    on_a_bus: Callable[[Story], None],
) -> None:
    async def story(bus: Bus) -> None:
        heard: list[str] = []
        busy: list[str] = []

        async def slow(event: Any) -> None:
            assert not busy
            busy.append(event.server_id)
            await asyncio.sleep(0.002 if len(heard) % 2 else 0)
            heard.append(busy.pop())

        await bus.share(slow)
        for number in range(20):
            await bus.publish(GuestChanged(host="h1", server_id=str(number), power_state=PowerState.RUNNING))
        await until(lambda: len(heard) == 20)
        assert heard == [str(number) for number in range(20)]

    on_a_bus(story)


def test_who_left_is_handed_nothing_and_the_others_take_its_share(on_a_bus: Callable[[Story], None]) -> None:
    async def story(bus: Bus) -> None:
        leaving, staying = Ear(), Ear()
        for ear in (leaving, staying):
            await bus.share(ear.take)
            await bus.listen(ear.take)
        await bus.leave(leaving.take)
        for event in FOR_ONE * 5 + FOR_ALL:
            await bus.publish(event)
        await until(lambda: len(staying.heard) == 5 * len(FOR_ONE) + len(FOR_ALL))
        assert leaving.heard == []

    on_a_bus(story)


def test_an_event_that_nobody_is_there_for_is_lost_and_no_error(on_a_bus: Callable[[Story], None]) -> None:
    async def story(bus: Bus) -> None:
        for event in (*FOR_ALL, *FOR_ONE):
            await bus.publish(event)
        late = Ear()
        await bus.share(late.take)
        await bus.listen(late.take)
        await bus.publish(ActionWaits(action_id="the next"))
        await until(lambda: bool(late.heard))
        assert late.heard == [ActionWaits(action_id="the next")]

    on_a_bus(story)


def test_a_listener_that_fails_is_handed_the_next_event_all_the_same(on_a_bus: Callable[[Story], None]) -> None:
    async def story(bus: Bus) -> None:
        heard: list[str] = []

        async def fragile(event: Any) -> None:
            heard.append(event.action_id)
            if len(heard) == 1:
                raise RuntimeError("on purpose")

        await bus.share(fragile)
        for ident in ("a", "b"):
            await bus.publish(ActionWaits(action_id=ident))
        await until(lambda: heard == ["a", "b"])

    on_a_bus(story)


def test_a_command_is_answered_by_its_host_alone(on_a_bus: Callable[[Story], None]) -> None:
    async def story(bus: Bus) -> None:
        async def refuse(command: Command) -> Result:
            return Failed(kind="conflict", message="not now", stage="image")

        await bus.serve("h1", answer)
        await bus.serve("h2", refuse)
        assert await bus.request("h1", ListGuests(), timeout=5) == Done()
        with pytest.raises(HostFailure, match="not now"):
            await bus.request("h2", ListGuests(), timeout=5)
        await bus.withdraw("h1")
        with pytest.raises(Unavailable, match="'h1'"):
            await bus.request("h1", ListGuests(), timeout=5)

    on_a_bus(story)


def test_a_host_that_takes_too_long_is_unavailable_and_answers_others_meanwhile(
    on_a_bus: Callable[[Story], None],
) -> None:
    async def story(bus: Bus) -> None:
        held = asyncio.Event()

        async def one_is_slow(command: Command) -> Result:
            if isinstance(command, ListGuests):
                await held.wait()
            return Done()

        await bus.serve("h1", one_is_slow)
        slow = asyncio.ensure_future(bus.request("h1", ListGuests(), timeout=60))
        assert await bus.request("h1", Inspect(), timeout=5) == Done()
        with pytest.raises(Unavailable, match=r"'h1' gave no answer to ListGuests in 0.05 s"):
            await bus.request("h1", ListGuests(), timeout=0.05)
        held.set()
        assert await slow == Done()

    on_a_bus(story)


def test_a_handler_that_fails_is_answered_as_a_failure_of_the_host(on_a_bus: Callable[[Story], None]) -> None:
    async def story(bus: Bus) -> None:
        async def fail(command: Command) -> Result:
            raise RuntimeError("on purpose")

        await bus.serve("h1", fail)
        with pytest.raises(HostFailure, match="failed unexpectedly: RuntimeError"):
            await bus.request("h1", ListGuests(), timeout=5)

    on_a_bus(story)


@pytest.mark.parametrize("host", ["rack 4.host*1", "höst", "*", ">", "a.b", "a%2Eb", "h" * 255])
def test_a_host_may_have_any_name(on_a_bus: Callable[[Story], None], host: str) -> None:
    async def story(bus: Bus) -> None:
        ear = Ear()
        await bus.serve(host, answer)
        await bus.serve("another", answer)
        await bus.listen(ear.take)
        assert await bus.request(host, ListGuests(), timeout=5) == Done()
        await bus.publish(Heartbeat(host=host))
        await until(lambda: ear.heard == [Heartbeat(host=host)])
        await bus.withdraw(host)
        with pytest.raises(Unavailable):
            await bus.request(host, ListGuests(), timeout=5)
        assert await bus.request("another", ListGuests(), timeout=5) == Done()

    on_a_bus(story)


async def test_what_waits_for_a_slow_listener_is_bounded_and_it_goes_on_afterwards(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus, held, heard = LocalBus(), asyncio.Event(), Ear()

    async def stuck(event: Any) -> None:
        await held.wait()
        await heard.take(event)

    await bus.share(stuck)
    for number in range(MOST_WAITING + 5000):
        await bus.publish(ActionWaits(action_id=str(number)))
    held.set()
    await bus.idle()
    assert len(heard.heard) <= MOST_WAITING + 1
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"], "once each, however many were lost"
    await bus.publish(ActionWaits(action_id="after"))
    await bus.idle()
    assert heard.heard[-1] == ActionWaits(action_id="after")
    await bus.close()
