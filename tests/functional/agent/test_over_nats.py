"""An agent whose bus is NATS: it does what it is told over it, and says anew what it has when the bus was away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from nats_server import NatsServer, nats_server

from floe.bus.address import NatsAddress
from floe.bus.nats import NatsBus
from floe.core.errors import HostFailure, Unavailable
from floe.core.messages import Destroy, Destroyed, Guests, HostDown, HostUp, ListGuests, Spawned


@pytest.fixture
def own() -> Iterator[NatsServer]:
    with nats_server() as server:
        yield server


@pytest.fixture
async def conductor(own: NatsServer) -> AsyncIterator[NatsBus]:
    bus = NatsBus(NatsAddress(servers=(own.url,)), "conductor")
    await bus.open()
    yield bus
    await bus.close()


async def test_an_agent_works_over_it_and_reports_when_it_is_back(
    world: Any, spawn: Any, own: NatsServer, conductor: NatsBus
) -> None:
    said: list[Any] = []

    async def hear(event: Any) -> None:
        said.append(event)

    await conductor.share(hear)
    world.bus = NatsBus(NatsAddress(servers=(own.url,)), "agent")
    await world.bus.open()
    await world.start(sweep=1.0)  # what it says at once is lost where it is back before the conductor is
    await world.until(lambda: any(isinstance(event, HostUp) for event in said))
    command = spawn()
    assert isinstance(await conductor.request("h1", command, timeout=30), Spawned)
    assert await conductor.request("h1", command, timeout=30) == await conductor.request("h1", command, timeout=30)
    with pytest.raises(HostFailure):
        await conductor.request("h1", Destroy(action_id="a", server_id="../..", guest_name="x"), timeout=30)

    own.stop()
    await world.until(lambda: world.bus.trouble and conductor.trouble)
    said.clear()
    with pytest.raises(Unavailable):
        await conductor.request("h1", ListGuests(), timeout=30)
    own.start()
    await world.until(lambda: not conductor.trouble and not world.bus.trouble)
    await world.until(lambda: any(isinstance(event, HostUp) for event in said))
    up = next(event for event in said if isinstance(event, HostUp))
    assert [guest.server_id for guest in up.guests] == [command.guest.server_id]

    told = await conductor.request("h1", ListGuests(), timeout=30)
    assert isinstance(told, Guests)
    destroyed = await conductor.request(
        "h1",
        Destroy(action_id="b", server_id=command.guest.server_id, guest_name=command.guest.name),
        timeout=30,
    )
    assert isinstance(destroyed, Destroyed)
    await world.stop()
    await world.until(lambda: HostDown(host="h1") in said)
    with pytest.raises(Unavailable, match="no agent serves it"):
        await conductor.request("h1", ListGuests(), timeout=30)
    await world.bus.close()
