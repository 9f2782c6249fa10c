"""A conductor writes that it lives, as it writes when hosts were heard of, and says when it stops."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from floe.cloud import conductors
from floe.cloud.cloud import Cloud
from floe.conductor.conductor import Conductor
from floe.core.guests import PowerState
from floe.core.messages import ActionWaits, Command, GuestChanged, Heartbeat, ListGuests, Result, Spawn, Spawned
from floe.store import actions, servers

from .conftest import IMAGE, SETTINGS, ScriptedHost, Site, new_action, new_server, until


async def told(cloud: Cloud) -> dict[str, bool]:
    return {each.role.host: each.up for each in await conductors.listed(cloud)}


async def test_a_conductor_is_up_while_it_runs_and_down_when_it_stopped(cloud: Cloud) -> None:
    conductor = Conductor(cloud, settings=SETTINGS, host="ctl")
    await conductor.start()
    assert await told(cloud) == {"ctl": True}
    await conductor.stop()
    assert await told(cloud) == {"ctl": False}
    again = Conductor(cloud, settings=SETTINGS, host="ctl")
    await again.start()
    assert await told(cloud) == {"ctl": True}, "the same conductor, started once more"
    await again.stop()


async def test_a_conductor_that_only_runs_on_stays_up_and_one_that_died_does_not(cloud: Cloud) -> None:
    alive = Conductor(cloud, settings=SETTINGS, host="alive")
    dead = Conductor(cloud, settings=SETTINGS, host="dead")
    await alive.start()
    await dead.start()
    for _ in range(3):
        cloud.clock.advance(30)  # type: ignore[attr-defined]
        await alive.sweeps.write_seen()
    assert await told(cloud) == {"alive": True, "dead": False}
    await dead.stop()
    await alive.stop()


async def leased(cloud: Cloud, owner: str) -> str:
    """Leave an action in the hands of somebody; return its id."""
    server = new_server(cloud, 1024)
    action, now = new_action(cloud, server.id, "create", IMAGE), cloud.clock.now()

    def write(conn: Any) -> None:
        servers.add(conn, server)
        actions.add(conn, action)
        assert actions.take(conn, action, 0, owner, "running", now, now + timedelta(seconds=3600))

    await cloud.db.write(write)
    return action.id


async def owner(cloud: Cloud, action_id: str) -> str | None:
    found = await cloud.db.read(lambda conn: actions.get(conn, action_id))
    assert found is not None
    return found.lease_owner


async def start(cloud: Cloud, **values: Any) -> Conductor:
    """Start a conductor that takes up nothing by itself."""
    conductor = Conductor(cloud, settings=replace(SETTINGS, start_grace=3600.0), **values)
    conductor.runner.wake = lambda _action_id: None  # type: ignore[method-assign]  # only the leases matter here
    await conductor.start()
    return conductor


@pytest.mark.parametrize(
    ("left_by", "broken"),
    [
        ("one/9cb2f8a4-0d1c-4a3c-b0f8-5e1d6a7c8b90", True),
        ("9cb2f8a4-0d1c-4a3c-b0f8-5e1d6a7c8b90", True),  # of a release that had the database to itself
        ("two/9cb2f8a4-0d1c-4a3c-b0f8-5e1d6a7c8b90", False),
        ("one.two/9cb2f8a4-0d1c-4a3c-b0f8-5e1d6a7c8b90", False),
        ("another one/9cb2f8a4-0d1c-4a3c-b0f8-5e1d6a7c8b90", False),
        ("o_e/9cb2f8a4-0d1c-4a3c-b0f8-5e1d6a7c8b90", False),
        ("/9cb2f8a4-0d1c-4a3c-b0f8-5e1d6a7c8b90", False),  # of one that holds no place: it may live
    ],
)
async def test_a_start_breaks_the_leases_of_who_was_at_its_place_and_of_nobody_else(
    cloud: Cloud, left_by: str, broken: bool
) -> None:
    action_id = await leased(cloud, left_by)
    conductor = await start(cloud, place="one")
    assert await owner(cloud, action_id) == (None if broken else left_by)
    await conductor.stop()


@pytest.mark.parametrize("place", ["o_e", "%", ""])
async def test_a_place_is_no_pattern_and_without_one_nobody_is_known_to_be_dead(cloud: Cloud, place: str) -> None:
    action_id = await leased(cloud, "one/9cb2f8a4-0d1c-4a3c-b0f8-5e1d6a7c8b90")
    conductor = await start(cloud, place=place or None)
    assert await owner(cloud, action_id) == "one/9cb2f8a4-0d1c-4a3c-b0f8-5e1d6a7c8b90"
    await conductor.stop()


async def test_conductors_that_start_one_after_the_other_leave_each_other_their_leases(cloud: Cloud) -> None:
    first = await start(cloud, place="one", host="one")
    action_id = await leased(cloud, first.owner)
    second = await start(cloud, place="two", host="two")
    third = await start(cloud, host="three")
    assert await owner(cloud, action_id) == first.owner
    for conductor in (third, second):
        await conductor.stop()
    assert await owner(cloud, action_id) == first.owner, "and a stop ends one's own alone"
    await first.stop()
    assert await owner(cloud, action_id) is None


@pytest.fixture
async def pair(cloud: Cloud) -> AsyncIterator[list[Site]]:
    """Give two conductors on one database and one bus."""
    sites = [Site(cloud, Conductor(cloud, settings=SETTINGS, place=name, host=name)) for name in ("one", "two")]
    for site in sites:
        await site.conductor.start()
    yield sites
    for site in sites:
        await site.conductor.stop()


async def test_two_conductors_share_what_there_is_to_do(pair: list[Site], monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[list[str]] = [[], []]
    for site, mine in zip(pair, woken, strict=True):
        monkeypatch.setattr(site.conductor.runner, "wake", lambda ident, _fresh, mine=mine: mine.append(ident))
    for number in range(10):
        await pair[0].cloud.bus.publish(ActionWaits(action_id=str(number)))
    for site in pair:
        await site.settle()
    assert sorted(woken[0] + woken[1], key=int) == [str(number) for number in range(10)]
    assert all(woken)


async def test_a_host_that_spoke_to_one_conductor_is_known_to_the_other_after_a_heartbeat(pair: list[Site]) -> None:
    cloud = pair[0].cloud
    host = ScriptedHost("h1")
    await cloud.bus.serve("h1", host.handle)
    await cloud.bus.publish(host.up())
    fleets = [site.conductor.fleet for site in pair]
    await until(lambda: any(fleet.alive("h1") for fleet in fleets))
    assert [fleet.alive("h1") for fleet in fleets].count(True) == 1
    for _ in range(2):
        await cloud.bus.publish(Heartbeat(host="h1"))
        for site in pair:
            await site.settle()
            await site.conductor.sweeps.quick()
    assert all(fleet.alive("h1") and fleet.table.row("h1") is not None for fleet in fleets)


async def test_a_host_whose_report_one_conductor_took_is_asked_by_none(pair: list[Site]) -> None:
    cloud, host = pair[0].cloud, ScriptedHost("h1")
    await cloud.bus.serve("h1", host.handle)
    await cloud.bus.publish(host.up())
    await until(lambda: any(site.conductor.fleet.alive("h1") for site in pair))
    for site in pair:
        await site.conductor.fleet.refresh()
        site.conductor.fleet.heard("h1")
        await site.settle()

    async def rounds() -> int:
        """Let both look at what was not compared; return how often the host was asked."""
        host.commands.clear()
        for site in pair:
            await site.conductor.sweeps.slow()
            await site.settle()
        return len([command for command in host.commands if isinstance(command, ListGuests)])

    for report in range(4):  # they take turns in what is for one
        await cloud.bus.publish(host.up())
        for site in pair:
            await site.settle()
            await site.conductor.sweeps.quick()
            await site.settle()
        assert not await rounds(), report
    assert any([await rounds() for _ in range(3)]), "it reports no more"


async def test_a_guest_that_dies_while_one_conductor_builds_it_is_seen_though_another_hears_of_it(
    pair: list[Site],
) -> None:
    builder, other = pair
    cloud = builder.cloud
    host = ScriptedHost("h1")

    async def handle(command: Command) -> Result:
        result = await host.handle(command)
        if isinstance(command, Spawn) and isinstance(result, Spawned):
            host.guests[command.guest.server_id] = PowerState.SHUTDOWN
            gone = GuestChanged(host="h1", server_id=command.guest.server_id, power_state=PowerState.SHUTDOWN)
            await other.conductor.events.take(gone)
        return result

    await cloud.bus.serve("h1", handle)
    await cloud.bus.publish(host.up())
    await until(lambda: any(site.conductor.fleet.alive("h1") for site in pair))
    for site in pair:
        await site.conductor.fleet.refresh()
        site.conductor.fleet.heard("h1")
    looks: list[str] = []

    async def soon(_seconds: float) -> None:
        looks.append("h1")
        await until(lambda: builder.server(server.id).vm_state == "active")

    other.conductor.events._sleep = soon
    server = await builder.post(nudge=False)
    (action,) = builder.actions(server.id)
    builder.conductor.runner.wake(action.id)
    await until(lambda: bool(looks) and builder.server(server.id).vm_state == "stopped")
