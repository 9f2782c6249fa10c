"""A conductor stands still while it waits to ask a host again: another one has long done what it was at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from floe.conductor.conductor import Conductor
from floe.core.clock import Clock
from floe.core.errors import HostFailure, Unavailable
from floe.core.messages import Command, Destroy, Heartbeat, Result, Spawn, SpawnAll

from .conftest import HOSTS, SETTINGS, Town, until


class StandingBus:
    """A conductor's way to its hosts: it hears that builds failed, and stands still while a destroy is not answered."""

    def __init__(self, bus: Any, refusal: Exception) -> None:
        self._bus, self._refusal = bus, refusal
        self.stands, self.goes_on, self.destroys = asyncio.Event(), asyncio.Event(), 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    async def request(self, host: str, command: Command, *, timeout: float) -> Result:
        if isinstance(command, Destroy):
            self.destroys += 1
            self.stands.set()
            await self.goes_on.wait()
            if self.destroys == 1:
                raise self._refusal
        result: Result = await self._bus.request(host, command, timeout=timeout)
        if isinstance(command, Spawn | SpawnAll):
            raise HostFailure("Its answer was lost.", host=host)
        return result


class SleepingClock:
    """The clock of a machine that sleeps: what counts its seconds sleeps too."""

    def __init__(self, clock: Clock) -> None:
        self.now = clock.now

    def monotonic(self) -> float:
        return 0.0


async def one_that_stood_still_asks_nothing_more(
    new_town: Callable[[], Town], refusal: Exception, clock: Callable[[Clock], Clock] = lambda clock: clock
) -> None:
    town, stands_still = new_town(), replace(SETTINGS, sweep=3600.0, host_down=3600.0)
    await town.boot()
    await town.conductor.stop()
    bus = StandingBus(town.bus, refusal)
    slow = Conductor(replace(town.cloud, bus=bus, clock=clock(town.clock)), settings=stands_still, place="there")
    await slow.start()
    await hosts_are_heard_of(town, slow)
    server = await town.create("h1")
    await asyncio.wait_for(bus.stands.wait(), 20)
    guest = town.machines["h1"].guests[server.id]

    town.clock.advance(60)  # its lease is over
    town.conductor = Conductor(town.cloud, settings=SETTINGS, place="here")
    await town.conductor.start()
    await hosts_are_heard_of(town, town.conductor)
    await until(lambda: town.server(server.id).vm_state == "active")

    await hosts_are_heard_of(town, slow)
    (flow,) = slow.runner._flows.values()
    bus.goes_on.set()
    await until(lambda: flow not in slow.runner._flows.values())
    await slow.stop()
    assert bus.destroys == 1
    assert town.machines["h1"].guests[server.id] is guest
    await town.settled()
    await town.close()


async def test_after_a_host_failed_it_asks_nothing_more(new_town: Callable[[], Town]) -> None:
    await one_that_stood_still_asks_nothing_more(new_town, HostFailure("It is busy.", host="h1"))


async def test_after_a_host_did_not_answer_it_asks_nothing_more(new_town: Callable[[], Town]) -> None:
    await one_that_stood_still_asks_nothing_more(new_town, Unavailable("Nothing was heard."))


async def test_after_its_machine_slept_it_asks_nothing_more(new_town: Callable[[], Town]) -> None:
    await one_that_stood_still_asks_nothing_more(new_town, Unavailable("Nothing was heard."), SleepingClock)


async def hosts_are_heard_of(town: Town, conductor: Conductor) -> None:
    for name in HOSTS:
        await town.bus.publish(Heartbeat(host=name))
    await until(lambda: all(conductor.fleet.alive(name) and not conductor.fleet.awaited(name) for name in HOSTS))
