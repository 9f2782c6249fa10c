"""A delete that a process with a conductor is asked for begins with its request: one commit, with its lease."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from floe.cloud import servers
from floe.cloud.cloud import Cloud
from floe.core.actions import CANCELLED, RUNNING, SUCCEEDED
from floe.core.context import Context
from floe.core.messages import Destroy, Failed, Spawn
from floe.store import actions, holdings
from floe.store.engine import Connection

OWNER = Context(request_id="req-1", user_id="u" * 32, project_id="p" * 32, roles=frozenset({"member"}))


def here(site: Any) -> Cloud:
    """Return the cloud of a process that has the site's conductor."""
    cloud: Cloud = replace(site.cloud, leases=site.conductor.leases)
    return cloud


async def built(site: Any, name: str = "h1") -> tuple[Any, str]:
    """Return a host and the id of a server there."""
    host = site.hosts.get(name) or await site.add_host(name)
    server = await site.post()
    await site.settle()
    assert site.server(server.id).vm_state == "active"
    return host, server.id


def delete_of(site: Any, ident: str) -> Any:
    (found,) = (action for action in site.actions(ident) if action.kind == "delete")
    return found


@pytest.mark.once
async def test_a_delete_takes_two_commits(site: Any) -> None:
    host, ident = await built(site)
    before = site.cloud.db.commits
    await servers.delete(here(site), OWNER, ident)
    await site.settle()
    assert site.cloud.db.commits - before == 2
    assert site.server(ident).vm_state == "deleted"
    assert len(host.sent(Destroy)) == 1


async def test_its_journal_reads_as_that_of_any_delete(site: Any) -> None:
    steps = []
    for cloud in (here(site), site.cloud):
        _, ident = await built(site)
        await servers.delete(cloud, OWNER, ident)
        await site.settle()
        ended = delete_of(site, ident)
        assert ended.state == SUCCEEDED
        journal = site.cloud.db.read_now(lambda conn, action=ended: actions.journal(conn, action.id))
        steps.append([(step.name, step.state, step.parent, step.host, step.remark, step.output) for step in journal])
        assert site.cloud.db.read_now(lambda conn, i=ident: holdings.find(conn, i)) == {}
    assert steps[0] == steps[1]


async def test_it_is_leased_from_its_first_commit(site: Any) -> None:
    _, ident = await built(site)
    taken = []
    cloud = replace(here(site), leases=replace(site.conductor.leases, take=taken.append))
    await servers.delete(cloud, OWNER, ident)
    action = delete_of(site, ident)
    assert (action.state, action.lease_owner, action.attempts) == (RUNNING, site.conductor.owner, 1)
    assert [begun.action for begun in taken] == [action]
    waiting = site.cloud.db.read_now(lambda conn: actions.waiting(conn, site.cloud.clock.now(), 10))
    assert waiting == [], "nobody else takes it up"


async def test_two_deletes_at_once_are_one(site: Any) -> None:
    host, ident = await built(site)
    await asyncio.gather(*(servers.delete(here(site), OWNER, ident) for _ in range(8)))
    await site.settle()
    assert delete_of(site, ident).state == SUCCEEDED
    assert len(host.sent(Destroy)) == 1


async def test_it_wins_over_a_build_and_leaves_nothing(site: Any) -> None:
    host = await site.add_host("h1")
    gate = asyncio.Event()
    host.script.append(gate)
    server = await site.post()
    while not host.sent(Spawn):  # a few turns
        await asyncio.sleep(0)
    await servers.delete(here(site), OWNER, server.id)
    gate.set()
    await site.settle()
    assert {action.kind: action.state for action in site.actions(server.id)} == {
        "create": CANCELLED,
        "delete": SUCCEEDED,
    }
    assert site.cloud.db.read_now(lambda conn: holdings.find(conn, server.id)) == {}
    assert host.guests == {}


async def test_a_server_that_no_host_has_is_left_to_whoever_takes_it_up(site: Any) -> None:
    server = await site.post(nudge=False)
    await servers.delete(here(site), OWNER, server.id)
    await site.settle()
    assert site.server(server.id).vm_state == "deleted"


async def _dies(site: Any, ident: str) -> None:
    """Delete a server in a process that dies with the commit."""
    dead = replace(site.conductor.leases, owner=actions.owner_at("one", "dead"), take=lambda _: None)
    await servers.delete(replace(site.cloud, leases=dead), OWNER, ident)


async def test_what_a_process_that_died_had_begun_is_gone_on_with_by_who_starts_at_its_place(site: Any) -> None:
    host, ident = await built(site)
    await _dies(site, ident)
    assert await site.cloud.db.write(lambda conn: actions.break_leases(conn, "one")) == 1
    await site.conductor.runner.sweep()
    await site.settle()
    assert site.server(ident).vm_state == "deleted"
    assert host.guests == {}
    assert delete_of(site, ident).attempts == 2


async def test_what_a_process_that_died_had_begun_is_gone_on_with_elsewhere_once_its_lease_ran_out(site: Any) -> None:
    host, ident = await built(site)
    await _dies(site, ident)
    await site.conductor.runner.sweep()
    await site.settle()
    assert delete_of(site, ident).state == RUNNING
    assert len(host.guests) == 1
    past = site.cloud.clock.now() - timedelta(seconds=1)

    def lapse(conn: Connection) -> None:
        conn.execute(actions.actions.update().where(actions.actions.c.subject_id == ident).values(lease_until=past))

    await site.cloud.db.write(lapse)
    await site.conductor.runner.sweep()
    await site.settle()
    assert site.server(ident).vm_state == "deleted"
    assert host.guests == {}


async def test_one_that_was_taken_over_before_it_had_a_slot_changes_nothing(site: Any) -> None:
    host, ident = await built(site)
    taken: list[Any] = []
    cloud = replace(here(site), leases=replace(site.conductor.leases, take=taken.append))
    await servers.delete(cloud, OWNER, ident)

    def overtake(conn: Connection) -> None:
        conn.execute(
            actions.actions.update()
            .where(actions.actions.c.subject_id == ident)
            .values(lease_owner="another/conductor", attempts=2)
        )

    await site.cloud.db.write(overtake)
    slots = site.conductor.runner._slots["delete"]
    while not slots.full:
        await slots.acquire("others")
    site.conductor.runner.go_on(taken[0])
    await asyncio.sleep(0)
    slots.release()
    await site.settle()
    assert host.sent(Destroy) == []
    assert site.server(ident).vm_state == "active"


async def test_one_that_waited_for_a_slot_is_done(site: Any) -> None:
    host, ident = await built(site)
    slots = site.conductor.runner._slots["delete"]
    while not slots.full:
        await slots.acquire("others")
    await servers.delete(here(site), OWNER, ident)
    assert host.sent(Destroy) == []
    slots.release()
    await site.settle()
    assert site.server(ident).vm_state == "deleted"


async def test_one_that_its_host_cannot_do_at_once_is_tried_again(site: Any) -> None:
    host, ident = await built(site)
    host.destroy_script.append(Failed(kind="host_failure", message="busy"))
    await servers.delete(here(site), OWNER, ident)
    await site.settle()
    assert site.server(ident).vm_state == "deleted"
    assert len(host.sent(Destroy)) == 2
