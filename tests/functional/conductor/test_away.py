"""A conductor that hears nothing because the bus is away calls no host dead; a host that nobody knows is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from nats_server import NatsServer, nats_server

from floe.bus.address import NatsAddress
from floe.bus.nats import NatsBus
from floe.cloud.cloud import Cloud
from floe.conductor.conductor import Conductor
from floe.core.errors import Unavailable
from floe.core.messages import Command, Done, Heartbeat, Report, Result

from .conftest import SETTINGS, ScriptedHost


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    with nats_server(tmp_path / "nats") as server:
        yield server


async def test_hosts_that_cannot_be_heard_are_not_down_and_have_time_to_speak_afterwards(
    cloud: Cloud, server: NatsServer
) -> None:
    bus = NatsBus(NatsAddress(servers=(server.url,)), "conductor")
    await bus.open()
    host = ScriptedHost("h1")
    patience = replace(SETTINGS, host_down=30.0)
    conductor = Conductor(replace(cloud, bus=bus), settings=patience)
    await conductor.start()
    await bus.serve("h1", host.handle)
    await bus.publish(host.up())
    await until(lambda: conductor.fleet.alive("h1"))
    server.stop()
    await until(lambda: bus.trouble)
    cloud.clock.advance(3600)  # type: ignore[attr-defined]
    assert conductor.fleet.silent() == []
    assert conductor.fleet.alive("h1")
    server.start()
    await until(lambda: not bus.trouble)
    cloud.clock.advance(20)  # type: ignore[attr-defined]
    assert conductor.fleet.silent() == []
    cloud.clock.advance(31)  # type: ignore[attr-defined]
    assert conductor.fleet.silent() == ["h1"], "it had its time"
    await conductor.stop()
    await bus.close()


async def test_a_host_whose_report_nobody_heard_is_asked_for_it_until_it_is_known(cloud: Cloud) -> None:
    host, asked, deaf = ScriptedHost("h1"), 0, True

    async def handle(command: Command) -> Result:
        nonlocal asked
        if isinstance(command, Report):
            asked += 1
            if deaf:
                raise Unavailable("It is about to stop.")
            await cloud.bus.publish(host.up())
            return Done()
        return await host.handle(command)

    await cloud.bus.serve("h1", handle)
    await cloud.bus.publish(host.up())  # when nobody is there
    conductors = [Conductor(cloud, settings=SETTINGS, host=name) for name in ("one", "two")]
    for conductor in conductors:
        await conductor.start()

    async def beat() -> list[bool]:
        """Let the host live, and each conductor have its round; return who knows it then."""
        await cloud.bus.publish(Heartbeat(host="h1"))
        await cloud.bus.idle()
        for conductor in conductors:
            await conductor.sweeps.greet()
            await cloud.bus.idle()
            await conductor.events.idle()
        return [conductor.fleet.alive("h1") for conductor in conductors]

    assert await beat() == [False, False]
    assert asked == 2, "each of them asked, and got no answer"
    deaf = False
    await beat()
    assert await beat() == [True, True]
    before = asked
    assert await beat() == [True, True]
    assert asked == before <= 4, "it is known"
    for conductor in conductors:
        await conductor.stop()


async def test_a_conductor_that_starts_asks_the_hosts_it_knows_and_waits_for_no_heartbeat(cloud: Cloud) -> None:
    host = ScriptedHost("h1")
    first = Conductor(cloud, settings=SETTINGS, host="one")
    await first.start()
    for name in ("h1", "gone"):
        await cloud.bus.publish(replace(host.up(), host=name))
    await until(lambda: all(map(first.fleet.alive, ("h1", "gone"))))
    await first.stop()

    async def handle(command: Command) -> Result:
        assert command == Report(whole=False)
        return Done()

    await cloud.bus.serve("h1", handle)
    second = Conductor(cloud, settings=replace(SETTINGS, start_grace=3600.0), host="one")
    await second.start()
    await until(lambda: not second.fleet.awaited("h1"))
    assert second.fleet.awaited("gone")
    await second.stop()
