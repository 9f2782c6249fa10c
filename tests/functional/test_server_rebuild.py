"""Servers that are rebuilt: what users may ask for, what their hosts make of it, and what is left where that fails."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sites import SERVERS, Site, furnished, refused

from floe.agent.agent import Agent
from floe.agent.image_eviction import backing_file
from floe.core.errors import HostFailure
from floe.dataplane.fake import FakePlane
from floe.hypervisors.fake import FakeHost, FakeHypervisor
from floe.testing import EmbeddedCloud

NOBODY = "99999999-9999-4999-8999-999999999999"
HIGHEST = "2.96"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEmmRjaLBzQjFmZSLDtZPPdzwAJPxgFLUQmbEvqNFJJX"


@pytest.fixture
async def site(embedded: EmbeddedCloud) -> AsyncIterator[Site]:
    """Give a cloud with two images and a network."""
    async with furnished(embedded) as made:
        made.ids["other"] = await image(made, "other")
        yield made


async def image(site: Site, name: str, content: bytes = b"\1" * 8192, **more: Any) -> str:
    """Upload an image."""
    fields = {"name": name, "disk_format": "raw", "container_format": "bare", **more}
    made = await site.ask("POST", "/image/v2/images", fields)
    assert made.status_code == 201, made.text
    kind = {"content-type": "application/octet-stream", "x-auth-token": site.tokens["demo"]}
    ident: str = made.json()["id"]
    await site.http.put(f"/image/v2/images/{ident}/file", content=content, headers=kind)
    return ident


async def rebuild(site: Site, server: str, version: str = HIGHEST, who: str = "demo", **asked: Any) -> httpx.Response:
    """Ask for a rebuild, from the other image if none is named, and wait for what becomes of it."""
    asked = {"imageRef": site.ids["other"], **asked}
    reply: httpx.Response = await site.act(server, "rebuild", who, version, **asked)
    return reply


async def rebuilt(site: Site, server: str, version: str = HIGHEST, **asked: Any) -> dict[str, Any]:
    reply = await rebuild(site, server, version, **asked)
    assert reply.status_code == 202, reply.text
    found: dict[str, Any] = reply.json()["server"]
    return found


async def shown(site: Site, server: str, who: str = "demo") -> dict[str, Any]:
    found: dict[str, Any] = (await site.ask("GET", f"{SERVERS}/{server}", None, who, HIGHEST)).json()["server"]
    return found


def agent_of(site: Site, server: str) -> Agent:
    """Return the agent of the host that has a server's guest."""
    return next(agent for agent in site.cloud.node.agents if (agent._guests_dir / server).exists())


def machine(site: Site, server: str) -> FakeHost:
    hypervisor = agent_of(site, server)._hypervisor
    assert isinstance(hypervisor, FakeHypervisor)
    return hypervisor.host


def folder(site: Site, server: str) -> Path:
    return agent_of(site, server)._guests_dir / server


def disks(site: Site, server: str) -> list[str]:
    """Return the names of all files of a guest's disks, less the number that a rebuild gives them."""
    there = folder(site, server)
    names = [path.name for path in (*there.iterdir(), *(there / "images").iterdir()) if path.is_file()]
    return sorted(f"{name.split('-')[0]}+" if "-" in name else name for name in names if "console" not in name)


def is_sound(site: Site, server: str) -> None:
    """See that the guest's root disk stands on a file that is the bytes of the image that its server has."""
    guest = agent_of(site, server)._ledger.guests[server]  # type: ignore[union-attr]
    files = agent_of(site, server)._builder.files(guest)  # type: ignore[union-attr]
    base = backing_file(files.disks["root"])
    assert base == files.bases["root"]
    content = {site.ids["image"]: b"\0" * 4096, site.ids["other"]: b"\1" * 8192}
    assert base is not None
    assert base.read_bytes() == content[guest.image.image_id]


