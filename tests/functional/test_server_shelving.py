"""Servers that are shelved, offloaded and unshelved: what users may ask for, what is left of them, what fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.structs import replace
from sites import SERVERS, Site, furnished

from floe.cloud import shelving
from floe.core.errors import HostFailure, Unavailable
from floe.core.guest_passwords import PasswordPosted
from floe.core.messages import Destroy
from floe.hypervisors.fake import FakeHypervisor
from floe.store.actions import steps as action_steps
from floe.testing import EmbeddedCloud

HIGHEST = "2.96"
IMAGES = "/image/v2/images"


@pytest.fixture
async def site(embedded: EmbeddedCloud) -> AsyncIterator[Site]:
    async with furnished(embedded) as made:
        yield made


@pytest.fixture
async def staying(
    first_start: Path, started_database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Site]:
    """Give one in which shelved servers stay on their hosts, or leave them after so many seconds."""
    cloud = EmbeddedCloud(
        tmp_path / "state",
        hosts=2,
        template=first_start,
        database=started_database,
        shelved_offload_time=getattr(request, "param", -1.0),
    )
    async with cloud, furnished(cloud) as made:
        yield made


async def act(site: Site, server: str, what: str, body: Any = None, who: str = "demo", version: str = HIGHEST) -> Any:
    """Ask for an action, wait for what becomes of it, and return the answer."""
    reply = await site.ask("POST", f"{SERVERS}/{server}/action", {what: body}, who, version)
    await site.cloud.settled()
    return reply


async def done(site: Site, server: str, what: str, body: Any = None, who: str = "demo") -> None:
    reply = await act(site, server, what, body, who)
    assert reply.status_code == 202, reply.text


async def shown(site: Site, server: str, who: str = "admin") -> dict[str, Any]:
    found: dict[str, Any] = (await site.ask("GET", f"{SERVERS}/{server}", None, who, HIGHEST)).json()["server"]
    return found


async def status(site: Site, server: str) -> str:
    return str((await shown(site, server))["status"])


async def kept(site: Site) -> list[dict[str, Any]]:
    """Return the images that servers are kept in."""
    found = (await site.ask("GET", IMAGES)).json()["images"]
    return [image for image in found if image["name"].endswith("-shelved")]


async def events(site: Site, server: str) -> list[tuple[str, str | None]]:
    found = (await site.ask("GET", f"{SERVERS}/{server}/os-instance-actions", version=HIGHEST)).json()
    return [(each["action"], each["message"]) for each in reversed(found["instanceActions"])]


def guests(site: Site, server: str) -> list[str]:
    """Return what guests of a server are doing, on any host."""
    return [
        agent._hypervisor.host.guests[server].name
        for agent in site.cloud.node.agents
        if isinstance(agent._hypervisor, FakeHypervisor) and server in agent._hypervisor.host.guests
    ]


def folders(site: Site, server: str) -> int:
    """Return on how many hosts there are files of a server."""
    return sum((agent._guests_dir / server).exists() for agent in site.cloud.node.agents)


def break_hosts(site: Site, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Have all hosts fail at something."""

    async def broken(*_args: Any, **_more: Any) -> Any:
        raise HostFailure("It broke.", stage="disk")

    for agent in site.cloud.node.agents:
        monkeypatch.setattr(agent._hypervisor, what, broken)


async def allocations(site: Site, server: str) -> dict[str, Any]:
    found: dict[str, Any] = (await site.ask("GET", f"/placement/allocations/{server}", None, "admin")).json()
    return dict(found["allocations"])


async def in_order(site: Site) -> None:
    """See that the audit finds nothing."""
    found = await site.ask("GET", "/floe/v1/audit", None, "admin")
    assert found.json()["violations"] == [], found.text


