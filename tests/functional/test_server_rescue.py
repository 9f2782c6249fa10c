"""Servers that are rescued: what users may ask for, what their hosts make of it, and what is left where that fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from sites import SERVERS, Site, furnished

from floe.agent.agent import Agent
from floe.agent.image_eviction import backing_file
from floe.cloud import soft_deletes
from floe.core.context import Context
from floe.core.errors import HostFailure
from floe.hypervisors.fake import FakeHost, FakeHypervisor
from floe.testing import EmbeddedCloud

HIGHEST = "2.96"
NOBODY = "99999999-9999-4999-8999-999999999999"
CONTENT = b"\1" * 8192


@pytest.fixture
async def site(embedded: EmbeddedCloud) -> AsyncIterator[Site]:
    """Give a cloud with two images and a network."""
    async with furnished(embedded) as made:
        made.ids["other"] = await image(made, "other")
        yield made


async def image(site: Site, name: str, **more: Any) -> str:
    """Upload an image."""
    fields = {"name": name, "disk_format": "raw", "container_format": "bare", **more}
    made = await site.ask("POST", "/image/v2/images", fields)
    assert made.status_code == 201, made.text
    kind = {"content-type": "application/octet-stream", "x-auth-token": site.tokens["demo"]}
    ident: str = made.json()["id"]
    await site.http.put(f"/image/v2/images/{ident}/file", content=CONTENT, headers=kind)
    return ident


async def act(site: Site, server: str, action: str, asked: Any = None, who: str = "demo") -> httpx.Response:
    """Ask for an action, whatever its body is, and wait for what becomes of it."""
    reply: httpx.Response = await site.ask("POST", f"{SERVERS}/{server}/action", {action: asked}, who, HIGHEST)
    await site.cloud.settled()
    return reply


async def shown(site: Site, server: str) -> dict[str, Any]:
    found: dict[str, Any] = (await site.ask("GET", f"{SERVERS}/{server}", None, "demo", HIGHEST)).json()["server"]
    return found


async def status(site: Site, server: str) -> str:
    return str((await shown(site, server))["status"])


def agent_of(site: Site, server: str) -> Agent:
    """Return the agent of the host that has a server's guest."""
    return next(agent for agent in site.cloud.node.agents if (agent._guests_dir / server).exists())


def machine(site: Site, server: str) -> FakeHost:
    hypervisor = agent_of(site, server)._hypervisor
    assert isinstance(hypervisor, FakeHypervisor)
    return hypervisor.host


def files(site: Site, server: str) -> list[str]:
    """Return the names of all files of a guest's disks, less the number of their make."""
    there = agent_of(site, server)._guests_dir / server
    names = [path.name for path in (*there.iterdir(), *(there / "images").iterdir()) if path.is_file()]
    return sorted(f"{name.split('-')[0]}+" if "-" in name else name for name in names if "console" not in name)


def guest(site: Site, server: str) -> Any:
    return agent_of(site, server)._ledger.guests[server]  # type: ignore[union-attr]


def disks(site: Site, server: str) -> list[tuple[str, str, str]]:
    return [(disk.role, disk.device, disk.bus) for disk in guest(site, server).disks]


OWN = ["base.img", "disk.qcow2"]
BESIDE = ["base.img", "disk.qcow2", "rescue+", "rescue+"]
"""With the rescue disk, and the image that it stands on."""


async def test_a_rescued_server_boots_another_disk_with_its_own_beside_it_and_its_own_again(site: Site) -> None:
    server = await site.server("one")
    asked = {"rescue_image_ref": site.ids["other"], "adminPass": "secret"}
    reply = await act(site, server, "rescue", asked)
    assert (reply.status_code, reply.json()) == (200, {"adminPass": "secret"})
    found = await shown(site, server)
    assert (found["status"], found["OS-EXT-STS:vm_state"], found["OS-EXT-STS:task_state"]) == (
        "RESCUE",
        "rescued",
        None,
    )
    assert (found["OS-EXT-STS:power_state"], found["image"]["id"]) == (1, site.ids["image"])
    assert disks(site, server) == [("rescue", "vda", "virtio"), ("root", "vdb", "virtio")]
    assert files(site, server) == BESIDE
    made = agent_of(site, server)._builder.files(guest(site, server))  # type: ignore[union-attr]
    base = backing_file(made.disks["rescue"])
    assert base == made.bases["rescue"]
    assert base is not None
    assert base.read_bytes() == CONTENT
    assert guest(site, server).image.image_id == guest(site, server).rescue.image_id == site.ids["other"]

    assert (await act(site, server, "unrescue")).status_code == 202
    assert await status(site, server) == "ACTIVE"
    assert disks(site, server) == [("root", "vda", "virtio")]
    assert files(site, server) == OWN
    listed = (await site.ask("GET", f"{SERVERS}/{server}/os-instance-actions", version=HIGHEST)).json()
    assert [each["action"] for each in reversed(listed["instanceActions"])] == ["create", "rescue", "unrescue"]


