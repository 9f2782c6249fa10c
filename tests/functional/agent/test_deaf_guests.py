"""A NIC is taken from a guest that does not answer: nothing else that is asked of it waits for that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from floe.core.errors import HostFailure
from floe.core.guests import PowerState
from floe.core.host_network import HostNetwork
from floe.core.messages import ApplyNetwork, ChangeNics, ChangePower, Destroy, Destroyed, NicsChanged
from floe.core.power import Power, Wanted


class Deaf:
    """A guest that is asked for its NIC, for as long as anybody has patience."""

    def __init__(self, world: Any, spawned: Any) -> None:
        self.world, self.server_id, self.name = world, spawned.guest.server_id, spawned.guest.name
        (port,), self.network = spawned.network.ports, spawned.network
        self.port_id = port.port_id
        world.machine.nics[self.server_id] = {self.port_id}
        world.machine.deaf.add(self.server_id)
        self.slept: Callable[[], Any] = lambda: None
        """Called each time that its host waits."""
        self.told = ChangeNics(
            action_id="detach",
            server_id=self.server_id,
            detach=(self.port_id,),
            network=HostNetwork(generation=world.agent._ledger.network.newest + 1),
            patience=1e9,
        )

    async def asked_for_its_nic(self) -> asyncio.Task[Any]:
        task = asyncio.create_task(self.world.ask(self.told, timeout=60))
        commands = self.world.agent._commands
        await self.world.until(lambda: self.server_id in commands._servers)
        return task

    async def turned(self, power: Power, generation: int, boots: int = 1) -> Any:
        wanted = Wanted(power=power, boots=boots, generation=generation)
        return await self.world.ask(ChangePower(action_id="power", server_id=self.server_id, wanted=wanted))


@pytest.fixture
async def deaf(world: Any, spawn: Any) -> Deaf:
    made: list[Deaf] = []

    async def sleep(_seconds: float) -> None:
        for one in made:
            one.slept()
        await asyncio.sleep(0)

    await world.start(boot_id=lambda: "first", sleep=sleep)
    command = spawn()
    await world.ask(command)
    made.append(Deaf(world, command))
    return made[0]


async def test_a_stop_goes_first_and_the_nic_is_gone_with_it(deaf: Deaf) -> None:
    detached = await deaf.asked_for_its_nic()
    assert (await deaf.turned(Power.STOPPED, 1)).power_state is PowerState.SHUTDOWN
    assert isinstance(await detached, NicsChanged)
    assert deaf.world.agent._ledger.guests[deaf.server_id].nics == ()


async def test_a_hard_reboot_goes_first_and_the_guest_is_asked_again(deaf: Deaf) -> None:
    detached = await deaf.asked_for_its_nic()
    assert (await deaf.turned(Power.RUNNING, 1, boots=2)).power_state is PowerState.RUNNING
    assert deaf.world.machine.boots[deaf.server_id] == 2
    assert not detached.done()
    deaf.world.machine.deaf.clear()
    assert isinstance(await detached, NicsChanged)
    assert deaf.world.machine.nics[deaf.server_id] == set()


async def test_a_delete_ends_it(deaf: Deaf) -> None:
    detached = await deaf.asked_for_its_nic()
    gone = Destroy(action_id="d", server_id=deaf.server_id, guest_name=deaf.name)
    assert isinstance(await deaf.world.ask(gone), Destroyed)
    with pytest.raises(HostFailure, match="was deleted"):
        await detached


async def test_patience_ends_however_often_others_went_first(deaf: Deaf) -> None:
    deaf.told = replace(deaf.told, patience=2000.0)
    detached = await deaf.asked_for_its_nic()
    paused = [deaf.turned(Power.PAUSED if turn % 2 else Power.RUNNING, turn) for turn in range(1, 6)]
    await asyncio.gather(*paused, return_exceptions=True)
    with pytest.raises(HostFailure, match="did not let go of the NIC"):
        await detached
    assert [nic.port_id for nic in deaf.world.agent._ledger.guests[deaf.server_id].nics] == [deaf.port_id]


async def test_a_nic_that_was_given_in_vain_is_asked_for_until_the_guest_lets_go_of_it(deaf: Deaf) -> None:
    """An attempt before had given it to the guest, and the one after could not."""
    again = replace(deaf.network, generation=deaf.told.network.generation)
    deaf.world.machine.fail("attach_nic")
    attach = ChangeNics(action_id="attach", server_id=deaf.server_id, attach=(deaf.port_id,), network=again)
    deaf.slept = deaf.world.machine.deaf.clear
    with pytest.raises(HostFailure):
        await deaf.world.ask(attach, timeout=60)
    assert deaf.world.machine.nics[deaf.server_id] == set()


async def test_a_nic_whose_port_is_gone_is_asked_for_until_the_guest_lets_go_of_it(deaf: Deaf) -> None:
    ledger = deaf.world.agent._ledger
    nothing = HostNetwork(generation=ledger.network.newest + 1)
    await deaf.world.ask(ApplyNetwork(network=nothing))
    await deaf.world.until(lambda: ledger.guests[deaf.server_id].nics == ())
    assert deaf.world.machine.nics[deaf.server_id] == {deaf.port_id}
    deaf.world.machine.deaf.clear()
    await deaf.world.until(lambda: deaf.world.machine.nics[deaf.server_id] == set())
