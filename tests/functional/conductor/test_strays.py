"""What a host has of a server that is elsewhere goes where nothing can be lost with it, and else is left alone.

A loss of power brings back guests and files that were removed just before, when nobody expects them there any more.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from floe.cloud.audit import check_rows
from floe.core.guests import PowerState
from floe.core.messages import Destroy, Failed
from floe.store import audit, holdings, servers

from .conftest import until

BROKE = Failed(kind="host_failure", message="It broke.", stage="disk")
OFF = PowerState.SHUTDOWN


async def undone(site: Any) -> tuple[Any, Any, Any]:
    """Return a server, the host that its build was undone on, and the one that it is on."""
    first, second = await site.add_host("h1"), await site.add_host("h2", memory_mib=2048)
    first.script.append(BROKE)
    server = await site.post()
    await site.settle()
    assert site.server(server.id).host == "h2"
    first.commands.clear()
    second.commands.clear()
    return server, first, second


@pytest.mark.parametrize("back", ["guest", "files"])
@pytest.mark.parametrize("home", ["guest", "off", "files"])
async def test_what_a_power_loss_brought_back_of_a_build_that_was_undone_is_removed(
    site: Any, back: str, home: str
) -> None:
    """Found by simulation: nothing said any more that the host had something of the server, so it was left alone."""
    server, first, second = await undone(site)
    if back == "guest":
        first.guests[server.id] = OFF
    else:
        first.files = (server.id,)
    if home != "guest":
        second.guests[server.id] = OFF
    if home == "files":
        del second.guests[server.id]
        second.files = (server.id,)
    await site.announce(first)
    await site.settle()
    assert [(told.server_id, told.guest_name, told.final) for told in first.sent(Destroy)] == [
        (server.id, server.guest_name, False)
    ]
    assert first.sent(Destroy)[0].action_id == site.actions(server.id)[0].id, "a host leaves alone what is another's"
    assert first.guests == {}
    assert second.sent(Destroy) == []
    assert check_rows(await site.cloud.db.read(audit.rows), quiet=True) == []


async def test_so_it_is_where_no_host_would_have_the_server(site: Any) -> None:
    host = await site.add_host("h1")
    host.script.append(BROKE)
    server = await site.post()
    await site.settle()
    assert (site.server(server.id).vm_state, site.server(server.id).host) == ("error", None)
    host.guests[server.id] = OFF
    await site.announce(host)
    await site.settle()
    assert host.guests == {}


async def test_the_servers_own_host_is_asked_first_and_awaited_where_it_is_down(site: Any) -> None:
    server, first, second = await undone(site)
    await site.take_down(second)
    first.guests[server.id] = OFF
    await site.announce(first)
    await site.settle()
    assert first.guests == {server.id: OFF}, "it may be the only one there is"
    await site.bring_up(second)
    await site.settle()
    assert first.guests == {}
    assert second.guests.keys() == {server.id}


async def test_what_its_own_host_does_not_have_may_be_the_only_one_there_is(
    site: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Two hosts may have got each other's name."""
    server, first, second = await undone(site)
    first.guests[server.id] = second.guests.pop(server.id)
    await site.announce(first)
    await site.settle()
    assert first.guests.keys() == {server.id}
    assert f"host h1 has something of server {server.id}, which belongs on h2; it is left alone" in caplog.text


async def test_what_was_never_begun_on_a_host_is_not_ours_to_judge(site: Any) -> None:
    server, _, _ = await undone(site)
    third = await site.add_host("h3", memory_mib=1024)
    third.guests[server.id] = PowerState.RUNNING
    await site.announce(third)
    await site.settle()
    assert third.guests.keys() == {server.id}


async def test_what_an_action_is_at_is_left_to_it(site: Any) -> None:
    """A guest on its way from host to host is on both."""
    server, first, _ = await undone(site)
    await site.take_down(first)
    await site.delete(server, nudge=False)  # any action that is open, and that is at h1 by what it says
    (action,) = [action for action in site.actions(server.id) if action.finished_at is None]

    def arrives(conn: Any) -> None:
        holdings.insert(conn, server.id, "h1", action.id)
        servers.change(conn, server.id, task_state="migrating")

    await site.cloud.db.write(arrives)
    first.guests[server.id] = PowerState.PAUSED
    await site.bring_up(first)
    await site.settle()
    assert first.sent(Destroy) == []
    assert first.guests.keys() == {server.id}


async def test_a_host_that_only_remembers_a_server_that_is_gone_is_told_to_forget_it(site: Any) -> None:
    """What it wrote of the removal went with the power; guest and files did not come back."""
    host = await site.add_host("h1")
    server = await site.post()
    await site.settle()
    await site.delete(server)
    await site.settle()
    host.commands.clear()
    host.told = {server.id: "some fingerprint"}
    await site.announce(host)
    await site.settle()
    assert [(told.server_id, told.final) for told in host.sent(Destroy)] == [(server.id, True)]


async def test_what_was_decided_long_ago_is_not_asked_for_again(site: Any) -> None:
    """Who stood still, and did not hear the answer, decides anew: the guest may have been built there since."""
    host = await site.add_host("h1")
    host.script.append(BROKE)
    server = await site.post()
    await site.settle()
    host.guests[server.id] = OFF
    host.commands.clear()
    bus = site.cloud.bus

    async def stands_still(command: Any) -> Any:
        if isinstance(command, Destroy):
            host.commands.append(command)
            await asyncio.Event().wait()
        return await host.handle(command)

    await bus.serve(host.name, stands_still)
    announced = asyncio.create_task(site.announce(host))
    await until(lambda: host.sent(Destroy))
    site.cloud.clock.advance(60)
    await bus.withdraw(host.name)
    await bus.serve(host.name, host.handle)
    await announced
    await site.settle()
    assert len(host.sent(Destroy)) == 1
    await site.announce(host)
    await site.settle()
    assert host.guests == {}, "decided anew"