async def test_while_it_is_rescued_it_can_be_reset_and_deleted_and_little_else(site: Site) -> None:
    server = await site.server("one")
    reply = await act(site, server, "rescue")
    assert len(reply.json()["adminPass"]) == 12
    assert guest(site, server).rescue.image_id == site.ids["image"], "the image that it is made of"
    for action, asked in (("rescue", None), ("os-stop", None), ("os-start", None), ("pause", None), ("suspend", None)):
        reply = await act(site, server, action, asked)
        assert reply.status_code == 409, action
        name = action.removeprefix("os-")
        said = f"Cannot '{name}' instance {server} while it is in vm_state rescued"
        assert reply.json()["conflictingRequest"]["message"] == said
    for action, asked in (
        ("reboot", {"type": "SOFT"}),
        ("reboot", {"type": "HARD"}),
        ("rebuild", {"imageRef": site.ids["other"]}),
        ("createImage", {"name": "x"}),
    ):
        assert (await act(site, server, action, asked)).status_code == 409, action
    assert await status(site, server) == "RESCUE"
    assert files(site, server) == BESIDE
    assert (await act(site, server, "trigger_crash_dump")).status_code == 202
    assert (await act(site, server, "os-resetState", {"state": "error"}, "admin")).status_code == 202
    assert (await act(site, server, "os-resetState", {"state": "active"}, "admin")).status_code == 202
    assert await status(site, server) == "RESCUE", "what its guest is"
    host = agent_of(site, server)
    assert (await site.ask("DELETE", f"{SERVERS}/{server}")).status_code == 204
    await site.cloud.settled()
    assert not (host._guests_dir / server).exists()


async def test_what_is_not_rescued_cannot_be_unrescued(site: Site) -> None:
    server = await site.server("one")
    reply = await act(site, server, "unrescue")
    said = f"Cannot 'unrescue' instance {server} while it is in vm_state active"
    assert (reply.status_code, reply.json()["conflictingRequest"]["message"]) == (409, said)
    await act(site, server, "os-stop")
    assert (await act(site, server, "rescue")).status_code == 200
    assert await status(site, server) == "RESCUE"
    machine(site, server).guests[server] = type(machine(site, server).guests[server]).SHUTDOWN
    await act(site, server, "unrescue")
    assert await status(site, server) == "ACTIVE"


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"hw_rescue_device": "disk"}, ("vdb", "virtio")),
        ({"hw_rescue_bus": "scsi"}, ("sda", "scsi")),
        ({"hw_rescue_device": "cdrom"}, ("hda", "ide")),
        ({"hw_rescue_device": "cdrom", "hw_rescue_bus": "sata"}, ("sda", "sata")),
        ({"hw_rescue_bus": "usb"}, ("sda", "usb")),
    ],
)
async def test_a_stable_rescue_leaves_all_disks_where_they_are(
    site: Site, properties: dict[str, str], expected: tuple[str, str]
) -> None:
    body = {"name": "one", "imageRef": site.ids["image"], "flavorRef": "0", "networks": "none", "config_drive": True}
    server = str((await site.ask("POST", SERVERS, {"server": body})).json()["server"]["id"])
    await site.cloud.settled()
    rescue = await image(site, "rescue", **properties)
    reply = await act(site, server, "rescue", {"rescue_image_ref": rescue})
    assert reply.status_code == 200, reply.text
    assert disks(site, server) == [("root", "vda", "virtio"), ("config", "hdd", "ide"), ("rescue", *expected)]
    assert guest(site, server).image.image_id == site.ids["image"]
    assert [disk.role for disk in guest(site, server).disks if disk.boot_index == 0] == ["rescue"]
    assert files(site, server) == sorted([*BESIDE, "config.iso", "config+"])
    await act(site, server, "unrescue")
    assert files(site, server) == sorted([*OWN, "config.iso"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"hw_rescue_device": "floppy"}, "hw_rescue_device"),
        ({"hw_rescue_bus": "xen"}, "hw_rescue_bus"),
        ({"hw_rescue_device": "cdrom", "hw_rescue_bus": "virtio"}, "is no bus of CDs"),
        ({"hw_rescue_bus": "usb", "hw_usb_model": "none"}, None),
        ({"hw_machine_type": "vax"}, "hw_machine_type"),
        ({"min_disk": 100}, "disk"),
        ({"min_ram": 100_000}, "memory"),
        (None, "Can not find requested image"),
    ],
)
async def test_an_image_that_does_not_do_is_refused_by_name(
    site: Site, fields: dict[str, Any] | None, said: str | None
) -> None:
    server = await site.server("one")
    ident = NOBODY if fields is None else await image(site, "bad", **fields)
    reply = await act(site, server, "rescue", {"rescue_image_ref": ident})
    if said is None:
        assert reply.status_code == 200, "the machine stays the server's, whatever the image says of it"
        return
    assert reply.status_code == 400, reply.text
    text = reply.json()["badRequest"]["message"]
    assert text.startswith(f"Requested rescue image '{ident}' is not supported: ")
    assert said in text
    assert await status(site, server) == "ACTIVE"


