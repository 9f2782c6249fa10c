"""What becomes of a server: built, failed, deleted; and that nothing is left when it is gone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from floe.core.actions import CANCELLED, FAILED, SUCCEEDED
from floe.core.guests import PowerState
from floe.core.hosts import Host
from floe.core.messages import Destroy, Failed, Spawn
from floe.core.resources import Resources
from floe.core.step_times import StepTime
from floe.store import actions, allocations, hosts


def _host(site: Any, name: str) -> Host:
    found = site.cloud.db.read_now(lambda conn: hosts.get(conn, name))
    assert found is not None
    return found


def _held(site: Any, server_id: str) -> list[Any]:
    return site.cloud.db.read_now(lambda conn: allocations.of_server(conn, server_id))


FAILS = Failed(kind="host_failure", message="The disk is full.", stage="disk", detail="/dev/x")


@pytest.mark.once
async def test_a_server_is_built_in_two_commits_after_the_request(site: Any) -> None:
    host = await site.add_host("h1")
    before = site.cloud.db.commits
    server = await site.post()
    await site.settle()
    built = site.server(server.id)
    assert (built.vm_state, built.task_state, built.power_state) == ("active", None, PowerState.RUNNING)
    assert built.host == "h1"
    assert built.launched_at is not None
    assert host.guests == {server.id: PowerState.RUNNING}
    assert _host(site, "h1").used == Resources(1, 1024, 1)
    assert [item.host for item in _held(site, server.id)] == ["h1"]
    assert site.cloud.db.commits - before == 3
    (action,) = site.actions(server.id)
    assert (action.state, action.lease_owner) == (SUCCEEDED, None)
    journal = site.cloud.db.read_now(lambda conn: actions.journal(conn, action.id))
    steps = {(step.parent, step.name, step.state) for step in journal}
    assert {(None, "schedule", "done"), ("spawn", "image", "done"), (None, "active", "done")} <= steps
    (spawn,) = host.sent(Spawn)
    assert spawn.guest.metadata.admin_password == "secret"


async def test_a_server_that_fits_nowhere_ends_in_error_with_the_reason(site: Any) -> None:
    await site.add_host("h1", memory_mib=512)
    server = await site.post(memory_mib=2048)
    await site.settle()
    failed = site.server(server.id)
    assert (failed.vm_state, failed.task_state, failed.host) == ("error", None, None)
    assert failed.fault.message == (
        "No valid host: 1 host considered; 1 lacks memory (2048 MiB asked, at most 512 MiB free)."
    )
    assert failed.fault.details == "h1: memory: 2048 MiB asked, 512 MiB free of 512 MiB"
    assert site.actions(server.id)[0].state == FAILED
    assert _held(site, server.id) == []


async def test_a_host_that_fails_is_cleaned_and_the_next_one_taken(site: Any) -> None:
    bad, good = await site.add_host("h1"), await site.add_host("h2", memory_mib=2048)
    bad.script.append(FAILS)
    server = await site.post()
    await site.settle()
    assert site.server(server.id).host == "h2"
    assert [command.final for command in bad.sent(Destroy)] == [False]
    assert good.guests.keys() == {server.id}
    assert _host(site, "h1").used == Resources()
    assert [item.host for item in _held(site, server.id)] == ["h2"]


async def test_when_every_host_fails_the_cause_is_told_and_nothing_is_left(site: Any) -> None:
    made = [await site.add_host(name) for name in ("h1", "h2", "h3", "h4")]
    for host in made:
        host.script.append(FAILS)
    server = await site.post()
    await site.settle()
    failed = site.server(server.id)
    assert failed.vm_state == "error"
    assert failed.fault.message == "The disk is full."
    assert "/dev/x" in failed.fault.details
    assert sum(len(host.sent(Spawn)) for host in made) == 3
    assert _held(site, server.id) == []
    assert all(_host(site, host.name).used == Resources() for host in made)


async def test_a_single_host_that_fails_gives_its_own_cause(site: Any) -> None:
    host = await site.add_host("h1")
    host.script.append(FAILS)
    server = await site.post()
    await site.settle()
    assert site.server(server.id).fault.message == "The disk is full."
    assert len(host.sent(Destroy)) == 1


@pytest.mark.parametrize("kind", ["invalid", "not_found"])
async def test_an_image_that_is_broken_or_gone_is_not_tried_on_other_hosts(site: Any, kind: str) -> None:
    made = [await site.add_host("h1"), await site.add_host("h2")]
    for host in made:
        host.script.append(Failed(kind=kind, message="The image cannot be used.", stage="image"))
    server = await site.post()
    await site.settle()
    assert site.server(server.id).fault.message == "The image cannot be used."
    assert sum(len(host.sent(Spawn)) for host in made) == 1


async def test_a_disk_that_is_full_while_the_image_is_fetched_leaves_the_other_host_to_try(site: Any) -> None:
    bad = await site.add_host("h1")
    good = await site.add_host("h2", memory_mib=2048)
    bad.script.append(Failed(kind="host_failure", message="No space is left on the host's disk.", stage="image"))
    server = await site.post()
    await site.settle()
    assert (site.server(server.id).vm_state, site.server(server.id).host) == ("active", "h2")
    assert good.guests.keys() == {server.id}


async def test_the_steps_of_a_spawn_that_failed_are_in_the_journal(site: Any) -> None:
    host = await site.add_host("h1")
    done = (StepTime(name="image", started=1.0, seconds=2.0), StepTime(name="disk", started=3.0, seconds=0.5))
    host.script.append(Failed(kind="host_failure", message="The disk is full.", stage="disk", steps=done))
    server = await site.post()
    await site.settle()
    (action,) = site.actions(server.id)
    journal = site.cloud.db.read_now(lambda conn: actions.journal(conn, action.id))
    parts = {(step.name, step.state, step.host) for step in journal if step.parent == "spawn"}
    assert parts == {("image", "done", "h1"), ("disk", "failed", "h1")}


@pytest.mark.once
async def test_a_host_that_stops_before_it_answers_is_asked_again_and_the_journal_says_so(site: Any) -> None:
    host = await site.add_host("h1")
    host.script.append(asyncio.Event())
    server = await site.post()
    while not host.sent(Spawn):
        await asyncio.sleep(0.001)
    before = site.cloud.db.commits
    await site.cloud.bus.withdraw("h1")
    await site.cloud.bus.serve("h1", host.handle)
    await site.settle()
    assert site.server(server.id).vm_state == "active"
    (action,) = site.actions(server.id)
    journal = site.cloud.db.read_now(lambda conn: actions.journal(conn, action.id))
    told = [(step.parent, step.host, step.remark) for step in journal if step.name == "recovered"]
    assert told == [("spawn", "h1", "host h1 did not get to answer spawn; it was asked again")]
    assert site.cloud.db.commits - before == 1, "a recovery is told of without a commit of its own"


@pytest.mark.once
async def test_a_deleted_server_leaves_nothing(site: Any) -> None:
    host = await site.add_host("h1")
    server = await site.post()
    await site.settle()
    before = site.cloud.db.commits
    await site.delete(server)
    await site.settle()
    gone = site.server(server.id)
    assert gone.vm_state == "deleted"
    assert gone.deleted_at is not None
    assert host.guests == {}
    assert _held(site, server.id) == []
    assert _host(site, "h1").used == Resources()
    assert site.cloud.db.commits - before == 3


async def test_a_delete_wins_over_a_build_under_way(site: Any) -> None:
    host = await site.add_host("h1")
    gate = asyncio.Event()
    host.script.append(gate)
    server = await site.post()
    while not host.sent(Spawn):
        await asyncio.sleep(0.001)
    await site.delete(server)
    while site.server(server.id).deleted_at is None:
        await asyncio.sleep(0.001)
    gate.set()
    await site.settle()
    assert site.server(server.id).vm_state == "deleted"
    assert host.guests == {}
    assert _held(site, server.id) == []
    assert {action.kind: action.state for action in site.actions(server.id)} == {
        "create": CANCELLED,
        "delete": SUCCEEDED,
    }


async def test_a_server_on_a_host_that_is_down_is_deleted_and_the_host_told_when_it_returns(site: Any) -> None:
    host = await site.add_host("h1")
    server = await site.post()
    await site.settle()
    await site.take_down(host)
    await site.delete(server)
    await site.settle()
    assert site.server(server.id).vm_state == "deleted"
    assert host.guests.keys() == {server.id}
    await site.cloud.bus.serve("h1", host.handle)
    await site.announce(host)
    await site.settle()
    assert host.guests == {}
    assert host.sent(Destroy)[-1].final


async def test_a_delete_that_its_host_cannot_do_at_once_is_tried_again(site: Any) -> None:
    host = await site.add_host("h1")
    server = await site.post()
    await site.settle()
    host.destroy_script.append(Failed(kind="host_failure", message="busy", stage="guest"))
    await site.delete(server)
    await site.settle()
    assert site.server(server.id).vm_state == "deleted"
    assert len(host.sent(Destroy)) == 2


@pytest.mark.once
async def test_a_server_without_a_host_is_deleted_in_one_commit(site: Any) -> None:
    server = await site.post(nudge=False)
    before = site.cloud.db.commits
    await site.delete(server)
    await site.settle()
    assert site.server(server.id).vm_state == "deleted"
    assert site.cloud.db.commits - before == 2


async def test_a_lost_nudge_is_made_good_by_the_sweep(site: Any) -> None:
    await site.add_host("h1")
    server = await site.post(nudge=False)
    assert await site.conductor.runner.sweep() == 1
    await site.settle()
    assert site.server(server.id).vm_state == "active"


async def test_many_creates_never_take_more_than_there_is(site: Any) -> None:
    for name in ("h1", "h2", "h3"):
        await site.add_host(name, memory_mib=4096)
    made = [await site.post(memory_mib=1024, nudge=False) for _ in range(20)]
    await site.conductor.runner.sweep()
    await site.settle()
    states = [site.server(server.id).vm_state for server in made]
    assert states.count("active") == 12
    assert states.count("error") == 8
    for name in ("h1", "h2", "h3"):
        assert _host(site, name).used == Resources(4, 4096, 4)


async def test_a_server_deleted_before_its_request_is_placed_leaves_the_others_to_be_placed(site: Any) -> None:
    await site.add_host("h1", memory_mib=2048)
    made = await site.post_together(2, 3, nudge=False)
    await site.delete(made[0], nudge=False)
    for server in made[1:]:
        (action,) = site.actions(server.id)
        await site.cloud.nudge(action.id)
    await site.settle()
    assert [site.server(server.id).vm_state for server in made[1:]] == ["active", "active"]


async def test_servers_placed_together_of_which_one_fails_on_its_host_are_built_all_the_same(site: Any) -> None:
    host = await site.add_host("h1")
    host.script.append(Failed(kind="invalid", message="It broke.", stage="disk"))
    made = await site.post_together(2, 2)
    await site.settle()
    assert sorted(site.server(server.id).vm_state for server in made) == ["active", "error"]
    assert len(host.guests) == 1
