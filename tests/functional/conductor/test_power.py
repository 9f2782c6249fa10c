"""Changes of power, from the request to the row: what fails, what is overtaken, and what a guest does by itself."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from msgspec.structs import replace

from floe.cloud import server_power, server_states, servers
from floe.cloud.server_power import patience
from floe.conductor.conductor import Conductor
from floe.core import guest_actions
from floe.core.context import Context
from floe.core.errors import Conflict
from floe.core.guest_actions import OnGuest
from floe.core.guests import PowerState
from floe.core.messages import ChangePower, Failed, GuestChanged
from floe.core.power import Power, Wanted
from floe.store import actions, hosts, leases

from .conftest import until

ANN = Context(request_id="r", user_id="u" * 32, project_id="p" * 32, roles=frozenset({"member"}))
ROOT = Context(request_id="r", user_id="r" * 32, project_id="f" * 32, roles=frozenset({"admin"}))
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
    for asked in guest_actions.ON_GUEST[1:2] + guest_actions.ON_GUEST[:1] + guest_actions.ON_GUEST[2:8]:
        server = await change(site, server, asked)
        states.append(server.vm_state)
        assert (server.task_state, server.power_state) == (None, site.hosts["h1"].guests[server.id])
    assert states == ["stopped", *["active"] * 3, "paused", "active", "suspended", "active"]
    wanted = [command.wanted for command in site.hosts["h1"].sent(ChangePower)]
    numbers = [wish.generation for wish in wanted]
    assert numbers == list(range(numbers[0], numbers[0] + 8)), "the clock stands still, and each is ahead of the last"
    assert [wish.boots for wish in wanted] == [1, *numbers[1:4], *numbers[3:4] * 4]
    assert wanted[3] == Wanted(power=Power.RUNNING, boots=numbers[3], generation=numbers[3])


async def test_what_fails_leaves_the_server_what_it_was_and_says_why(site: Any) -> None:
    server = await built(site)
    site.cloud.clock.advance(1)
    site.hosts["h1"].power_script.append(BROKEN)
    after = await change(site, server, guest_actions.PAUSE)
    assert (after.vm_state, after.task_state, after.power_state) == ("active", None, PowerState.RUNNING)
    assert after.fault.message == "It broke."
    latest = site.actions(server.id)[0]
    assert (latest.kind, latest.state, latest.message) == ("pause", "failed", "It broke.")
    assert (await change(site, server, guest_actions.PAUSE)).vm_state == "paused"


async def down(site: Any) -> Any:
    """Return a server whose host went down, and that is to be stopped."""
    server = await built(site)
    await site.take_down(site.hosts["h1"])
    return await change(site, server, guest_actions.STOP)


async def up(site: Any) -> None:
    """Have the host come back, and what waited for it taken up."""
    await site.bring_up(site.hosts["h1"])
    await site.conductor.sweeps.returned()
    await site.settle()


async def test_what_is_asked_of_a_host_that_is_down_waits_until_it_is_back(site: Any) -> None:
    server = await down(site)
    assert (server.vm_state, server.task_state, server.fault) == ("active", "powering-off", None)
    assert site.conductor.runner.running == 0, "nobody is at it meanwhile"
    (waiting,) = [action for action in site.actions(server.id) if action.kind == "stop"]
    assert waiting.state == "running"
    (step,) = site.cloud.db.read_now(lambda conn: actions.journal(conn, waiting.id))
    assert (step.state, step.remark) == ("begun", "host h1 is down; this waits until it is back")
    await site.conductor.runner.sweep()
    await site.settle()
    assert site.server(server.id).task_state == "powering-off", "no sweep takes it up while the host is down"
    await up(site)
    after = site.server(server.id)
    assert (after.vm_state, after.task_state, after.fault) == ("stopped", None, None)
    assert len(site.hosts["h1"].sent(ChangePower)) == 1
    names = [step.name for step in site.cloud.db.read_now(lambda conn: actions.journal(conn, waiting.id))]
    assert "recovered" not in names, "nobody died"


async def test_a_host_that_dies_in_the_middle_is_waited_for_too(site: Any) -> None:
    server = await built(site)
    host = site.hosts["h1"]
    host.power_script.append(asyncio.Event())
    await server_power.change(site.cloud, ANN, server.id, guest_actions.STOP)
    await until(lambda: bool(host.sent(ChangePower)))
    await site.take_down(host)
    await until(lambda: not site.conductor.runner.running)
    assert site.server(server.id).task_state == "powering-off"
    await up(site)
    assert site.server(server.id).vm_state == "stopped"


async def test_what_has_waited_for_too_long_fails_and_says_so(site: Any) -> None:
    server = await down(site)
    site.cloud.clock.advance(site.conductor.fleet.settings.host_wait + 1)
    await site.conductor.runner.sweep()
    await site.settle()
    after = site.server(server.id)
    assert (after.vm_state, after.task_state) == ("active", None)
    assert after.fault.message == "Host 'h1' is down, and was for 86400 s since this was asked for."


async def test_a_wait_outlives_its_conductor_and_any_other_one_takes_it_up(site: Any) -> None:
    server = await down(site)
    first = site.conductor
    await first.stop()
    other = site.conductor = Conductor(site.cloud, settings=first.fleet.settings, place="elsewhere")
    await other.start()
    try:
        await site.bring_up(site.hosts["h1"])
        await other.sweeps.returned()  # what is waited for was looked at when it started
        await site.settle()
        assert site.server(server.id).vm_state == "stopped"
    finally:
        await other.stop()
        await first.start()


async def test_a_host_that_is_said_to_be_down_by_hand_is_waited_for_and_taken_up_when_that_is_over(site: Any) -> None:
    server = await built(site)
    now = site.cloud.clock.now()
    await site.cloud.db.write(lambda conn: hosts.change(conn, "h1", now, forced_down=True))
    await site.conductor.fleet.refresh(["h1"])
    waiting = await change(site, server, guest_actions.PAUSE)
    assert waiting.task_state == "pausing"
    await site.cloud.db.write(lambda conn: hosts.change(conn, "h1", now, forced_down=False))
    await site.conductor.fleet.refresh(["h1"])
    await site.conductor.sweeps.returned()
    await site.settle()
    assert site.server(server.id).vm_state == "paused"


@pytest.mark.parametrize("way_out", ["delete", "reset"])
async def test_who_waits_for_a_host_may_be_deleted_or_reset(site: Any, way_out: str) -> None:
    server = await down(site)
    if way_out == "delete":
        await servers.delete(site.cloud, ANN, server.id)
    else:
        await server_states.reset(site.cloud, ROOT, server.id, active=True)
    await site.settle()
    after = site.server(server.id)
    assert (after.vm_state, after.task_state) == (("deleted", None) if way_out == "delete" else ("active", None))
    await up(site)
    assert site.hosts["h1"].sent(ChangePower) == [], "what was given up is not done later"


async def test_what_a_host_still_does_that_was_given_up_is_seen_soon(impatient: Any) -> None:
    """Not by the next sweep alone, which comes once a minute."""
    site = impatient
    server, go_on = await built(site), asyncio.Event()
    site.hosts["h1"].power_script.append(go_on)
    await server_power.change(site.cloud, ANN, server.id, guest_actions.STOP)
    await until(lambda: bool(site.hosts["h1"].sent(ChangePower)))
    await server_states.reset(site.cloud, ROOT, server.id, active=True)
    assert site.server(server.id).vm_state == "active"
    go_on.set()
    await until(lambda: site.server(server.id).vm_state == "stopped")
    assert site.server(server.id).task_state is None


async def test_a_host_with_a_long_name_is_waited_for_too(site: Any) -> None:
    name = "h" * 255
    await site.add_host(name)
    server = await site.post()
    await site.settle()
    await site.take_down(site.hosts[name])
    await change(site, server, guest_actions.STOP)
    held = site.cloud.db.read_now(leases.held).values()
    assert [len(row.lease_owner) <= 64 for row in held] == [True], "as the column is"
    await site.bring_up(site.hosts[name])
    await site.conductor.sweeps.returned()
    await site.settle()
    assert site.server(server.id).vm_state == "stopped"


async def test_many_that_wait_cost_nothing_while_they_do(site: Any) -> None:
    """Nobody is at them: no task, no lease to renew, and no row that a sweep reads."""
    server = await down(site)
    (waiting,) = [action for action in site.actions(server.id) if action.kind == "stop"]
    now = site.cloud.clock.now()

    def insert(conn: Any) -> None:
        for _ in range(100):
            actions.add(conn, dataclasses.replace(waiting, id=site.cloud.new_id(), request_id="r"))

    await site.cloud.db.write(insert)
    assert await site.cloud.db.read(lambda conn: actions.waited_for(conn, ("h1", "h2"))) == {"h1"}
    found = await site.cloud.db.read(lambda conn: actions.waiting(conn, now, 1000))
    assert (found, site.conductor.runner.running) == ([], 0)
    assert await site.cloud.db.write(lambda conn: actions.back(conn, "h1")) == 101


@pytest.mark.parametrize("fails", [False, True])
async def test_a_crash_dump_leaves_the_row_alone_whatever_comes_of_it(site: Any, fails: bool) -> None:
    before = await built(site)
    if fails:
        site.hosts["h1"].power_script.append(BROKEN)
    after = await change(site, before, guest_actions.TRIGGER_CRASH_DUMP)
    assert replace(after, guest_generation=0, updated_at=None) == replace(before, guest_generation=0, updated_at=None)
    latest = site.actions(before.id)[0]
    said = ("failed", "It broke.") if fails else ("succeeded", None)
    assert (latest.kind, latest.state, latest.message) == ("trigger_crash_dump", *said)
    (command,) = site.hosts["h1"].sent(ChangePower)
    assert replace(command.wanted, generation=0) == Wanted(power=Power.RUNNING, boots=1, interrupt=True)


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