@pytest.mark.parametrize("asked", [{"adminPass": 1}, {"rescue_image_ref": "x"}, {"other": 1}, []])
async def test_a_body_that_is_none_is_refused(site: Site, asked: Any) -> None:
    server = await site.server("one")
    assert (await act(site, server, "rescue", asked)).status_code == 400


@pytest.mark.parametrize("operation", ["adopt_image", "create_overlay", "shut_down", "start"])
@pytest.mark.parametrize("off", [False, True])
async def test_a_rescue_that_fails_leaves_the_server_as_it_was(site: Site, operation: str, off: bool) -> None:
    server = await site.server("one")
    if off:
        await act(site, server, "os-stop")
        if operation == "shut_down":
            return  # nothing is to be asked
    before = await status(site, server)
    host = machine(site, server)
    host.fail(operation, HostFailure("It broke.", stage="guest"))
    assert (await act(site, server, "rescue", {"rescue_image_ref": site.ids["other"]})).status_code == 200
    found = await shown(site, server)
    assert (found["status"], found["OS-EXT-STS:task_state"]) == (before, None)
    assert files(site, server) == OWN
    assert host.guests[server].off is off
    listed = (await site.ask("GET", f"{SERVERS}/{server}/os-instance-actions", version=HIGHEST)).json()
    assert "It broke." in str(listed) or listed["instanceActions"][0]["message"]
    assert (await act(site, server, "rescue")).status_code == 200
    assert await status(site, server) == "RESCUE"


async def test_an_unrescue_that_fails_leaves_the_server_rescued(site: Site) -> None:
    server = await site.server("one")
    await act(site, server, "rescue")
    machine(site, server).fail("start", HostFailure("It broke.", stage="guest"))
    await act(site, server, "unrescue")
    assert await status(site, server) == "RESCUE"
    assert files(site, server) == BESIDE
    assert not machine(site, server).guests[server].off
    await act(site, server, "unrescue")
    assert await status(site, server) == "ACTIVE"
    assert files(site, server) == OWN


async def test_one_that_is_deleted_for_a_while_comes_back_rescued(site: Site) -> None:
    server = await site.server("one")
    assert (await act(site, server, "rescue", {"rescue_image_ref": site.ids["other"]})).status_code == 200
    cloud, found = site.cloud.node.cloud, await shown(site, server)
    cloud = replace(cloud, settings=replace(cloud.settings, reclaim_instance_interval=3600.0))
    user = Context(request_id="r", user_id=found["user_id"], project_id=found["tenant_id"], roles=frozenset({"member"}))
    await soft_deletes.delete(cloud, user, server)
    await site.cloud.settled()
    assert await status(site, server) == "SOFT_DELETED"
    assert (await act(site, server, "restore")).status_code == 202
    assert await status(site, server) == "RESCUE"
    assert (await shown(site, server))["OS-EXT-STS:power_state"] == 1
    assert (await act(site, server, "unrescue")).status_code == 202
    assert await status(site, server) == "ACTIVE"
    assert files(site, server) == OWN
