"""Images made of servers: what users may ask for, what the image is, what hosts and rows have of it, what fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sites import SERVERS, Site, furnished, refused

from floe.agent.agent import Agent
from floe.core import image_tickets
from floe.core.errors import HostFailure
from floe.core.image_tickets import ImageTicket
from floe.hypervisors.fake import FakeHost, FakeHypervisor
from floe.hypervisors.fake_files import empty_disk
from floe.store import actions
from floe.testing import EmbeddedCloud

IMAGES = "/image/v2/images"


@pytest.fixture
async def site(embedded: EmbeddedCloud) -> AsyncIterator[Site]:
    async with furnished(embedded) as made:
        yield made


async def create_image(site: Site, server: str, version: str = "2.45", settled: bool = True, **more: Any) -> Any:
    asked = {"createImage": {"name": "shot", **more}}
    reply = await site.ask("POST", f"{SERVERS}/{server}/action", asked, version=version)
    if settled:
        await site.cloud.settled()
    return reply


async def snapshot(site: Site, server: str, **more: Any) -> dict[str, Any]:
    """Take a snapshot and return its image, or {} when it is gone."""
    reply = await create_image(site, server, **more)
    assert reply.status_code == 202, reply.text
    return await image_of(site, reply.json()["image_id"])


async def image_of(site: Site, image_id: str) -> dict[str, Any]:
    found = await site.ask("GET", f"{IMAGES}/{image_id}")
    return dict(found.json()) if found.status_code == 200 else {}


async def shown(site: Site, server: str) -> tuple[str, str | None]:
    found = (await site.ask("GET", f"{SERVERS}/{server}")).json()["server"]
    return found["status"], found["OS-EXT-STS:task_state"]


def agent_of(site: Site, server: str) -> Agent:
    """Return the agent of the host that has a server's guest."""
    return next(agent for agent in site.cloud.node.agents if server in _machine(agent).guests)


def machine(site: Site, server: str) -> FakeHost:
    return _machine(agent_of(site, server))


def _machine(agent: Agent) -> FakeHost:
    assert isinstance(agent._hypervisor, FakeHypervisor)
    return agent._hypervisor.host


async def with_properties(site: Site, **properties: str) -> None:
    """Have servers be made of an image with these properties from now on."""
    patch = [{"op": "add", "path": f"/{name}", "value": value} for name, value in properties.items()]
    media = {"x-auth-token": site.tokens["demo"], "content-type": "application/openstack-images-v2.1-json-patch"}
    reply = await site.http.patch(f"{IMAGES}/{site.ids['image']}", content=json.dumps(patch), headers=media)
    assert reply.status_code == 200, reply.text


async def actions_of(site: Site, server: str) -> AsyncIterator[str]:
    """Yield the ids of the actions that made images of a server."""
    db = site.cloud.node.cloud.db
    for action in await db.read(lambda conn: actions.find(conn, server, kind="createImage")):
        yield action.id


def left(site: Site) -> list[Path]:
    """Return what is on hosts of snapshots."""
    return [path for path in site.cloud.folder.rglob("snapshot.*") if path.parent.parent.name == "guests"]


async def test_a_snapshot_is_an_image_that_stands_alone_and_boots(site: Site) -> None:
    server = await site.server("a")
    made = await snapshot(site, server, metadata={"mine": "yes"})
    own = {
        "status": "active",
        "disk_format": "qcow2",
        "container_format": "bare",
        "visibility": "private",
        "instance_uuid": server,
        "base_image_ref": site.ids["image"],
        "image_type": "snapshot",
        "image_location": "snapshot",
        "image_state": "available",
        "mine": "yes",
    }
    assert made.items() >= own.items()
    assert made["owner"] == made["owner_id"]
    assert await shown(site, server) == ("ACTIVE", None)
    assert left(site) == []
    site.ids["image"] = made["id"]
    again = await site.server("b")
    assert await shown(site, again) == ("ACTIVE", None)


@pytest.mark.parametrize("action", ["pause", "os-stop", "suspend", "lock"])
async def test_a_server_that_does_not_run_becomes_an_image_and_stays_what_it_is(site: Site, action: str) -> None:
    server = await site.server("a")
    await site.act(server, action)
    before = await shown(site, server)
    assert (await snapshot(site, server))["status"] == "active"
    assert await shown(site, server) == before


