"""A conductor stands still between proving that an action is its own and telling a host: another one overtakes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from floe.conductor.conductor import Conductor
from floe.core.errors import HostFailure
from floe.core.messages import Command, Destroy, Heartbeat, Result, Spawn, SpawnAll

from .conftest import HOSTS, SETTINGS, Town, until


class SlowBus:
    """A conductor's way to its hosts: builds are done, and it hears that they failed; undoing them it stands still."""

    def __init__(self, bus: Any) -> None:
        self._bus = bus
        self.stands, self.goes_on, self.answered = asyncio.Event(), asyncio.Event(), list[str]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    async def request(self, host: str, command: Command, *, timeout: float) -> Result:
        if isinstance(command, Destroy):
            self.stands.set()
            await self.goes_on.wait()
            try:
                return await self._bus.request(host, command, timeout=timeout)
            except HostFailure as error:
                self.answered.append(error.message)
                raise
        result: Result = await self._bus.request(host, command, timeout=timeout)
        if isinstance(command, Spawn | SpawnAll):
            raise HostFailure("Its answer was lost.", host=host)
        return result


async def test_its_late_undo_leaves_the_guest_that_the_next_one_made_active(new_town: Callable[[], Town]) -> None:
    town, stands_still = new_town(), replace(SETTINGS, sweep=3600.0, host_down=3600.0)
    await town.boot()
    await town.conductor.stop()
    bus = SlowBus(town.bus)
    slow = Conductor(replace(town.cloud, bus=bus), settings=stands_still, place="there")
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

    bus.goes_on.set()
    await until(lambda: bus.answered)
    assert "taken up by another conductor" in bus.answered[0]
    await slow.stop()
    assert town.machines["h1"].guests[server.id] is guest
    assert town.server(server.id).vm_state == "active"
    await town.settled()
    await town.close()


async def hosts_are_heard_of(town: Town, conductor: Conductor) -> None:
    for name in HOSTS:
        await town.bus.publish(Heartbeat(host=name))
    await until(lambda: all(conductor.fleet.alive(name) and not conductor.fleet.awaited(name) for name in HOSTS))
