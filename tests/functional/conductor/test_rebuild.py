"""Rebuilds from the conductor's side: what the host is told, what else may be asked for, what a failure leaves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from floe.cloud import server_interfaces, server_power, server_rebuild, servers
from floe.core import guest_actions
from floe.core.context import Context
from floe.core.errors import Conflict
from floe.core.images import ACTIVE, PUBLIC, Image
from floe.core.messages import Failed, UpdateMetadata
from floe.core.nics import PlannedNic
from floe.core.server_rebuild import NewMake, Rebuild
from floe.core.servers import Server
from floe.store import images, server_disks

IMAGE = "22222222-2222-4222-8222-222222222222"
ANN = Context(request_id="r", user_id="u" * 32, project_id="p" * 32, roles=frozenset({"member"}))


async def built(site: Any) -> Server:
    """Return a server that runs on a host, and have an image to rebuild it from."""
    await site.add_host("h1")
    now = site.cloud.clock.now()
    image = Image(
        id=IMAGE,
        name="other",
        owner=None,
        visibility=PUBLIC,
        status=ACTIVE,
        disk_format="raw",
        container_format="bare",
        size=1,
        virtual_size=1,
        sha512="0" * 128,
        created_at=now,
        updated_at=now,
    )
    await site.cloud.db.write(lambda conn: images.insert(conn, image))
    server = await site.post()
    await site.settle()
    found: Server = site.server(server.id)
    assert found.vm_state == "active"
    return found


async def rebuild(site: Any, server: Server, **more: Any) -> None:
    asked = NewMake(image_id=IMAGE, changes={"name": "anew"}, **more)
    await server_rebuild.rebuild(site.cloud, ANN, server.id, asked)


def makes(site: Any, server: Server) -> set[int]:
    disks = site.cloud.db.read_now(lambda conn: server_disks.of_server(conn, server))
    return {disk.make for disk in disks}


async def test_the_host_is_told_what_the_guest_is_to_be_and_what_it_was(site: Any) -> None:
    server = await built(site)
    await rebuild(site, server, admin_password="secret")
    await site.settle()
    (told,) = site.hosts["h1"].sent(Rebuild)
    assert (told.guest.image.image_id, told.guest.metadata.name) == (IMAGE, "anew")
    assert told.guest.metadata.admin_password == "secret"
    assert (told.before.image.image_id, told.before.metadata.name) == ("i" * 32, "web")
    assert {disk.make for disk in told.before.disks} == {0}
    assert {disk.make for disk in told.guest.disks} == makes(site, server) == {told.wanted.generation}
    after = site.server(server.id)
    assert (after.vm_state, after.task_state, after.name, after.image_id) == ("active", None, "anew", IMAGE)
    (action, _) = site.actions(server.id)
    assert action.sealed is None


async def test_while_it_is_under_way_nothing_else_begins_and_a_delete_overtakes_it(site: Any) -> None:
    server = await built(site)
    held = asyncio.Event()
    site.hosts["h1"].power_script.append(held)
    await rebuild(site, server)
    async with asyncio.timeout(20):
        while not site.hosts["h1"].sent(Rebuild):
            await asyncio.sleep(0.001)
    busy = "while it is in task_state rebuilding"
    for asked in (guest_actions.STOP, guest_actions.SOFT_REBOOT, guest_actions.HARD_REBOOT, guest_actions.PAUSE):
        with pytest.raises(Conflict, match=busy):
            await server_power.change(site.cloud, ANN, server.id, asked)
    with pytest.raises(Conflict, match=busy):
        await server_interfaces.attach(site.cloud, ANN, server.id, PlannedNic())
    with pytest.raises(Conflict, match=busy):
        await rebuild(site, server)
    await site.delete(server)
    held.set()
    await site.settle()
    assert site.server(server.id).vm_state == "deleted"
    assert site.hosts["h1"].guests == {}
    ended = {action.kind: action.state for action in site.actions(server.id)}
    assert ended == {"create": "succeeded", "rebuild": "cancelled", "delete": "succeeded"}


async def test_a_host_that_is_down_is_waited_for(impatient: Any) -> None:
    site = impatient
    server = await built(site)
    await site.take_down(site.hosts["h1"])
    await rebuild(site, server)
    await site.settle()
    assert site.server(server.id).task_state == "rebuilding"
    await site.bring_up(site.hosts["h1"])
    async with asyncio.timeout(20):
        while site.server(server.id).task_state is not None:
            await asyncio.sleep(0.001)
    assert site.server(server.id).image_id == IMAGE


async def test_where_nobody_knows_what_became_of_it_the_server_is_in_error_and_may_be_rebuilt(site: Any) -> None:
    server = await built(site)
    site.hosts["h1"].power_script.append(Failed(kind="unavailable", message="What it was is gone."))
    await rebuild(site, server)
    await site.settle()
    found = site.server(server.id)
    assert (found.vm_state, found.task_state, found.image_id) == ("error", None, IMAGE)
    assert "What it was is gone." in found.fault.message
    await rebuild(site, server)
    await site.settle()
    found = site.server(server.id)
    assert (found.vm_state, found.fault) == ("active", None)


async def test_where_it_fails_the_guest_is_told_that_it_is_what_it_was(site: Any) -> None:
    server = await built(site)
    site.hosts["h1"].power_script.append(Failed(kind="host_failure", message="The hypervisor failed."))
    await rebuild(site, server)
    await site.settle()
    assert site.server(server.id).name == server.name != "anew"
    assert [told.metadata.name for told in site.hosts["h1"].sent(UpdateMetadata)] == [server.name]


async def test_what_was_changed_meanwhile_stays_though_it_fails(site: Any) -> None:
    server = await built(site)
    held = asyncio.Event()
    site.hosts["h1"].power_script.extend([held])
    await rebuild(site, server)
    async with asyncio.timeout(20):
        while not site.hosts["h1"].sent(Rebuild):
            await asyncio.sleep(0.001)
    await servers.update(site.cloud, ANN, server.id, {"name": "theirs", "description": "theirs"})
    site.hosts["h1"].guests.clear()  # the scripted host does not know it any more
    held.set()
    await site.settle()
    after = site.server(server.id)
    assert (after.name, after.description, after.image_id) == ("theirs", "theirs", server.image_id)
    assert after.boots == server.boots
    assert after.guest_generation > server.guest_generation
    assert makes(site, server) == {0}
    assert after.made_of is None