async def test_up_to_2_44_a_link_to_the_image_is_the_answer(site: Site) -> None:
    server = await site.server("a")
    old = await create_image(site, server, "2.44")
    assert (old.status_code, old.content) == (202, b"")
    image_id = old.headers["location"].rpartition("/images/")[2]
    assert (await image_of(site, image_id))["status"] == "active"
    new = await create_image(site, server, "2.45")
    assert "location" not in new.headers
    assert new.json().keys() == {"image_id"}


async def test_what_cannot_be_asked_for_is_refused_and_leaves_no_image(site: Site) -> None:
    server = await site.server("a")
    before = len((await site.ask("GET", IMAGES)).json()["images"])
    path = f"{SERVERS}/{server}/action"
    for body, text in (
        ({}, "name"),
        ({"name": "x", "more": 1}, "more"),
        ({"name": " "}, "name"),
        ({"name": "x", "metadata": {"a": 1}}, "metadata"),
        ({"name": "x", "metadata": {"os_glance_x": "1"}}, "reserved"),
    ):
        refused(await site.ask("POST", path, {"createImage": body}), 400, text)
    for body in (
        {"name": "x"},
        {"name": "x", "backup_type": "daily"},
        {"name": "x", "backup_type": "d", "rotation": -1},
    ):
        assert (await site.ask("POST", path, {"createBackup": body})).status_code == 400
    nobody = f"{SERVERS}/99999999-9999-4999-8999-999999999999/action"
    assert (await site.ask("POST", nobody, {"createImage": {"name": "x"}})).status_code == 404
    many = {f"k{number}": "v" for number in range(129)}
    refused(await create_image(site, server, "2.38", metadata=many), 403, "Image metadata limit exceeded")
    await site.act(server, "os-resetState", "admin", state="error")
    refused(await create_image(site, server), 409, "Cannot 'createImage' instance")
    assert len((await site.ask("GET", IMAGES)).json()["images"]) == before


async def test_two_at_once_are_one(site: Site) -> None:
    server = await site.server("a")
    first, second = await asyncio.gather(*(create_image(site, server, settled=False) for _ in range(2)))
    await site.cloud.settled()
    assert {first.status_code, second.status_code} == {202, 409}
    refused(first if first.status_code == 409 else second, 409, "while it is in task_state image_")


async def test_a_project_that_has_as_many_images_as_it_may_gets_no_more(site: Site) -> None:
    server = await site.server("a")
    usage = {"image_count_total": 1}
    project = (await site.ask("GET", f"{SERVERS}/{server}")).json()["server"]["tenant_id"]
    path = f"/floe/v1/image-quotas/{project}"
    assert (await site.ask("PUT", path, {"image_quota": usage}, "admin")).status_code == 200
    assert (await create_image(site, server)).status_code == 403
    usage = {"image_count_total": 2, "image_size_total": 0}
    assert (await site.ask("PUT", path, {"image_quota": usage}, "admin")).status_code == 200
    assert await snapshot(site, server) == {}, "its bytes have no room, and it is gone"
    assert await shown(site, server) == ("ACTIVE", None)
    assert left(site) == []


async def test_one_that_fails_is_gone_and_its_server_what_it_was(site: Site) -> None:
    server = await site.server("a")
    machine(site, server).fail("copy_disk", HostFailure("The disk is broken.", stage="snapshot"))
    assert await snapshot(site, server) == {}
    assert await shown(site, server) == ("ACTIVE", None)
    done = (await site.ask("GET", f"{SERVERS}/{server}/os-instance-actions", version="2.96")).json()["instanceActions"]
    assert done[0]["action"] == "createImage"
    path = f"{SERVERS}/{server}/os-instance-actions/{done[0]['request_id']}"
    (event,) = [
        each
        for each in (await site.ask("GET", path, who="admin", version="2.96")).json()["instanceAction"]["events"]
        if each["event"] == "snapshot" and each["result"] == "Error"
    ]
    assert "The disk is broken." in event["details"] or event["traceback"]
    assert (await snapshot(site, server))["status"] == "active"


