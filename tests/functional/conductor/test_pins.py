"""Ports that an administrator binds to a host before the host is there: they are plugged when it comes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from floe.cloud import audit, networks, ports, subnets
from floe.cloud import hosts as cloud_hosts
from floe.core.context import Context
from floe.core.hosts import Host
from floe.core.messages import ApplyNetwork
from floe.store import audit as audit_rows
from floe.store import group_members, hosts

ROOT = Context(request_id="", user_id="root", project_id="f" * 32, roles=frozenset({"admin", "member", "reader"}))


@pytest.fixture
async def port(site: Any) -> Any:
    """Give a port that is bound to h9, which nobody has heard of."""
    (network,) = await networks.create(site.cloud, ROOT, [{"name": "front"}])
    await subnets.create(site.cloud, ROOT, [{"network_id": network.id, "cidr": "10.1.0.0/24"}])
    (made,) = await ports.create(site.cloud, ROOT, [{"network_id": network.id, "host": "h9"}])
    assert (made.host, made.pinned, made.plugged) == ("h9", True, False)
    return made


async def shown(site: Any, port: Any) -> Any:
    return await ports.show(site.cloud, ROOT, port.id)


def site_host(site: Any, name: str) -> Host:
    """Return a host that was heard of an hour ago."""
    then = site.cloud.clock.now() - timedelta(hours=1)
    return Host(name=name, created_at=then, updated_at=then, started_at=then, last_seen=then)


def told(host: Any) -> list[list[str]]:
    """Return the ports in each network that a host was sent."""
    return [[port.port_id for port in command.network.ports] for command in host.sent(ApplyNetwork)]


async def in_order(site: Any) -> None:
    found = await site.cloud.db.read(lambda conn: audit.check_rows(audit_rows.loose(conn), quiet=False))
    assert found == []


async def test_a_host_that_comes_has_the_ports_that_were_bound_to_it_before(site: Any, port: Any) -> None:
    await site.add_host("h1")
    assert not (await shown(site, port)).plugged
    h9 = await site.add_host("h9")
    await site.settle()
    after = await shown(site, port)
    assert (after.host, after.plugged, after.revision) == ("h9", True, port.revision + 1)
    assert told(h9)[-1] == [port.id]
    assert told(site.hosts["h1"])[-1:] in ([], [[]])
    await site.announce(h9)  # once more: nothing changes
    await site.settle()
    assert (await shown(site, port)).revision == after.revision
    await in_order(site)


async def test_members_of_its_groups_elsewhere_hear_of_it(site: Any, port: Any) -> None:
    await site.cloud.db.write(lambda conn: hosts.put(conn, site_host(site, "h1")))
    await ports.create(site.cloud, ROOT, [{"network_id": port.network_id, "host": "h1"}])
    before = await site.cloud.db.read(group_members.position)
    await site.add_host("h9")
    await site.settle()
    assert await site.cloud.db.read(group_members.position) > before


async def test_a_port_that_was_bound_elsewhere_meanwhile_is_not_plugged_by_who_comes_late(site: Any, port: Any) -> None:
    await site.add_host("h1")
    await ports.update(site.cloud, ROOT, port.id, {"host": "h1"})
    h9 = await site.add_host("h9")
    await site.settle()
    after = await shown(site, port)
    assert (after.host, after.plugged) == ("h1", True)
    assert all(port.id not in each for each in told(h9))
    await ports.update(site.cloud, ROOT, port.id, {"host": None})
    await site.announce(h9)
    await site.settle()
    assert all(port.id not in each for each in told(h9))
    await in_order(site)


async def test_a_host_that_was_forgotten_and_is_back_has_them_again(site: Any, port: Any) -> None:
    h9 = await site.add_host("h9")
    await site.settle()
    await site.take_down(h9)
    site.cloud.clock.advance(3600)
    await cloud_hosts.remove(site.cloud, "h9")
    assert not (await shown(site, port)).plugged
    h9.commands.clear()
    await site.bring_up(h9)
    await site.settle()
    assert (await shown(site, port)).plugged
    assert told(h9)[-1] == [port.id]
    await in_order(site)


async def test_a_binding_that_was_left_failed_beside_a_known_host_is_mended_when_it_reports(
    site: Any, port: Any
) -> None:
    """As rows are that an older version wrote, or where a conductor ended before it heard of the host."""
    await site.cloud.db.write(lambda conn: hosts.put(conn, site_host(site, "h9")))
    h9 = await site.add_host("h9")
    await site.settle()
    assert (await shown(site, port)).plugged
    assert told(h9)[-1] == [port.id]
