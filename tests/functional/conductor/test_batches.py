"""Creates that wait at the same time are placed together, and each as if it were alone."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any

import pytest
from databases import LentDatabases, NewDatabase
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from floe.conductor.conductor import Conductor
from floe.conductor.fleet import ConductorSettings
from floe.core.messages import Failed, Spawn, SpawnAll
from floe.core.resources import Resources
from floe.core.server_groups import ServerGroup
from floe.store import actions, allocations, hosts, server_groups
from floe.store.schema import create_all

SETTINGS = ConductorSettings(start_grace=0.0, sweep=3600.0, write_seen=3600.0, slow_sweep=3600.0, trace_after=3600.0)
PROJECT = "p" * 32


async def post_all(site: Any, number: int, **values: Any) -> list[Any]:
    """Ask for so many servers, whose creates all wait when a conductor first hears of them."""
    made = [await site.post(nudge=False, **values) for _ in range(number)]
    await site.conductor.runner.sweep()
    await site.settle()
    return [site.server(server.id) for server in made]


async def a_group(site: Any, policy: str, most: int | None = None) -> ServerGroup:
    group = ServerGroup(
        id=site.cloud.new_id(),
        project_id=PROJECT,
        user_id="u" * 32,
        name="g",
        policy=policy,
        max_per_host=most,
        created_at=site.cloud.clock.now(),
    )
    await site.cloud.db.write(lambda conn: server_groups.insert(conn, group))
    return group


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "claim refused" in record.getMessage()]


def steps(site: Any, server: Any) -> list[Any]:
    (action,) = site.actions(server.id)
    return site.cloud.db.read_now(lambda conn: actions.journal(conn, action.id))


@pytest.mark.once
async def test_creates_that_wait_together_are_claimed_in_one_commit_and_ended_in_one(site: Any) -> None:
    await site.add_host("h1", memory_mib=20 * 1024)
    made = [await site.post(nudge=False) for _ in range(8)]
    before = site.cloud.db.commits
    await site.conductor.runner.sweep()
    await site.settle()
    assert 2 <= site.cloud.db.commits - before <= 4, "two for all eight, or twice as many where they come in two turns"
    assert [site.server(server.id).vm_state for server in made] == ["active"] * 8


async def test_creates_that_wait_together_do_not_go_for_the_same_room(
    site: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for number in range(12):
        await site.add_host(f"h{number}", memory_mib=1024)
    found = await post_all(site, 12)
    assert sorted(server.host for server in found) == sorted(site.hosts)
    assert refusals(caplog) == []


async def test_when_there_is_room_for_some_that_wait_together_the_others_are_told_why(site: Any) -> None:
    for number in range(3):
        await site.add_host(f"h{number}", memory_mib=2048)
    found = await post_all(site, 9)
    assert Counter(server.vm_state for server in found) == {"active": 6, "error": 3}
    for server in found:
        if server.vm_state == "error":
            assert "3 hosts considered; 3 lack memory (1024 MiB asked, at most 0 MiB free)" in server.fault.message
        else:
            schedule = next(step for step in steps(site, server) if step.name == "schedule")
            assert "of 3 hosts looked at fit" in schedule.remark
    assert site.conductor.fleet.table.used[:3, 1].tolist() == [2048] * 3


async def test_a_server_that_fits_nowhere_does_not_fail_those_that_wait_with_it(site: Any) -> None:
    await site.add_host("h1", memory_mib=4096)
    small = [await site.post(nudge=False) for _ in range(2)]
    large = await site.post(nudge=False, memory_mib=8192)
    small += [await site.post(nudge=False) for _ in range(2)]
    await site.conductor.runner.sweep()
    await site.settle()
    assert [site.server(server.id).vm_state for server in small] == ["active"] * 4
    assert site.server(large.id).vm_state == "error"


async def test_one_that_was_deleted_meanwhile_does_not_fail_those_that_wait_with_it(site: Any) -> None:
    await site.add_host("h1", memory_mib=4096)
    made = [await site.post(nudge=False) for _ in range(3)]
    woken = [action.id for server in made for action in site.actions(server.id)]
    await site.delete(made[1], nudge=False)
    for action_id in woken:
        site.conductor.runner.wake(action_id)
    await site.conductor.runner.sweep()
    await site.settle()
    assert [site.server(server.id).vm_state for server in made] == ["active", "deleted", "active"]
    assert site.conductor.fleet.table.used[0, 1] == 2048


@pytest.mark.once
async def test_of_several_sent_to_one_host_those_that_fail_fail_alone(site: Any) -> None:
    first, second = await site.add_host("h1", memory_mib=8192), await site.add_host("h2", memory_mib=1024)
    await site.take_down(second)
    broken = Failed(kind="host_failure", message="This one broke.", stage="guest")
    first.script.extend([broken, broken])
    found = await post_all(site, 6)
    assert first.messages == [6]
    assert Counter(server.vm_state for server in found) == {"active": 4, "error": 2}
    assert len(first.guests) == 4
    for server in found:
        if server.vm_state == "error":
            assert "This one broke." in server.fault.message
        assert len([step for step in steps(site, server) if step.name == "spawn"]) == 1


async def test_one_that_takes_longer_on_its_host_keeps_none_that_came_with_it_waiting(site: Any) -> None:
    host = await site.add_host("h1", memory_mib=8192)
    slow = asyncio.Event()
    host.script.append(slow)
    made = [await site.post(nudge=False) for _ in range(4)]
    await site.conductor.runner.sweep()
    while len(host.guests) < 3 or not any(site.server(server.id).vm_state == "active" for server in made):
        await asyncio.sleep(0.001)
    (behind,) = [server for server in made if server.id not in host.guests]
    assert site.server(behind.id).vm_state == "building"
    slow.set()
    await site.settle()
    assert [site.server(server.id).vm_state for server in made] == ["active"] * 4
    assert len(host.sent(Spawn)) == 4


async def test_a_host_that_takes_no_message_for_many_is_asked_for_each(site: Any) -> None:
    host = await site.add_host("h1", memory_mib=8192)
    handle = host.handle

    async def of_the_release_before(command: Any) -> Any:
        if isinstance(command, SpawnAll):
            raise KeyError("SpawnAll")
        return await handle(command)

    await site.cloud.bus.serve("h1", of_the_release_before)
    found = await post_all(site, 4)
    assert [server.vm_state for server in found] == ["active"] * 4


async def test_when_a_host_goes_while_it_is_asked_for_many_each_is_asked_for_again(site: Any) -> None:
    host = await site.add_host("h1", memory_mib=8192)
    handle, gone = host.handle, asyncio.Event()

    async def dies(command: Any) -> Any:
        if not gone.is_set():
            gone.set()
            await asyncio.get_running_loop().create_future()
        return await handle(command)

    await site.cloud.bus.serve("h1", dies)
    made = [await site.post(nudge=False) for _ in range(4)]
    await site.conductor.runner.sweep()
    await gone.wait()
    await site.cloud.bus.withdraw("h1")
    await site.cloud.bus.serve("h1", dies)
    await site.settle()
    assert [site.server(server.id).vm_state for server in made] == ["active"] * 4
    assert len(host.guests) == 4


@pytest.mark.parametrize(("policy", "most", "on_each"), [("anti-affinity", None, 1), ("anti-affinity", 2, 2)])
async def test_members_of_a_group_that_wait_together_are_kept_apart(
    site: Any, caplog: pytest.LogCaptureFixture, policy: str, most: int | None, on_each: int
) -> None:
    caplog.set_level(logging.INFO)
    for number in range(5):
        await site.add_host(f"h{number}", memory_mib=8192)
    group = await a_group(site, policy, most)
    found = await post_all(site, 5 * on_each, group_id=group.id)
    assert Counter(server.host for server in found) == dict.fromkeys(site.hosts, on_each)
    assert refusals(caplog) == []


async def test_members_of_a_group_that_wait_together_are_kept_together(
    site: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for number in range(5):
        await site.add_host(f"h{number}", memory_mib=8192)
    group = await a_group(site, "affinity")
    found = await post_all(site, 6, group_id=group.id)
    assert len({server.host for server in found}) == 1
    assert refusals(caplog) == []


async def test_a_burst_of_one_project_does_not_hold_up_another_ones_server(cloud: Any, kit: Any) -> None:
    conductor = Conductor(cloud, settings=replace(SETTINGS, limit=3))
    await conductor.start()
    site = kit.Site(cloud, conductor)
    host = await site.add_host("h0", memory_mib=8 * 1024)
    for number in range(1, 6):
        (await site.add_host(f"h{number}", memory_mib=8 * 1024)).commands = host.commands
    made = [await site.post(nudge=False) for _ in range(40)]
    single = await site.post(nudge=False, project_id="q" * 32)
    await conductor.runner.sweep()
    await site.settle()
    order = [command.guest.server_id for command in host.sent(Spawn)]
    assert len(order) == len(made) + 1
    assert order.index(single.id) <= 2 * 3
    await conductor.stop()


_ROOM = st.lists(st.integers(0, 4), min_size=1, max_size=4)
_ASKED = st.lists(st.tuples(st.integers(1, 3), st.sampled_from([None, "anti-affinity", "affinity"])), max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_ROOM, _ASKED)
async def test_whatever_waits_together_no_limit_is_broken_and_nothing_that_is_claimed_is_forgotten(
    tmp_path_factory: pytest.TempPathFactory,
    kit: Any,
    lent_databases: LentDatabases,
    room: list[int],
    asked: list[tuple[int, str | None]],
) -> None:
    async def play(new_database: NewDatabase) -> None:
        cloud = kit.make_cloud(tmp_path_factory.mktemp("batches"), new_database)
        await cloud.db.write(create_all)
        conductor = Conductor(cloud, settings=SETTINGS)
        await conductor.start()
        site = kit.Site(cloud, conductor)
        for number, size in enumerate(room):
            await site.add_host(f"h{number}", memory_mib=size * 1024)
        groups = {policy: await a_group(site, policy) for policy in ("anti-affinity", "affinity")}
        made = [
            await site.post(nudge=False, memory_mib=size * 1024, group_id=groups[policy].id if policy else None)
            for size, policy in asked
        ]
        await conductor.runner.sweep()
        await site.settle()
        await conductor.fleet.refresh()
        check(site, room, asked, [site.server(server.id) for server in made])
        await conductor.stop()
        await cloud.bus.close()
        cloud.db.close()

    with lent_databases() as new_database:
        await asyncio.get_running_loop().create_task(play(new_database))


def check(site: Any, room: list[int], asked: list[tuple[int, str | None]], found: list[Any]) -> None:
    """Nothing is over its limit, each is active or told why not, and the table knows what is claimed."""
    table = site.conductor.fleet.table
    placed: dict[str | None, list[str]] = {}
    for (_, policy), server in zip(asked, found, strict=True):
        assert server.vm_state in {"active", "error"}
        if server.vm_state == "active":
            placed.setdefault(policy, []).append(server.host)
        else:
            assert server.fault.message.startswith("No valid host:")
    for host in site.cloud.db.read_now(hosts.every):
        taken = site.cloud.db.read_now(lambda conn, name=host.name: allocations.of_host(conn, name))
        total = sum((item.resources for item in taken), Resources())
        assert host.used == total
        assert total.memory_mib <= room[int(host.name[1:])] * 1024
        assert table.used[table.row(host.name), 1] == total.memory_mib
    assert len(set(placed.get("affinity", []))) <= 1
    assert max(Counter(placed.get("anti-affinity", [])).values(), default=1) == 1