async def events(site: Site, server: str) -> list[tuple[str, str | None]]:
    """Return the server's actions, the earliest first, with why they failed."""
    found = (await site.ask("GET", f"{SERVERS}/{server}/os-instance-actions", version=HIGHEST)).json()
    return [(each["action"], each["message"]) for each in reversed(found["instanceActions"])]


async def test_a_running_server_is_rebuilt_from_another_image(site: Site) -> None:
    server = await site.server("one")
    before = await shown(site, server)
    answer = await rebuilt(site, server, name="two", metadata={"a": "b"}, adminPass="secret", description="d")
    assert (answer["status"], answer["image"]["id"], answer["name"]) == ("REBUILD", site.ids["other"], "two")
    assert (answer["adminPass"], answer["metadata"], answer["user_data"]) == ("secret", {"a": "b"}, None)
    after = await shown(site, server)
    assert (after["status"], after["image"]["id"], after["description"]) == ("ACTIVE", site.ids["other"], "d")
    assert after["addresses"] == before["addresses"]
    assert after["hostId"] == before["hostId"]
    assert disks(site, server) == ["base+", "disk+"], "nothing of what it was is left"
    is_sound(site, server)
    assert await events(site, server) == [("create", None), ("rebuild", None)]
    assert machine(site, server).guests[server].name == "RUNNING"
    again = await rebuilt(site, server, imageRef=site.ids["image"])
    assert len(again["adminPass"]) == 12
    assert disks(site, server) == ["base+", "disk+"]
    is_sound(site, server)


async def flavor(site: Site, **more: Any) -> str:
    fields = {"name": "roomy", "ram": 128, "vcpus": 1, "disk": 1, "OS-FLV-EXT-DATA:ephemeral": 1, "swap": 64, **more}
    made = await site.ask("POST", "/compute/v2.1/flavors", {"flavor": fields}, "admin")
    assert made.status_code == 200, made.text
    return str(made.json()["flavor"]["id"])


async def made(site: Site, **more: Any) -> str:
    """Make a server with something particular."""
    body = {"name": "one", "imageRef": site.ids["image"], "flavorRef": "0", "networks": "none", **more}
    reply = await site.ask("POST", SERVERS, {"server": body}, version=HIGHEST)
    assert reply.status_code == 202, reply.text
    await site.cloud.settled()
    return str(reply.json()["server"]["id"])


def guest(site: Site, server: str) -> Any:
    ledger = agent_of(site, server)._ledger
    assert ledger is not None
    return ledger.guests[server]


@pytest.mark.parametrize("operation", ["adopt_image", "create_overlay", "end", "start"])
async def test_what_a_host_cannot_do_leaves_the_server_what_it_was(site: Site, operation: str) -> None:
    server = await site.server("one")
    before, files = await shown(site, server), disks(site, server)
    boots = machine(site, server).boots.get(server)
    machine(site, server).fail(operation, HostFailure("It broke.", stage="disk"))
    asked = {"name": "two", "metadata": {"a": "b"}, "hostname": "two", "user_data": "YQ==", "key_name": None}
    answer = await rebuilt(site, server, **asked)
    assert answer["name"] == "two"
    after = await shown(site, server)
    assert after | {"updated": ""} == before | {"updated": ""}
    assert disks(site, server) == files == ["base.img", "disk.qcow2"]
    is_sound(site, server)
    assert machine(site, server).guests[server].name == "RUNNING"
    assert operation == "start" or machine(site, server).boots.get(server) == boots, "it was not even turned off"
    told = guest(site, server).metadata
    assert (told.name, told.hostname, told.user_data) == ("one", "one", None)
    assert (await events(site, server))[1] == ("rebuild", "It broke.")
    await rebuilt(site, server)
    is_sound(site, server)
    assert (await shown(site, server))["image"]["id"] == site.ids["other"]