@pytest.mark.parametrize("gone", ["server", "image", "both"])
async def test_what_is_deleted_meanwhile_leaves_nothing(site: Site, gone: str) -> None:
    server = await site.server("a")
    commands = agent_of(site, server)._commands
    assert commands is not None
    async with commands._server(server):  # so far the host gets, and no further
        reply = await create_image(site, server, settled=False)
        image_id = reply.json()["image_id"]
        assert (await shown(site, server))[1] == "image_snapshot"
        assert (await image_of(site, image_id))["status"] == "queued"
        if gone != "server":
            assert (await site.ask("DELETE", f"{IMAGES}/{image_id}")).status_code == 204
        if gone != "image":
            assert (await site.ask("DELETE", f"{SERVERS}/{server}")).status_code == 204
            assert await image_of(site, image_id) == {}, "it goes with the request"
    await site.cloud.settled()
    assert await image_of(site, image_id) == {}
    assert left(site) == []
    if gone == "image":
        assert await shown(site, server) == ("ACTIVE", None)
        assert (await snapshot(site, server))["status"] == "active"


class HeldStore:
    """An image store that takes nothing until it is let go; it counts what was begun and what was ended."""

    def __init__(self) -> None:
        self.begun, self.go, self.ended = asyncio.Event(), asyncio.Event(), 0

    async def send(self, _ticket: ImageTicket, _file: Path, _size: int, _told: Callable[[int], None]) -> None:
        self.begun.set()
        try:
            await self.go.wait()
        finally:
            self.ended += 1


async def test_a_host_that_still_sends_holds_nothing_up(site: Site) -> None:
    server = await site.server("a")
    commands = agent_of(site, server)._commands
    assert commands is not None
    store, snapshots = HeldStore(), commands._snapshots
    commands._snapshots = msgspec.structs.replace(snapshots, store=store)
    await create_image(site, server, settled=False)
    await asyncio.wait_for(store.begun.wait(), 10)
    reset = {"os-resetState": {"state": "active"}}
    assert (await site.ask("POST", f"{SERVERS}/{server}/action", reset, "admin")).status_code == 202
    reply = await site.ask("POST", f"{SERVERS}/{server}/action", {"os-stop": None})
    assert reply.status_code == 202, reply.text
    async with asyncio.timeout(20):
        while await shown(site, server) != ("SHUTOFF", None):
            pass
    assert not store.ended, "it is stopped while the copy is still being sent"
    assert (await site.ask("DELETE", f"{SERVERS}/{server}")).status_code == 204
    await site.cloud.settled()
    assert (store.ended, left(site)) == (1, [])


async def test_an_image_that_its_user_gives_other_bytes_is_the_users_own(site: Site) -> None:
    server = await site.server("a")
    commands = agent_of(site, server)._commands
    assert commands is not None
    async with commands._server(server):
        image_id = (await create_image(site, server, settled=False)).json()["image_id"]
        media = {"x-auth-token": site.tokens["demo"], "content-type": "application/octet-stream"}
        path = f"{IMAGES}/{image_id}/file"
        assert (await site.http.put(path, content=empty_disk(1 << 20), headers=media)).status_code == 204
    await site.cloud.settled()
    assert (await image_of(site, image_id))["status"] == "active"
    (action,) = await site.cloud.node.cloud.db.read(lambda conn: actions.find(conn, server, kind="createImage"))
    assert (action.state, "other data" in (action.message or "")) == ("failed", True)
    assert await shown(site, server) == ("ACTIVE", None)


async def test_an_operator_ends_one_that_does_not_end(site: Site) -> None:
    server = await site.server("a")
    commands = agent_of(site, server)._commands
    assert commands is not None
    async with commands._server(server):
        image_id = (await create_image(site, server, settled=False)).json()["image_id"]
        reset = {"os-resetState": {"state": "active"}}
        assert (await site.ask("POST", f"{SERVERS}/{server}/action", reset, "admin")).status_code == 202
        assert await image_of(site, image_id) == {}
    await site.cloud.settled()
    assert await shown(site, server) == ("ACTIVE", None)


async def test_an_image_of_another_projects_server_is_shared_with_that(site: Site) -> None:
    server = await site.server("a")
    owner = (await site.ask("GET", f"{SERVERS}/{server}")).json()["server"]["tenant_id"]
    asked = {"createImage": {"name": "shot"}}
    reply = await site.ask("POST", f"{SERVERS}/{server}/action", asked, "admin", "2.45")
    await site.cloud.settled()
    image = (await site.ask("GET", f"{IMAGES}/{reply.json()['image_id']}")).json()
    assert (image["visibility"], image["instance_owner"], image["status"]) == ("shared", owner, "active")
    assert image["owner"] != owner


