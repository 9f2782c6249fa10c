"""It is known at any time on which hosts something of a server may be; what a host owes it is asked for once it can."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from floe.cloud import hosts
from floe.cloud.audit import check_rows
from floe.core.guests import PowerState
from floe.core.messages import Destroy, Failed
from floe.store import audit, holdings


async def held(site: Any, server: Any) -> set[str]:
    return set(await site.cloud.db.read(lambda conn: holdings.find(conn, server.id)))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


async def judged(site: Any) -> list[str]:
    return [item.rule for item in check_rows(await site.cloud.db.read(audit.rows), quiet=True)]


async def test_a_server_has_a_holding_on_its_host_from_before_it_is_spawned_until_it_is_destroyed(site: Any) -> None:
    host = await site.add_host("h1")
    gate = asyncio.Event()
    host.script.append(gate)
    server = await site.post()
    while not host.commands:
        await asyncio.sleep(0)
    assert await held(site, server) == {"h1"}
    gate.set()
    await site.settle()
    assert await held(site, server) == {"h1"}
    await site.delete(server)
    await site.settle()
    assert await held(site, server) == set()
    assert await judged(site) == []


async def test_a_build_that_was_undone_holds_nothing_where_it_failed(site: Any) -> None:
    made = {name: await site.add_host(name) for name in ("h1", "h2")}
    for host in made.values():
        host.script.append(Failed(kind="host_failure", message="It broke.", stage="disk"))
        host.destroy_script.append(Failed(kind="host_failure", message="Not now."))
    server = await site.post()
    await site.settle()
    assert site.server(server.id).vm_state == "error"
    assert await held(site, server) == set()
    assert await judged(site) == []


async def test_a_host_that_was_down_is_told_what_it_owes_though_it_speaks_of_nothing(site: Any) -> None:
    host = await site.add_host("h1")
    server = await site.post()
    await site.settle()
    await site.take_down(host)
    await site.delete(server)
    await site.settle()
    assert site.server(server.id).vm_state == "deleted"
    assert await held(site, server) == {"h1"}
    assert await judged(site) == ["what may be left of a server on a host is never removed"]
    host.guests.clear()  # it has files of it at most, which it does not know yet to be a guest's
    host.commands.clear()
    await site.cloud.bus.serve("h1", host.handle)
    await site.announce(host)
    (told,) = host.sent(Destroy)
    assert (told.server_id, told.guest_name, told.final) == (server.id, server.guest_name, True)
    assert await held(site, server) == set()
    assert await judged(site) == []
    host.commands.clear()
    await site.announce(host)
    assert host.sent(Destroy) == []


async def test_what_is_owed_is_asked_for_until_it_is_done(site: Any) -> None:
    host = await site.add_host("h1")
    server = await site.post()
    await site.settle()
    await site.take_down(host)
    await site.delete(server)
    await site.settle()
    host.destroy_script.append(Failed(kind="host_failure", message="Not now."))
    await site.cloud.bus.serve("h1", host.handle)
    await site.announce(host)
    assert await held(site, server) == {"h1"}
    await site.conductor.events.check("h1")
    await site.settle()
    assert await held(site, server) == set()
    assert host.guests == {}


async def test_a_host_that_fell_down_while_it_built_is_told_to_clean_up_and_the_server_stays_elsewhere(
    site: Any,
) -> None:
    made, gate = [await site.add_host(name) for name in ("h1", "h2")], asyncio.Event()
    for host in made:
        host.script.append(gate)
    server = await site.post()
    while not any(host.commands for host in made):
        await asyncio.sleep(0)
    first, second = sorted(made, key=lambda host: not host.commands)
    second.script.clear()
    await site.take_down(first)
    first.guests[server.id] = PowerState.RUNNING  # it builds, and nobody hears of it
    await site.settle()
    found = site.server(server.id)
    assert (found.vm_state, found.host) == ("active", second.name)
    assert await held(site, server) == {"h1", "h2"}
    await site.cloud.bus.serve(first.name, first.handle)
    await site.announce(first)
    assert [(told.server_id, told.final) for told in first.sent(Destroy)] == [(server.id, False)]
    assert await held(site, server) == {second.name}
    assert first.guests == {}
    assert second.guests.keys() == {server.id}
    assert await judged(site) == []


async def test_a_host_that_comes_back_while_the_build_goes_on_elsewhere_is_told_at_once(site: Any) -> None:
    """Found by simulation: it was told when the action had ended and a sweep came by."""
    made, gate = [await site.add_host(name) for name in ("h1", "h2")], asyncio.Event()
    for host in made:
        host.script.append(gate)
    server = await site.post()
    await until(lambda: any(host.commands for host in made))
    first, second = sorted(made, key=lambda host: not host.commands)
    await site.take_down(first)
    await until(lambda: bool(second.commands))
    await site.cloud.bus.serve(first.name, first.handle)
    await site.cloud.bus.publish(first.up())
    await until(lambda: bool(first.sent(Destroy)))
    assert site.actions(server.id)[0].finished_at is None
    gate.set()
    await site.settle()
    assert await held(site, server) == {second.name}
    assert await judged(site) == []


async def test_a_host_that_an_operator_removes_owes_nothing_any_more(site: Any) -> None:
    host = await site.add_host("h1")
    server = await site.post()
    await site.settle()
    await site.take_down(host)
    await site.delete(server)
    await site.settle()
    await hosts.remove(site.cloud, "h1")
    assert await held(site, server) == set()


async def test_the_audit_misses_a_holding(site: Any) -> None:
    await site.add_host("h1")
    server = await site.post()
    await site.settle()
    await site.cloud.db.write(lambda conn: holdings.delete(conn, server.id, "h1"))
    assert await judged(site) == ["nothing says that a host has something of a server"]


async def test_a_holding_said_twice_is_one(site: Any) -> None:
    for _ in range(2):
        await site.cloud.db.write(lambda conn: holdings.insert(conn, "s", "h1", "a"))
    assert await site.cloud.db.read(lambda conn: holdings.find(conn, "s")) == {"h1": "a"}
