"""The database is an older copy: hosts heard of attempts and wishes that it knows nothing of, and of none too many."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from floe.cloud import server_power
from floe.core import ahead, guest_actions
from floe.core.messages import ApplyNetwork, ChangePower, Destroy, Failed, Spawn
from floe.store import actions, group_members, host_networks

from .conftest import until
from .test_power import ANN, built, change


def later(heard: int) -> Failed:
    return Failed(kind="gone", message="The action was taken up by another conductor since.", heard=heard)


async def test_a_build_goes_on_as_a_later_attempt_than_the_host_heard_of(site: Any) -> None:
    host = await site.add_host("h1")
    host.script.append(later(4))
    server = await site.post()
    await site.settle()
    assert site.server(server.id).vm_state == "active"
    assert [command.attempt for command in host.sent(Spawn)] == [1, 5]
    assert host.sent(Destroy) == [], "what the host has is not taken away"
    assert site.actions(server.id)[0].attempts == 5


async def test_several_builds_of_one_message_do_so_too(site: Any) -> None:
    host = await site.add_host("h1")
    answer, heard = host._spawn, iter([2, 7])
    refused = dict[str, Failed]()

    async def spawn(command: Spawn) -> Any:
        if command.guest.server_id not in refused:
            refused[command.guest.server_id] = later(next(heard))
            return refused[command.guest.server_id]
        return await answer(command)

    host._spawn = spawn
    made = await site.post_together(2, 2)
    await site.settle()
    assert {site.server(server.id).vm_state for server in made} == {"active"}
    assert sorted(command.attempt for command in host.sent(Spawn)) == [1, 1, 3, 8]


async def test_a_delete_goes_on_as_a_later_attempt_and_is_not_stuck(site: Any) -> None:
    server = await built(site)
    host = site.hosts["h1"]
    host.destroy_script.append(later(3))
    await site.delete(server)
    await site.settle()
    assert site.server(server.id).vm_state == "deleted"
    assert [command.attempt for command in host.sent(Destroy)] == [1, 4]


async def test_an_undo_goes_on_as_a_later_attempt(site: Any) -> None:
    host = await site.add_host("h1")
    host.script.append(Failed(kind="host_failure", message="It broke.", stage="guest"))
    host.destroy_script.append(later(3))
    server = await site.post()
    await site.settle()
    assert site.server(server.id).vm_state == "error"
    assert [command.attempt for command in host.sent(Destroy)] == [1, 4]


async def test_who_was_overtaken_does_not_go_ahead_of_who_overtook(site: Any) -> None:
    """What a host says of a later attempt is true, and the action is another conductor's: nothing more is asked."""
    host = await site.add_host("h1")
    waits = asyncio.Event()
    answer = host._spawn

    async def overtaken(command: Spawn) -> Any:
        await waits.wait()
        host._spawn = answer
        return later(2)

    host._spawn = overtaken
    server = await site.post()
    await until(lambda: bool(host.sent(Spawn)))

    def take(conn: Any) -> None:
        table = actions.actions
        values = {"attempts": 2, "writes": table.c.writes + 1, "lease_owner": "another"}
        conn.execute(sa.update(table).where(table.c.subject_id == server.id).values(values))

    await site.cloud.db.write(take)
    waits.set()
    await site.settle()
    assert [command.attempt for command in host.sent(Spawn)] == [1]
    assert host.sent(Destroy) == []
    assert site.actions(server.id)[0].attempts == 2


@pytest.mark.parametrize("heard", [-1, 0, 1, 10**6, 2**31, 2**63 - 1])
async def test_a_host_that_says_that_it_heard_of_too_many_is_not_believed(site: Any, heard: int) -> None:
    host = await site.add_host("h1")
    host.script.append(later(heard))
    server = await site.post()
    await site.settle()
    assert site.actions(server.id)[0].attempts <= 2
    assert site.server(server.id).vm_state in {"active", "error"}


async def test_a_host_that_always_heard_of_a_later_attempt_is_asked_twice(site: Any) -> None:
    host = await site.add_host("h1")
    host.script.extend(later(number) for number in range(1, 9))
    server = await site.post()
    await site.settle()
    assert site.server(server.id).vm_state == "error"
    assert len(host.sent(Spawn)) == 2


async def test_after_a_wish_that_a_host_heard_a_later_one_of_the_next_is_ahead_of_it(site: Any) -> None:
    """The clocks were wrong too, or the wish is from before the restore: it is not done, and says so."""
    server = await built(site)
    host, later_wish = site.hosts["h1"], ahead.of_clock(site.cloud.clock.now()) + 3_600_000
    host.power_script.append(Failed(kind="conflict", message="Something else was asked for later.", heard=later_wish))
    after = await change(site, server, guest_actions.PAUSE)
    assert (after.vm_state, after.task_state, after.guest_generation) == ("active", None, later_wish)
    assert "Ask again." in after.fault.message
    after = await change(site, after, guest_actions.HARD_REBOOT)
    assert (after.vm_state, after.guest_generation, after.boots) == ("active", later_wish + 1, later_wish + 1)
    assert host.sent(ChangePower)[-1].wanted.generation == later_wish + 1


async def test_a_wish_that_was_overtaken_is_told_so_and_lifts_nothing(site: Any) -> None:
    server = await built(site)
    host, refusal = site.hosts["h1"], "Something else was asked for later."
    await server_power.change(site.cloud, ANN, server.id, guest_actions.STOP)
    known = site.server(server.id).guest_generation
    host.power_script.append(Failed(kind="conflict", message=refusal, heard=known))
    await site.settle()
    host.power_script.append(Failed(kind="conflict", message=refusal, heard=2**63 - 1))
    after = await change(site, site.server(server.id), guest_actions.STOP)
    assert after.guest_generation < ahead.BELIEVABLE


@pytest.mark.parametrize("said", [2**53, 2**63 - 1])
async def test_a_host_whose_network_is_of_no_time_is_not_believed(site: Any, said: int) -> None:
    await built(site)
    host = site.hosts["h1"]
    await site.cloud.db.write(lambda conn: host_networks.want(conn, ["h1"]))
    await site.cloud.bus.publish(replace(host.up(), network_newest=said, members_newest=said, members_at=said))
    await site.settle()
    db = site.cloud.db
    assert db.read_now(lambda conn: host_networks.wanted(conn, "h1")) < ahead.BELIEVABLE
    assert db.read_now(group_members.position) < ahead.BELIEVABLE
    host.commands.clear()
    await site.cloud.bus.publish(host.up())
    await until(lambda: bool(host.sent(ApplyNetwork)))