async def test_a_stopped_server_stays_off_and_starts_from_what_it_was_given(site: Site) -> None:
    server = await site.server("one")
    await site.act(server, "os-stop")
    await rebuilt(site, server)
    assert (await shown(site, server))["status"] == "SHUTOFF"
    assert machine(site, server).guests[server].name == "SHUTDOWN"
    is_sound(site, server)
    await site.act(server, "os-start")
    assert (await shown(site, server))["status"] == "ACTIVE"
    await site.act(server, "pause")
    await site.act(server, "unpause")
    assert machine(site, server).guests[server].name == "RUNNING"


async def test_a_server_in_error_is_active_again(site: Site) -> None:
    server = await site.server("one")
    await site.act(server, "os-resetState", "admin", state="error")
    assert (await shown(site, server))["status"] == "ERROR"
    await rebuilt(site, server)
    after = await shown(site, server)
    assert (after["status"], "fault" in after) == ("ACTIVE", False)


@pytest.mark.parametrize(("action", "state"), [("pause", "paused"), ("suspend", "suspended")])
async def test_it_begins_where_nova_lets_it(site: Site, action: str, state: str) -> None:
    server = await site.server("one")
    await site.act(server, action)
    refused(await rebuild(site, server), 409, f"Cannot 'rebuild' instance {server} while it is in vm_state {state}")
    assert disks(site, server) == ["base.img", "disk.qcow2"]


@pytest.mark.parametrize(
    ("asked", "status", "text"),
    [
        ({"imageRef": NOBODY}, 400, "is no image you can see"),
        ({"imageRef": "x"}, 400, "imageRef"),
        ({"metadata": {str(number): "v" for number in range(129)}}, 403, "metadata_items"),
        ({"user_data": "?"}, 400, "not base64"),
        ({"user_data": "A" * 65536}, 400, "65535"),
        ({"key_name": "nobody's"}, 400, "Invalid key_name provided"),
        ({"hostname": "-"}, 400, "hostname"),
        ({"accessIPv4": "x"}, 400, "accessIPv4"),
        ({"preserve_ephemeral": "maybe"}, 400, "preserve_ephemeral"),
        ({"trusted_image_certificates": [NOBODY]}, 400, "trusted_image_certificates is given"),
        ({"personality": []}, 400, "personality"),
        ({"OS-DCF:diskConfig": "AUTOMATIC"}, 400, "diskConfig"),
        ({"name": " "}, 400, "name"),
    ],
)
async def test_what_cannot_be_is_refused_and_changes_nothing(site: Site, asked: Any, status: int, text: str) -> None:
    server = await site.server("one")
    before = await shown(site, server)
    refused(await rebuild(site, server, **asked), status, text)
    assert await shown(site, server) == before
    assert await events(site, server) == [("create", None)]


async def test_files_are_counted_where_they_are_taken(site: Site) -> None:
    server = await made(site, config_drive=True)
    asked = {"personality": [{"path": f"/{number}", "contents": "YQ=="} for number in range(6)]}
    refused(await rebuild(site, server, "2.56", **asked), 403, "injected_files")
    await rebuilt(site, server, "2.56", personality=[{"path": "/etc/motd", "contents": "aGVsbG8="}])
    assert guest(site, server).metadata.files == (("/etc/motd", "aGVsbG8="),)
    await rebuilt(site, server)
    assert guest(site, server).metadata.files == (), "they went with the disk that they were on"


@pytest.mark.parametrize(
    ("more", "text"),
    [({"min_ram": 4096}, "memory is too small"), ({"min_disk": 50}, "disk is too small")],
)
async def test_an_image_that_its_flavor_has_no_room_for_is_refused(site: Site, more: Any, text: str) -> None:
    server = await site.server("one")
    refused(await rebuild(site, server, imageRef=await image(site, "large", **more)), 400, text)