async def test_a_shelved_server_leaves_its_host_and_comes_back_as_it_was(site: Site) -> None:
    server = await site.server("one")
    before = await shown(site, server)
    ports = (await site.ask("GET", f"/network/v2.0/ports?device_id={server}")).json()["ports"]
    await done(site, server, "shelve")
    away = await shown(site, server)
    assert (away["status"], away["OS-EXT-STS:vm_state"]) == ("SHELVED_OFFLOADED", "shelved_offloaded")
    assert (away["OS-EXT-STS:task_state"], away["OS-EXT-STS:power_state"]) == (None, 0)
    assert (away["OS-EXT-SRV-ATTR:host"], away["hostId"]) == (None, "")
    assert away["OS-EXT-AZ:availability_zone"] == before["OS-EXT-AZ:availability_zone"]
    assert away["addresses"] == before["addresses"]
    assert away["image"] == before["image"]
    assert (guests(site, server), folders(site, server), await allocations(site, server)) == ([], 0, {})
    (image,) = await kept(site)
    assert (image["name"], image["status"], image["image_type"]) == ("one-shelved", "active", "snapshot")
    unbound = (await site.ask("GET", f"/network/v2.0/ports?device_id={server}", None, "admin")).json()["ports"]
    assert [(port["id"], port["status"], port["binding:host_id"]) for port in unbound] == [
        (port["id"], "DOWN", "") for port in ports
    ]
    found = (await site.ask("GET", f"{SERVERS}?status=SHELVED_OFFLOADED")).json()["servers"]
    assert [each["id"] for each in found] == [server]
    limits = (await site.ask("GET", "/compute/v2.1/limits")).json()["limits"]["absolute"]
    assert limits["totalInstancesUsed"] == 1
    await in_order(site)

    await done(site, server, "unshelve")
    back = await shown(site, server)
    assert (back["status"], back["OS-EXT-STS:power_state"], back["image"]) == ("ACTIVE", 1, before["image"])
    assert back["addresses"] == before["addresses"]
    assert guests(site, server) == ["RUNNING"]
    assert len(await allocations(site, server)) == 1
    assert await kept(site) == []
    assert await events(site, server) == [
        ("create", None),
        ("shelve", None),
        ("shelveOffload", None),
        ("unshelve", None),
    ]
    await in_order(site)
    await done(site, server, "os-stop")
    await done(site, server, "os-start")
    await done(site, server, "pause")
    assert guests(site, server) == ["PAUSED"], "boots and wishes go on from the new guest"
    await done(site, server, "shelve")
    await done(site, server, "unshelve")
    assert await status(site, server) == "ACTIVE"
    assert len(await kept(site)) == 0
    await in_order(site)


async def test_one_that_stays_on_its_host_is_started_there_or_offloaded_by_an_administrator(staying: Site) -> None:
    site = staying
    server = await site.server("one")
    await done(site, server, "shelve")
    found = await shown(site, server)
    assert (found["status"], found["OS-EXT-STS:power_state"]) == ("SHELVED", 4)
    assert found["OS-EXT-SRV-ATTR:host"] is not None
    assert guests(site, server) == ["SHUTDOWN"]
    await in_order(site)
    asked = {"availability_zone": "nova"}
    assert "is not supported" in (await act(site, server, "unshelve", asked)).text
    await done(site, server, "unshelve")
    assert (await status(site, server), guests(site, server), await kept(site)) == ("ACTIVE", ["RUNNING"], [])
    await done(site, server, "shelve")
    assert (await act(site, server, "shelveOffload")).status_code == 403
    await done(site, server, "shelveOffload", who="admin")
    assert (await status(site, server), folders(site, server)) == ("SHELVED_OFFLOADED", 0)
    await in_order(site)


@pytest.mark.parametrize("before", ["os-stop", "pause", "suspend"])
async def test_it_is_shelved_from_every_state_in_which_there_is_a_guest(site: Site, before: str) -> None:
    server = await site.server("one")
    await done(site, server, before)
    await done(site, server, "shelve")
    assert await status(site, server) == "SHELVED_OFFLOADED"
    await done(site, server, "unshelve")
    assert guests(site, server) == ["RUNNING"]


@pytest.mark.parametrize(("before", "after"), [(None, "ACTIVE"), ("pause", "PAUSED"), ("os-stop", "SHUTOFF")])
async def test_where_the_copy_fails_the_server_is_what_it_was(
    site: Site, monkeypatch: pytest.MonkeyPatch, before: str | None, after: str
) -> None:
    server = await site.server("one")
    if before:
        await done(site, server, before)
    break_hosts(site, monkeypatch, "copy_disk")
    await done(site, server, "shelve")
    async with asyncio.timeout(20):
        while (await shown(site, server))["OS-EXT-STS:task_state"] is not None:  # it is started by the next turn
            await asyncio.sleep(0.01)
    assert (await status(site, server), await kept(site)) == (after, [])
    assert ("shelve", "It broke.") in await events(site, server)
    await in_order(site)


