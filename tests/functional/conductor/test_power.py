"""Changes of power, from the request to the row: what fails, what is overtaken, and what a guest does by itself."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from floe.cloud import server_power, servers
from floe.cloud.server_power import patience
from floe.core import guest_actions
from floe.core.context import Context
from floe.core.errors import Conflict
from floe.core.guest_actions import OnGuest
from floe.core.guests import PowerState
from floe.core.messages import ChangePower, Failed, GuestChanged
from floe.core.power import Power, Wanted

ANN = Context(request_id="r", user_id="u" * 32, project_id="p" * 32, roles=frozenset({"member"}))
BROKEN = Failed(kind="host_failure", message="It broke.", stage="guest")


async def built(site: Any) -> Any:
    await site.add_host("h1")
    server = await site.post()
    await site.settle()
    return site.server(server.id)


async def change(site: Any, server: Any, asked: OnGuest) -> Any:
    cloud = site.cloud
    await server_power.change(cloud, ANN, server.id, asked)
    await site.settle()
    return site.server(server.id)


async def test_a_server_is_what_its_guest_was_made_and_each_wish_is_counted(site: Any) -> None:
    server = await built(site)
    states = []
    for asked in guest_actions.ON_GUEST[1:2] + guest_actions.ON_GUEST[:1] + guest_actions.ON_GUEST[2:]:
        server = await change(site, server, asked)
        states.append(server.vm_state)
        assert (server.task_state, server.power_state) == (None, site.hosts["h1"].guests[server.id])
    assert states == ["stopped", *["active"] * 3, "paused", "active", "suspended", "active"]
    wanted = [command.wanted for command in site.hosts["h1"].sent(ChangePower)]
    assert [wish.generation for wish in wanted] == list(range(1, 9))
    assert [wish.boots for wish in wanted] == [1, 2, 3, 4, 4, 4, 4, 4]
    assert wanted[3] == Wanted(power=Power.RUNNING, boots=4, generation=4)


async def test_what_fails_leaves_the_server_what_it_was_and_says_why(site: Any) -> None:
    server = await built(site)
    site.hosts["h1"].power_script.append(BROKEN)
    after = await change(site, server, guest_actions.PAUSE)
    assert (after.vm_state, after.task_state, after.power_state) == ("active", None, PowerState.RUNNING)
    assert after.fault.message == "It broke."
    latest = site.actions(server.id)[0]
    assert (latest.kind, latest.state, latest.message) == ("pause", "failed", "It broke.")
    assert (await change(site, server, guest_actions.PAUSE)).vm_state == "paused"


async def test_a_host_that_is_down_fails_it_at_once(site: Any) -> None:
    server = await built(site)
    await site.take_down(site.hosts["h1"])
    after = await change(site, server, guest_actions.STOP)
    assert (after.vm_state, after.task_state) == ("active", None)
    assert "down" in after.fault.message


async def test_of_two_at_once_the_second_is_refused(site: Any) -> None:
    server = await built(site)
    await server_power.change(site.cloud, ANN, server.id, guest_actions.STOP)
    with pytest.raises(Conflict, match=r"Cannot 'pause' instance .* while it is in task_state powering-off"):
        await server_power.change(site.cloud, ANN, server.id, guest_actions.PAUSE)


async def test_a_delete_wins(site: Any) -> None:
    server = await built(site)
    await server_power.change(site.cloud, ANN, server.id, guest_actions.STOP)
    await servers.delete(site.cloud, ANN, server.id)
    await site.conductor.runner.sweep()
    await site.settle()
    assert site.server(server.id).vm_state == "deleted"
    assert {action.kind: action.state for action in site.actions(server.id)} == {
        "create": "succeeded",
        "stop": "cancelled",
        "delete": "succeeded",
    }


@pytest.mark.parametrize(
    ("state", "vm_state"),
    [
        (PowerState.SHUTDOWN, "stopped"),
        (PowerState.PAUSED, "paused"),
        (PowerState.SUSPENDED, "suspended"),
        (PowerState.CRASHED, "stopped"),
    ],
)
async def test_a_row_follows_what_its_guest_does_by_itself(site: Any, state: PowerState, vm_state: str) -> None:
    server = await built(site)
    site.hosts["h1"].guests[server.id] = state
    await site.cloud.bus.publish(GuestChanged(host="h1", server_id=server.id, power_state=state))
    async with asyncio.timeout(20):
        while (after := site.server(server.id)).power_state is not state:
            await asyncio.sleep(0.001)
    assert (after.vm_state, after.power_state) == (vm_state, state)


async def test_an_image_says_how_long_its_guests_take_to_shut_down(site: Any) -> None:
    server = await built(site)
    for said, seconds in (("", 60.0), ("5", 5.0), ("0", 0.0), ("100000", 600.0)):
        properties = {"os_shutdown_timeout": said} if said else {}
        assert patience(replace(server, image_properties=properties), 60.0) == seconds