@pytest.mark.parametrize(
    "asks", [{"hw_architecture": "aarch64"}, {"trait:HW_CPU_X86_AVX512F": "required"}, {"img_hv_type": "qemu"}]
)
async def test_an_image_that_its_host_cannot_run_leaves_it_as_it_was(site: Site, asks: dict[str, str]) -> None:
    server = await site.server("one")
    before = await shown(site, server)
    await rebuilt(site, server, imageRef=await image(site, "strange", **asks))
    after = await shown(site, server)
    assert after | {"updated": ""} == before | {"updated": ""}
    assert "No valid host" in str((await events(site, server))[1][1])
    assert disks(site, server) == ["base.img", "disk.qcow2"]


async def test_it_claims_nothing_a_second_time(site: Site) -> None:
    server = await made(site, flavorRef=await flavor(site, disk=3000))  # of 4,096 GiB that its host has
    usage = "/compute/v2.1/os-hypervisors/statistics"
    before = (await site.ask("GET", usage, None, "admin")).json()
    await rebuilt(site, server)
    assert (await shown(site, server))["image"]["id"] == site.ids["other"]
    after = (await site.ask("GET", usage, None, "admin")).json()
    assert after["hypervisor_statistics"]["local_gb_used"] == before["hypervisor_statistics"]["local_gb_used"] >= 3000


@pytest.mark.parametrize("preserve", [True, False])
async def test_disks_beside_the_root_are_made_anew_or_kept(site: Site, preserve: bool) -> None:
    server = await made(site, flavorRef=await flavor(site))
    ephemeral = folder(site, server) / "ephemeral.raw"
    ephemeral.write_bytes(b"QFI\xfb" + b"of its user")  # what a guest may write there: it is of no other format for it
    await rebuilt(site, server, preserve_ephemeral=preserve)
    by_role = {disk.role: disk for disk in guest(site, server).disks}
    assert (by_role["ephemeral0"].make == by_role["swap"].make == 0) is preserve
    files = agent_of(site, server)._builder.files(guest(site, server))  # type: ignore[union-attr]
    assert files.disks["ephemeral0"].read_bytes().startswith(b"QFI\xfb") is preserve
    assert ephemeral.exists() is preserve
    await rebuilt(site, server, preserve_ephemeral=True)
    assert files.disks["ephemeral0"].exists()


async def test_a_kept_disk_that_is_gone_is_not_made_of_nothing(site: Site) -> None:
    server = await made(site, flavorRef=await flavor(site))
    (folder(site, server) / "ephemeral.raw").unlink()
    await rebuilt(site, server, preserve_ephemeral=True)
    assert "ephemeral0 disk of the guest is not on this host any more" in str((await events(site, server))[1][1])
    assert (await shown(site, server))["image"]["id"] == site.ids["image"]


async def test_the_guest_is_told_what_it_is_now(site: Site) -> None:
    pair = {"name": "mine", "public_key": KEY, "type": "ssh"}
    assert (await site.ask("POST", "/compute/v2.1/os-keypairs", {"keypair": pair}, version=HIGHEST)).status_code == 201
    server = await made(site, config_drive=True)
    drive = next(folder(site, server).glob("config*.iso"))
    assert b"new-secret" not in drive.read_bytes()
    text = base64.b64encode(b"#!/bin/sh\n").decode()
    more = {"user_data": text, "hostname": "fresh", "key_name": "mine", "metadata": {"role": "db"}}
    answer = await rebuilt(site, server, adminPass="new-secret", **more)
    assert (answer["key_name"], answer["user_data"]) == ("mine", text)
    drive = next(folder(site, server).glob("config*.iso"))
    content = drive.read_bytes()
    assert all(word in content for word in (b"#!/bin/sh\n", b"fresh", b"new-secret", b'"role": "db"', KEY.encode()))
    told = guest(site, server).metadata
    assert (told.user_data, told.hostname, told.admin_password) == (text, "fresh", None)
    assert (folder(site, server) / "console.log").read_text().count("starts") == 1, "its console is anew"
    await rebuilt(site, server)
    assert (guest(site, server).metadata.user_data, len(told.keys)) == (text, 1), "what is not named stays"
    await rebuilt(site, server, user_data=None, key_name=None)
    assert (guest(site, server).metadata.user_data, guest(site, server).metadata.keys) == (None, ())


