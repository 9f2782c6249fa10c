"""What users call the NICs and disks of their servers: shown, told to guests, and kept whatever becomes of servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace
from sites import PORTS, SERVERS, Site, furnished, refused

from floe.agent.agent import Agent
from floe.agent.tagged_devices import tagged
from floe.core.disks import Overlay
from floe.testing import EmbeddedCloud


@pytest.fixture
async def site(embedded: EmbeddedCloud) -> AsyncIterator[Site]:
    async with furnished(embedded) as made:
        yield made


async def made(site: Site, **fields: Any) -> str:
    """Make a server with a root disk, an own port and a NIC that are tagged."""
    root = {"source_type": "image", "destination_type": "local", "boot_index": 0, "uuid": site.ids["image"]}
    swap = {"source_type": "blank", "destination_type": "local", "guest_format": "swap", "tag": "no such disk"}
    port = await site.made("port", network_id=site.ids["inner"])
    site.ids["port"] = port["id"]
    body: dict[str, Any] = {
        "name": "one",
        "imageRef": site.ids["image"],
        "flavorRef": "1",
        "networks": [{"port": port["id"], "tag": "same"}, {"uuid": site.ids["inner"]}],
        "block_device_mapping_v2": [{**root, "tag": "same"}, swap],
        **fields,
    }
    reply = await site.ask("POST", SERVERS, {"server": body}, version="2.42")
    assert reply.status_code == 202, reply.text
    await site.cloud.settled()
    return str(reply.json()["server"]["id"])


async def agent_of(site: Site, server: str) -> Agent:
    """Return the agent of the host that a server is on."""
    shown = (await site.ask("GET", f"{SERVERS}/{server}", None, "admin")).json()["server"]
    (agent,) = (each for each in site.cloud.node.agents if each.host == shown["OS-EXT-SRV-ATTR:host"])
    return agent


async def told(site: Site, server: str) -> list[str]:
    """Return the tags that a guest is told of by its host."""
    ledger = (await agent_of(site, server))._ledger
    assert ledger is not None
    own = [port for port in ledger.network.ports.values() if port.server_id == server]
    own.sort(key=lambda port: port.nic)
    return [device.tag for device in tagged(ledger.guests[server], own, {})]


async def shown(site: Site, server: str) -> list[str | None]:
    path = f"{SERVERS}/{server}/os-interface"
    before = (await site.ask("GET", path, version="2.69")).json()["interfaceAttachments"]
    assert not any("tag" in each for each in before)
    found = (await site.ask("GET", path, version="2.70")).json()["interfaceAttachments"]
    return [each["tag"] for each in found]


async def test_tags_are_shown_told_and_kept_until_their_devices_go(site: Site) -> None:
    server = await made(site)
    assert (await shown(site, server), await told(site, server)) == (["same", None], ["same", "same"])
    asked = {"interfaceAttachment": {"net_id": site.ids["inner"], "tag": "later"}}
    reply = await site.ask("POST", f"{SERVERS}/{server}/os-interface", asked, version="2.70")
    assert (reply.status_code, reply.json()["interfaceAttachment"]["tag"]) == (200, "later")
    await site.cloud.settled()
    everything = ["same", "later", "same"]
    assert (await shown(site, server), await told(site, server)) == (["same", None, "later"], everything)
    for action, more in (
        ("rebuild", {"imageRef": site.ids["image"]}),
        ("rescue", {}),
        ("unrescue", {}),
        ("resize", {"flavorRef": "2"}),
        ("revertResize", {}),
        ("shelve", {}),
        ("unshelve", {}),
        ("migrate", {}),
    ):
        who = "admin" if action == "migrate" else "demo"
        reply = await site.ask("POST", f"{SERVERS}/{server}/action", {action: more or None}, who)
        assert reply.status_code in {200, 202}, (action, reply.text)
        await site.cloud.settled()
        if action == "shelve":
            assert await shown(site, server) == ["same", None, "later"]
            continue
        assert await told(site, server) == everything, action


async def test_several_disks_stay_what_they_are_whatever_becomes_of_their_server(site: Site) -> None:
    """Also on another host; and a legacy mapping makes the same."""
    flavor = {"name": "disks", "vcpus": 1, "ram": 512, "disk": 1, "OS-FLV-EXT-DATA:ephemeral": 4, "swap": 64}
    ident = (await site.ask("POST", "/compute/v2.1/flavors", {"flavor": flavor}, "admin")).json()["flavor"]["id"]
    smaller = {**flavor, "name": "small", "OS-FLV-EXT-DATA:ephemeral": 3}
    small = (await site.ask("POST", "/compute/v2.1/flavors", {"flavor": smaller}, "admin")).json()["flavor"]["id"]
    blank = {"source_type": "blank", "destination_type": "local", "volume_size": 1}
    asked = [{**blank, "guest_format": "vfat", "tag": "dos"}, {**blank, "disk_bus": "scsi", "volume_size": 2}]
    asked.append({**blank, "device_type": "cdrom"})
    server = await made(site, flavorRef=ident, block_device_mapping_v2=asked)
    before = await disks(site, server)
    assert [(disk.role, disk.device, disk.size_mib) for disk in before] == [
        ("root", "vda", 1024),
        ("ephemeral0", "vdb", 1024),
        ("ephemeral1", "sda", 2048),
        ("ephemeral2", "hda", 1024),
        ("swap", "vdc", 64),
    ]
    refused(await site.act(server, "resize", flavorRef=small), 400, "a disk cannot get smaller")
    for action, more in (
        ("rebuild", {"imageRef": site.ids["image"], "preserve_ephemeral": True}),
        ("resize", {"flavorRef": await bigger(site, flavor)}),
        ("confirmResize", None),
        ("rescue", {}),
        ("unrescue", None),
        ("shelve", None),
        ("unshelve", None),
        ("migrate", None),
    ):
        who = "admin" if action == "migrate" else "demo"
        reply = await site.ask("POST", f"{SERVERS}/{server}/action", {action: more}, who, "2.42")
        assert reply.status_code in {200, 202, 204}, (action, reply.text)
        await site.cloud.settled()
        if action in {"shelve", "rescue"}:
            continue
        assert as_made(await disks(site, server)) == as_made(before), action
    legacy = [{"virtual_name": "ephemeral0", "volume_size": "1"}, {"virtual_name": "ephemeral1", "volume_size": 3}]
    other = await made(site, flavorRef=ident, block_device_mapping_v2=[], block_device_mapping=legacy)
    assert [(disk.role, disk.size_mib) for disk in await disks(site, other)][1:] == [
        ("ephemeral0", 1024),
        ("ephemeral1", 3072),
        ("swap", 64),
    ]


async def bigger(site: Site, flavor: dict[str, Any]) -> str:
    more = {**flavor, "name": "large", "vcpus": 2, "OS-FLV-EXT-DATA:ephemeral": 9}
    return str((await site.ask("POST", "/compute/v2.1/flavors", {"flavor": more}, "admin")).json()["flavor"]["id"])


def as_made(disks: tuple[Any, ...]) -> list[Any]:
    """Return disks but for what is another one whenever they are made anew."""
    anew = {"make": 0}, {"make": 0, "base_make": None, "image_id": ""}
    return [replace(disk, **anew[isinstance(disk, Overlay)]) for disk in disks]


async def disks(site: Site, server: str) -> tuple[Any, ...]:
    """Return the disks of a server as its host has them, all of which are there."""
    agent = await agent_of(site, server)
    assert agent._ledger is not None and agent._builder is not None
    guest = agent._ledger.guests[server]
    assert all(path.exists() for path in agent._builder.files(guest).disks.values())
    return guest.disks


async def test_a_port_that_is_given_back_is_called_nothing_any_more(site: Site) -> None:
    server = await made(site)
    path = f"{SERVERS}/{server}/os-interface"
    assert (await site.ask("DELETE", f"{path}/{site.ids['port']}")).status_code == 202
    await site.cloud.settled()
    assert (await shown(site, server), await told(site, server)) == ([None], ["same"])
    again = {"interfaceAttachment": {"port_id": site.ids["port"]}}
    reply = await site.ask("POST", path, again, version="2.70")
    assert reply.json()["interfaceAttachment"]["tag"] is None
    assert "device_tag" not in (await site.ask("GET", f"{PORTS}/{site.ids['port']}")).json()["port"]
