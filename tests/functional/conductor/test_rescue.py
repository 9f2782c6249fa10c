"""Rescues from the conductor's side: what the host is told, and what is left where nobody knows what it did."""

from __future__ import annotations

from typing import Any

import pytest

from floe.cloud import server_rescue
from floe.core.context import Context
from floe.core.errors import Conflict
from floe.core.messages import Failed
from floe.core.server_rebuild import Rebuild
from floe.core.servers import Server

ANN = Context(request_id="r", user_id="u" * 32, project_id="p" * 32, roles=frozenset({"member"}))


async def built(site: Any) -> Server:
    """Return a server that runs on a host."""
    await site.add_host("h1")
    server = await site.post()
    await site.settle()
    found: Server = site.server(server.id)
    assert found.vm_state == "active"
    return found


async def test_the_host_is_told_what_the_guest_is_to_be_and_what_it_was(site: Any) -> None:
    server = await built(site)
    await server_rescue.rescue(site.cloud, ANN, server.id, admin_password="secret")
    await site.settle()
    await server_rescue.unrescue(site.cloud, ANN, server.id)
    await site.settle()
    there, back = site.hosts["h1"].sent(Rebuild)
    assert [disk.role for disk in there.guest.disks] == ["rescue", "root"]
    assert there.guest.disks[0].make == there.wanted.generation
    assert (there.guest.metadata.admin_password, there.before.rescue) == ("secret", None)
    assert [ticket.blob for ticket in there.tickets] == [there.guest.rescue.blob]
    assert there.guest.aside.disks == there.before.disks == back.guest.disks
    assert (back.before.disks, back.tickets, back.guest.metadata.admin_password) == (there.guest.disks, (), None)
    assert back.wanted.boots > there.wanted.boots
    assert [action.sealed for action in site.actions(server.id)] == [None, None, None]


async def test_where_nobody_knows_what_became_of_it_both_may_be_asked_for_again(site: Any) -> None:
    server = await built(site)
    site.hosts["h1"].power_script.append(Failed(kind="unavailable", message="It does not answer."))
    await server_rescue.rescue(site.cloud, ANN, server.id)
    await site.settle()
    found = site.server(server.id)
    assert (found.vm_state, found.task_state) == ("error", None)
    assert "Nobody knows whether the guest is rescued" in found.fault.message
    await server_rescue.unrescue(site.cloud, ANN, server.id)
    await site.settle()
    found = site.server(server.id)
    assert (found.vm_state, found.rescue, found.fault) == ("active", None, None)
    with pytest.raises(Conflict, match="while it is in vm_state active"):
        await server_rescue.unrescue(site.cloud, ANN, server.id)


async def test_a_delete_overtakes_it(site: Any) -> None:
    server = await built(site)
    await server_rescue.rescue(site.cloud, ANN, server.id)
    with pytest.raises(Conflict, match="while it is in task_state rescuing"):
        await server_rescue.rescue(site.cloud, ANN, server.id)
    await site.delete(server)
    await site.settle()
    assert site.server(server.id).vm_state == "deleted"
    assert site.hosts["h1"].guests == {}
