"""A conductor is overtaken: it undoes a build whose answer was lost, stands still, and another one has it built."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from floe.conductor.conductor import Conductor
from floe.core.clock import Clock
from floe.core.errors import HostFailure
from floe.core.messages import Command, Destroy, Heartbeat, Result, Spawn, SpawnAll

from .conftest import HOSTS, SETTINGS, Town, until

Ask = Callable[[], Awaitable[Result]]


class StandingBus:
    """A conductor's way to its hosts: it hears that builds failed, and stands still before, or after, it is answered.

    What comes of a destroy is for `destroy` to say, which is given what asks the host.
    """

    def __init__(self, bus: Any, destroy: Callable[[Ask], Awaitable[Result]]) -> None:
        self._bus, self._destroy = bus, destroy
        self.stands, self.goes_on = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    async def request(self, host: str, command: Command, *, timeout: float) -> Result:
        if isinstance(command, Destroy):
            self.stands.set()
            await self.goes_on.wait()
            return await self._destroy(lambda: self._bus.request(host, command, timeout=timeout))
        result: Result = await self._bus.request(host, command, timeout=timeout)
        if isinstance(command, Spawn | SpawnAll):
            raise HostFailure("Its answer was lost.", host=host)
        return result


@dataclass
class Overtaken:
    """The conductor that goes on as soon as its bus does, and the guest that the next one made active."""

    town: Town
    slow: Conductor
    bus: StandingBus
    server_id: str
    guest: Any


@asynccontextmanager
async def overtaken(
    new_town: Callable[[], Town],
    destroy: Callable[[Ask], Awaitable[Result]],
    clock: Callable[[Clock], Clock] = lambda clock: clock,
) -> AsyncIterator[Overtaken]:
    """Come to where one is overtaken, and see afterwards that the guest is as the next one left it."""
    town, stands_still = new_town(), replace(SETTINGS, sweep=3600.0, renew=3600.0, host_down=3600.0)
    await town.boot()
    await town.conductor.stop()
    bus = StandingBus(town.bus, destroy)
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

    yield Overtaken(town, slow, bus, server.id, guest)

    await slow.stop()
    assert town.machines["h1"].guests[server.id] is guest
    assert town.server(server.id).vm_state == "active"
    await town.settled()
    await town.close()


async def hosts_are_heard_of(town: Town, conductor: Conductor) -> None:
    """Have a conductor know that the hosts live."""
    for name in HOSTS:
        await town.bus.publish(Heartbeat(host=name))
    await until(lambda: all(conductor.fleet.alive(name) and not conductor.fleet.awaited(name) for name in HOSTS))