async def test_where_the_guest_does_not_start_again_either_the_server_is_off(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await site.server("one")
    break_hosts(site, monkeypatch, "copy_disk")
    break_hosts(site, monkeypatch, "start")
    await done(site, server, "shelve")
    async with asyncio.timeout(20):
        while (await shown(site, server))["OS-EXT-STS:task_state"] is not None:
            await asyncio.sleep(0.01)
    found = await shown(site, server)
    assert (found["status"], found["OS-EXT-STS:power_state"]) == ("SHUTOFF", 4)
    assert ("start", "It broke.") in await events(site, server)
    monkeypatch.undo()
    await done(site, server, "os-start")
    assert await status(site, server) == "ACTIVE"


async def test_where_no_host_makes_it_again_it_stays_shelved_and_may_be_asked_for_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await site.server("one")
    before = await shown(site, server)
    await done(site, server, "shelve")
    with monkeypatch.context() as patch:
        break_hosts(site, patch, "start")
        await done(site, server, "unshelve", {"availability_zone": "nova"})
    found = await shown(site, server)
    assert (found["status"], found["OS-EXT-STS:task_state"]) == ("SHELVED_OFFLOADED", None)
    assert (found["OS-EXT-SRV-ATTR:host"], found["addresses"]) == (None, before["addresses"])
    assert found["pinned_availability_zone"] is None, "what was asked with it is as before"
    assert (guests(site, server), folders(site, server), await allocations(site, server)) == ([], 0, {})
    assert len(await kept(site)) == 1
    assert "It broke." in str((await events(site, server))[-1][1])
    await in_order(site)
    await done(site, server, "unshelve")
    assert await status(site, server) == "ACTIVE"


async def test_without_its_image_it_stays_shelved_and_its_user_is_told_so(site: Site) -> None:
    server = await site.server("one")
    await done(site, server, "shelve")
    (image,) = await kept(site)
    assert (await site.ask("DELETE", f"{IMAGES}/{image['id']}")).status_code == 204
    reply = await act(site, server, "unshelve")
    assert reply.status_code == 409
    assert f"image {image['id']}, which has its disk, was deleted" in reply.text
    assert await status(site, server) == "SHELVED_OFFLOADED"
    assert (await site.ask("DELETE", f"{SERVERS}/{server}")).status_code == 204
    await site.cloud.settled()
    assert (await site.ask("GET", f"{SERVERS}/{server}")).status_code == 404


@pytest.mark.parametrize("staying", [0.0, -1.0], indirect=True)
async def test_a_delete_takes_the_image_along(staying: Site) -> None:
    site = staying
    server = await site.server("one")
    await done(site, server, "shelve")
    assert len(await kept(site)) == 1
    assert (await site.ask("DELETE", f"{SERVERS}/{server}")).status_code == 204
    await site.cloud.settled()
    assert (await kept(site), guests(site, server), folders(site, server)) == ([], [], 0)
    assert (await site.ask("GET", f"/network/v2.0/ports?device_id={server}")).json()["ports"] == []
    await in_order(site)


async def test_what_shelved_servers_do_not_do_is_refused_in_novas_words(site: Site) -> None:
    server = await site.server("one")
    assert (await act(site, server, "unshelve")).status_code == 409, "it is not shelved"
    assert (await act(site, server, "shelveOffload", who="admin")).status_code == 409
    await done(site, server, "shelve")
    for what, body in (
        ("shelve", None),
        ("shelveOffload", None),
        ("os-start", None),
        ("os-stop", None),
        ("pause", None),
        ("reboot", {"type": "HARD"}),
        ("rebuild", {"imageRef": site.ids["image"]}),
        ("createImage", {"name": "shot"}),
    ):
        reply = await act(site, server, what, body, "admin" if what == "shelveOffload" else "demo")
        assert reply.status_code == 409, what
        assert f"Cannot '{what}' instance {server} while it is in vm_state shelved_offloaded" in reply.text or (
            what in {"os-start", "os-stop"}
        )
    for state in ("error", "active"):
        assert (await act(site, server, "os-resetState", {"state": state}, "admin")).status_code == 409


async def test_where_it_comes_back_may_be_said_since_novas_versions(site: Site) -> None:
    server = await site.server("one")
    await done(site, server, "shelve")
    hosts = (await site.ask("GET", "/compute/v2.1/os-services", None, "admin")).json()["services"]
    host = next(each["host"] for each in hosts if each["binary"] == "nova-compute")
    for body, version, who, code in (
        ({}, "2.77", "demo", 400),
        ({"host": host}, "2.90", "admin", 400),
        ({"availability_zone": None}, "2.77", "demo", 400),
        ({"availability_zone": "moon"}, "2.77", "demo", 400),
        ({"host": host}, "2.91", "demo", 403),
        ({"host": "moon"}, "2.91", "admin", 400),
        ({"host": host, "more": 1}, "2.91", "admin", 400),
    ):
        assert (await act(site, server, "unshelve", body, who, version)).status_code == code, (body, version)
    assert await status(site, server) == "SHELVED_OFFLOADED"
    await done(site, server, "unshelve", {"availability_zone": "nova", "host": host}, "admin")
    found = await shown(site, server)
    assert (found["status"], found["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", host)
    assert found["pinned_availability_zone"] == "nova"
    await done(site, server, "shelve")
    await done(site, server, "unshelve", {"availability_zone": None})
    assert (await shown(site, server))["pinned_availability_zone"] is None


@pytest.mark.parametrize("staying", [0.000001], indirect=True)
async def test_after_the_time_that_is_set_a_shelved_server_leaves_its_host(staying: Site) -> None:
    site = staying
    server = await site.server("one")
    await done(site, server, "shelve")
    assert await status(site, server) == "SHELVED"
    assert await shelving.offload_due(site.cloud.node.cloud) == 1
    await site.cloud.settled()
    assert await status(site, server) == "SHELVED_OFFLOADED"


async def test_what_its_guest_posted_is_kept_though_the_bus_lost_it_and_the_answer_that_it_is_gone(
    staying: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told with the end of the guest, however often that is asked for, and stands in no journal."""
    site = staying
    server = await site.server("one")
    home = (await shown(site, server))["OS-EXT-SRV-ATTR:host"]
    host = next(agent for agent in site.cloud.node.agents if agent.host == home)
    monkeypatch.setattr(host, "_publish_soon", lambda _event: None)
    await host.post_password(server, "secret")
    await done(site, server, "shelve")
    bus, lost = site.cloud.node.cloud.bus, list[Any]()
    real = bus.request

    async def lossy(address: str, command: Any, *, timeout: float) -> Any:
        answer = await real(address, command, timeout=timeout)
        if isinstance(command, Destroy) and not lost:
            lost.append(answer)
            raise Unavailable("The answer was lost.")
        return answer

    monkeypatch.setattr(bus, "request", lossy)
    await done(site, server, "shelveOffload", who="admin")
    assert await status(site, server) == "SHELVED_OFFLOADED"
    assert [answer.posted.password for answer in lost] == ["secret"]
    path = f"{SERVERS}/{server}/os-server-password"
    assert (await site.ask("GET", path)).json() == {"password": "secret"}
    steps = await site.cloud.node.cloud.db.read(lambda conn: conn.execute(sa.select(action_steps.c.output)).all())
    assert "secret" not in str(steps)
    await done(site, server, "unshelve")
    assert (await site.ask("GET", path)).json() == {"password": "secret"}
    await in_order(site)


async def test_a_host_is_believed_of_the_server_alone_whose_guest_it_removed(
    staying: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = staying
    server, victim = await site.server("one"), await site.server("two")
    await done(site, server, "shelve")
    bus = site.cloud.node.cloud.bus
    real = bus.request

    async def lying(address: str, command: Any, *, timeout: float) -> Any:
        answer = await real(address, command, timeout=timeout)
        if isinstance(command, Destroy):
            said = PasswordPosted(host=address, server_id=victim, password="planted", turn=1)
            return replace(answer, posted=said)
        return answer

    monkeypatch.setattr(bus, "request", lying)
    await done(site, server, "shelveOffload", who="admin")
    for each in (server, victim):
        assert (await site.ask("GET", f"{SERVERS}/{each}/os-server-password")).json() == {"password": ""}