async def test_the_new_image_says_what_the_hardware_is(site: Site) -> None:
    server = await site.server("one")
    await rebuilt(site, server, imageRef=await image(site, "scsi", hw_disk_bus="scsi", hw_vif_model="e1000"))
    found = guest(site, server)
    assert [(disk.bus, disk.device) for disk in found.disks] == [("scsi", "sda")]
    assert [nic.model for nic in found.nics] == ["e1000"]
    seen = (await site.ask("GET", f"{SERVERS}/{server}", None, "admin", HIGHEST)).json()["server"]
    assert seen["OS-EXT-SRV-ATTR:root_device_name"] == "/dev/sda"


async def test_who_has_no_right_to_it_is_told_so(site: Site) -> None:
    server = await site.server("one")
    await site.act(server, "lock")
    refused(await rebuild(site, server), 409, "is locked")
    assert (await rebuild(site, server, who="admin")).status_code in {202, 400}
    site.tokens["nobody"] = "x"
    assert (await rebuild(site, server, who="nobody")).status_code == 401


async def test_a_server_that_was_rebuilt_is_deleted_whole(site: Site) -> None:
    server = await site.server("one")
    await rebuilt(site, server)
    there, host = folder(site, server), machine(site, server)
    await site.ask("DELETE", f"{SERVERS}/{server}")
    await site.cloud.settled()
    assert not there.exists()
    assert server not in host.guests


async def forget(site: Site, server: str) -> None:
    """Have the host of a server lose its ledger."""
    agent = agent_of(site, server)
    await agent.crash()
    (agent._state_dir / "ledger.jsonl").unlink()
    await agent.start()
    await site.cloud.settled()


async def test_a_host_that_has_forgotten_its_guest_rebuilds_it(site: Site) -> None:
    server = await site.server("one")
    await forget(site, server)
    await rebuilt(site, server)
    is_sound(site, server)
    assert disks(site, server) == ["base+", "disk+"]
    await forget(site, server)
    machine(site, server).fail("start")
    await rebuilt(site, server, imageRef=site.ids["image"])
    assert (await shown(site, server))["image"]["id"] == site.ids["other"]
    is_sound(site, server)
    await site.act(server, "reboot", type="HARD")
    assert (await shown(site, server))["status"] == "ACTIVE"
    assert machine(site, server).nics[server], "with the NIC that it had"


async def test_the_taps_of_a_guest_are_of_the_kind_that_its_new_image_asks_for(site: Site) -> None:
    """They are made anew between its end and its start, also where that fails and it is what it was."""
    server = await site.server("one", flavor="3")
    plane = agent_of(site, server)._plane
    assert isinstance(plane, FakePlane)
    (nic,) = guest(site, server).nics
    several = await image(site, "several", hw_vif_multiqueue_enabled="true")
    assert (nic.queues, plane.applied.queued) == (1, frozenset())
    await rebuilt(site, server, imageRef=several)
    assert guest(site, server).nics[0].queues == 2
    assert plane.applied.queued == {nic.port_id}
    machine(site, server).fail("start")
    await rebuilt(site, server)
    assert (await shown(site, server))["image"]["id"] == several
    assert plane.applied.queued == {nic.port_id}
    await rebuilt(site, server)
    assert plane.applied.queued == frozenset()


async def test_variables_of_firmware_go_with_the_disk_that_they_say_how_to_boot(site: Site) -> None:
    server = await site.server("one")
    (folder(site, server) / "variables.fd").write_bytes(b"written by the guest")
    machine(site, server).fail("start")
    await rebuilt(site, server)
    assert disks(site, server) == ["base.img", "disk.qcow2", "variables.fd"], "it is what it was"
    await rebuilt(site, server)
    assert disks(site, server) == ["base+", "disk+"]