async def test_what_is_about_the_bytes_of_the_base_is_not_inherited(site: Site) -> None:
    properties = {"os_distro": "debian", "mappings": "[]", "cache_in_nova": "true", "hw_disk_bus": "scsi"}
    await with_properties(site, **properties)
    made = await snapshot(site, await site.server("a"))
    assert made.keys() & properties.keys() == {"os_distro", "hw_disk_bus"}


async def test_a_guest_that_must_be_quiesced_and_cannot_be_is_not_copied(site: Site) -> None:
    await with_properties(site, os_require_quiesce="yes")
    refused(await create_image(site, await site.server("a")), 409, "QEMU guest agent is not enabled")
    await with_properties(site, hw_qemu_guest_agent="yes")
    server = await site.server("b")
    assert (await snapshot(site, server))["status"] == "active"
    machine(site, server).deaf.add(server)
    assert await snapshot(site, server) == {}
    assert await shown(site, server) == ("ACTIVE", None)


async def test_of_backups_the_newest_stay(site: Site) -> None:
    server = await site.server("a")

    async def backup(kind: str, rotation: int) -> Any:
        asked = {"createBackup": {"name": kind, "backup_type": kind, "rotation": rotation}}
        reply = await site.ask("POST", f"{SERVERS}/{server}/action", asked, version="2.44")
        await site.cloud.settled()
        assert reply.status_code == 202
        return reply.headers.get("location", "").rpartition("/")[2]

    weekly = await backup("weekly", 1)
    made = [await backup("daily", 2) for _ in range(3)]
    there = {image["id"]: image for image in (await site.ask("GET", IMAGES)).json()["images"]}
    assert {weekly, *made[1:]} <= there.keys()
    assert made[0] not in there
    assert (there[made[2]]["image_type"], there[made[2]]["backup_type"]) == ("backup", "daily")
    assert await backup("daily", 0) == "", "none stays, so there is nothing to link to"
    there = {image["id"]: image for image in (await site.ask("GET", IMAGES)).json()["images"]}
    assert not set(made) & there.keys()
    assert weekly in there


async def test_hosts_on_other_machines_send_images_with_a_ticket(tmp_path: Path) -> None:
    async with EmbeddedCloud(tmp_path / "cloud", images_over_http=True) as cloud, furnished(cloud) as site:
        server = await site.server("a")
        made = await snapshot(site, server)
        assert (made["status"], left(site)) == ("active", [])
        assert made["size"] > 0
        with_image = await site.http.get(f"{IMAGES}/{made['id']}/file", headers={"x-auth-token": site.tokens["demo"]})
        assert with_image.content[:4] == b"QFI\xfb"
        (action,) = [each async for each in actions_of(site, server)]
        key = cloud.node.cloud.token_keys()[0]
        for host, blob, text in ((agent_of(site, server).host, action, "410"), ("another", action, "403")):
            (ticket,) = image_tickets.issue(key, host, [blob], 10**11)
            headers = {"authorization": image_tickets.authorization(ticket, "PUT")}
            reply = await site.http.put(f"/floe/v1/snapshots/{action}", content=b"x" * 9, headers=headers)
            assert str(reply.status_code) == text, reply.text
        (ticket,) = image_tickets.issue(b"another key", agent_of(site, server).host, [action], 10**11)
        headers = {"authorization": image_tickets.authorization(ticket, "PUT")}
        assert (await site.http.put(f"/floe/v1/snapshots/{action}", content=b"x", headers=headers)).status_code == 403
        usage = {"image_quota": {"image_size_total": 0}}
        assert (await site.ask("PUT", "/floe/v1/image-quotas", usage, "admin")).status_code == 200
        assert await snapshot(site, server) == {}, "what the control plane refuses is told to the host"
        assert left(site) == []


async def test_what_an_agent_left_that_died_over_it_is_cleared_away_at_its_next_start(tmp_path: Path) -> None:
    cloud = EmbeddedCloud(tmp_path / "cloud")
    async with cloud, furnished(cloud) as site:
        server = await site.server("a")
        (folder,) = (path for path in cloud.folder.rglob(server) if path.parent.name == "guests")
        (folder / "snapshot.qcow2").write_bytes(b"half")
        assert left(site) != []
    async with cloud:
        assert left(site) == []
