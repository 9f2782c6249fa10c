"""Servers that are resized: what users may ask for, what is kept until they have decided, and what is left after."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from sites import SERVERS, Site, furnished

from floe.agent.agent import Agent
from floe.cloud import server_resize, soft_deletes
from floe.core.context import Context
from floe.core.messages import UpdateMetadata
from floe.hypervisors.fake import FakeHost, FakeHypervisor
from floe.store import servers as rows
from floe.testing import EmbeddedCloud

HIGHEST = "2.96"


@pytest.fixture
async def site(embedded: EmbeddedCloud) -> AsyncIterator[Site]:
    """Give a cloud with an image, a network, and flavors to grow to."""
    async with furnished(embedded) as made:
        made.ids["small"] = await flavor(made, "small", ram=128, vcpus=1, disk=1)
        made.ids["large"] = await flavor(made, "large", ram=256, vcpus=2, disk=2)
        yield made


async def flavor(site: Site, name: str, **more: Any) -> str:
    made = await site.ask("POST", "/compute/v2.1/flavors", {"flavor": {"name": name, **more}}, "admin")
    assert made.status_code == 200, made.text
    return str(made.json()["flavor"]["id"])


async def made(site: Site, flavor_id: str) -> str:
    """Make a server of a flavor."""
    asked = {
        "name": "one",
        "imageRef": site.ids["image"],
        "flavorRef": flavor_id,
        "networks": [{"uuid": site.ids["inner"]}],
    }
    reply = await site.ask("POST", SERVERS, {"server": asked}, "demo", HIGHEST)
    assert reply.status_code == 202, reply.text
    await site.cloud.settled()
    return str(reply.json()["server"]["id"])


async def shown(site: Site, server: str) -> dict[str, Any]:
    found: dict[str, Any] = (await site.ask("GET", f"{SERVERS}/{server}", None, "admin", HIGHEST)).json()["server"]
    return found


async def act(site: Site, server: str, action: str, who: str = "demo", **asked: Any) -> httpx.Response:
    reply: httpx.Response = await site.act(server, action, who, HIGHEST, **asked)
    return reply


async def resized(site: Site, server: str, name: str = "large") -> None:
    reply = await act(site, server, "resize", flavorRef=site.ids["large"])
    assert reply.status_code == 202, reply.text
    now = await shown(site, server)
    assert (now["status"], now["flavor"]["original_name"], now["flavor"]["disk"]) == ("VERIFY_RESIZE", name, 2), now


def agent_of(site: Site, server: str) -> Agent:
    return next(agent for agent in site.cloud.node.agents if (agent._guests_dir / server).exists())


def machine(site: Site, server: str) -> FakeHost:
    hypervisor = agent_of(site, server)._hypervisor
    assert isinstance(hypervisor, FakeHypervisor)
    return hypervisor.host


def disks(site: Site, server: str) -> list[Path]:
    folder = agent_of(site, server)._guests_dir / server
    return sorted(path for path in folder.iterdir() if path.suffix in {".qcow2", ".raw", ".iso", ".partial"})


def memory(site: Site, server: str) -> int:
    return agent_of(site, server)._ledger.guests[server].memory_mib  # type: ignore[union-attr]


async def claims(site: Site, server: str) -> dict[str, int]:
    found = (await site.ask("GET", f"/placement/allocations/{server}", None, "admin")).json()["allocations"]
    (only,) = found.values()
    return dict(only["resources"])


async def events(site: Site, server: str) -> list[tuple[str, str | None]]:
    found = (await site.ask("GET", f"{SERVERS}/{server}/os-instance-actions", version=HIGHEST)).json()
    return [(each["action"], each["message"]) for each in reversed(found["instanceActions"])]


def head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


async def audit(site: Site) -> list[Any]:
    """Return what is not as it must be."""
    reply = await site.ask("GET", "/floe/v1/audit", None, "admin")
    assert reply.status_code == 200, reply.text
    return list(reply.json()["violations"])


def write(path: Path, text: bytes) -> None:
    """Write what a guest has on its disk."""
    with path.open("ab") as file:
        file.write(text)


async def test_a_resize_that_is_confirmed_keeps_the_disk_and_drops_what_was(site: Site) -> None:
    server = await made(site, site.ids["small"])
    (old,) = disks(site, server)
    write(old, b"what the guest wrote")
    await resized(site, server)
    (new,) = set(disks(site, server)) - {old}
    assert new.read_bytes() == old.read_bytes()
    assert memory(site, server) == 256
    assert await claims(site, server) == {"VCPU": 3, "MEMORY_MB": 384, "DISK_GB": 3}, "both, on the one host"
    reply = await act(site, server, "confirmResize")
    assert reply.status_code == 204
    now = await shown(site, server)
    assert (now["status"], now["flavor"]["original_name"]) == ("ACTIVE", "large")
    assert disks(site, server) == [new]
    assert await claims(site, server) == {"VCPU": 2, "MEMORY_MB": 256, "DISK_GB": 2}
    assert machine(site, server).guests[server].name == "RUNNING"
    assert await events(site, server) == [("create", None), ("resize", None), ("confirmResize", None)]
    assert await audit(site) == []


async def test_a_resize_that_is_reverted_brings_back_exactly_what_was(site: Site) -> None:
    server = await made(site, site.ids["small"])
    (old,) = disks(site, server)
    write(old, b"before")
    before, content = await shown(site, server), old.read_bytes()
    reply = await act(site, server, "resize", flavorRef=site.ids["large"], **{"OS-DCF:diskConfig": "MANUAL"})
    assert reply.status_code == 202
    write(next(path for path in disks(site, server) if path != old), b"after")
    assert (await act(site, server, "revertResize")).status_code == 202
    now = await shown(site, server)
    different = {name for name in now if now[name] != before[name]}
    assert different <= {"updated"}, "and that alone"
    assert (disks(site, server), old.read_bytes(), memory(site, server)) == ([old], content, 128)
    assert await claims(site, server) == {"VCPU": 1, "MEMORY_MB": 128, "DISK_GB": 1}
    assert machine(site, server).guests[server].name == "RUNNING"
    assert await audit(site) == []
    await resized(site, server)
    await act(site, server, "revertResize")
    assert disks(site, server) == [old], "as often as one likes"


async def test_a_server_that_is_off_stays_off(site: Site) -> None:
    server = await made(site, site.ids["small"])
    for end in ("confirmResize", "revertResize"):
        await act(site, server, "os-stop")
        reply = await act(site, server, "resize", flavorRef=site.ids["large" if end == "confirmResize" else "wide"])
        assert reply.status_code == 202, reply.text
        assert (await shown(site, server))["status"] == "VERIFY_RESIZE"
        assert machine(site, server).guests[server].name == "SHUTDOWN"
        await act(site, server, end)
        assert (await shown(site, server))["status"] == "SHUTOFF"
        site.ids["wide"] = site.ids.get("wide") or await flavor(site, "wide", ram=128, vcpus=1, disk=3)
    await act(site, server, "os-start")
    now = await shown(site, server)
    assert (now["status"], now["flavor"]["original_name"]) == ("ACTIVE", "large")


@pytest.mark.parametrize("operation", ["shut_down", "clone_disk", "create_blank", "start"])
async def test_a_host_that_cannot_do_it_leaves_the_server_what_it_was(site: Site, operation: str) -> None:
    server = await made(site, site.ids["small"])
    (old,) = disks(site, server)
    before, claimed = await shown(site, server), await claims(site, server)
    site.ids["large"] = await flavor(site, "swapping", ram=256, vcpus=2, disk=2, swap=64)
    machine(site, server).fail(operation)
    reply = await act(site, server, "resize", flavorRef=site.ids["large"])
    assert reply.status_code == 202
    now = await shown(site, server)
    assert (now["status"], now["flavor"], now["OS-EXT-STS:task_state"]) == ("ACTIVE", before["flavor"], None)
    assert (disks(site, server), memory(site, server)) == ([old], 128)
    assert machine(site, server).guests[server].name == "RUNNING"
    assert await claims(site, server) == claimed
    assert (await events(site, server))[-1][1], "and its history says why"
    assert await audit(site) == []
    await resized(site, server, "swapping")


async def test_a_guest_that_heard_of_its_new_flavor_is_told_when_it_does_not_get_it(site: Site) -> None:
    server = await made(site, site.ids["small"])
    agent = agent_of(site, server)
    assert agent._ledger is not None
    told = agent._ledger.guests[server].metadata
    other = UpdateMetadata(server_id=server, metadata=replace(told, flavor_name="large"))
    await site.cloud.node.cloud.bus.request(agent.host, other, timeout=5.0)  # as a host that was away is told
    machine(site, server).fail("clone_disk")
    assert (await act(site, server, "resize", flavorRef=site.ids["large"])).status_code == 202
    await site.cloud.settled()
    assert (await shown(site, server))["flavor"]["original_name"] == "small"
    assert agent._ledger.guests[server].metadata == told


async def test_a_revert_that_fails_leaves_both_halves(site: Site) -> None:
    server = await made(site, site.ids["small"])
    await resized(site, server)
    there = disks(site, server)
    machine(site, server).fail("start")
    await act(site, server, "revertResize")
    now = await shown(site, server)
    assert (now["status"], now["flavor"]["original_name"]) == ("VERIFY_RESIZE", "large")
    assert (disks(site, server), memory(site, server)) == (there, 256)
    assert await audit(site) == []
    await act(site, server, "revertResize")
    assert ((await shown(site, server))["status"], memory(site, server)) == ("ACTIVE", 128)


async def test_a_confirm_that_fails_leaves_both_halves(site: Site) -> None:
    server = await made(site, site.ids["small"])
    await resized(site, server)
    there = disks(site, server)
    machine(site, server).fail("find")
    await act(site, server, "confirmResize")
    await site.cloud.settled()
    assert ((await shown(site, server))["status"], disks(site, server)) == ("VERIFY_RESIZE", there)
    assert await audit(site) == []
    await act(site, server, "revertResize")
    assert ((await shown(site, server))["status"], memory(site, server)) == ("ACTIVE", 128)


async def test_what_waits_for_a_decision_can_be_deleted_and_little_else(site: Site) -> None:
    server = await made(site, site.ids["small"])
    await resized(site, server)
    for action, asked in (
        ("resize", {"flavorRef": site.ids["small"]}),
        ("rebuild", {"imageRef": site.ids["image"]}),
        ("reboot", {"type": "HARD"}),
        ("os-stop", {}),
    ):
        reply = await act(site, server, action, **asked)
        assert (action, reply.status_code) == (action, 409), reply.text
    reply = await site.ask("POST", f"{SERVERS}/{server}/action", {"trigger_crash_dump": None}, version=HIGHEST)
    await site.cloud.settled()
    assert (reply.status_code, machine(site, server).interrupts) == (202, {server: 1}), reply.text
    for state in ("error", "active"):  # by an administrator; nothing of what it was is lost by it
        assert (await act(site, server, "os-resetState", "admin", state=state)).status_code == 202
        if state == "error":
            assert (await act(site, server, "rebuild", imageRef=site.ids["image"])).status_code == 409
    assert (await shown(site, server))["status"] == "VERIFY_RESIZE"
    folder = agent_of(site, server)._guests_dir / server
    assert (await site.ask("DELETE", f"{SERVERS}/{server}")).status_code == 204
    await site.cloud.settled()
    assert not folder.exists()
    assert await audit(site) == []
    hosts = (await site.ask("GET", "/compute/v2.1/os-hypervisors/detail", None, "admin")).json()["hypervisors"]
    assert {each["memory_mb_used"] for each in hosts} == {hosts[0]["memory_mb"] - hosts[0]["free_ram_mb"]}


async def test_one_that_waits_for_a_decision_is_deleted_at_once_though_deletes_are_put_off(site: Site) -> None:
    server = await made(site, site.ids["small"])
    await resized(site, server)
    cloud, found = site.cloud.node.cloud, await shown(site, server)
    cloud = replace(cloud, settings=replace(cloud.settings, reclaim_instance_interval=3600.0))
    user = Context(request_id="r", user_id=found["user_id"], project_id=found["tenant_id"], roles=frozenset({"member"}))
    await soft_deletes.delete(cloud, user, server)
    await site.cloud.settled()
    assert (await site.ask("GET", f"{SERVERS}/{server}", None, "demo")).status_code == 404
    assert await audit(site) == []


async def test_what_cannot_be_is_refused_and_nothing_changes(site: Site) -> None:
    server = await made(site, site.ids["large"])
    before = await shown(site, server)
    none = await flavor(site, "none", ram=256, vcpus=1, disk=0)
    private = await flavor(site, "private", ram=256, vcpus=1, disk=2, **{"os-flavor-access:is_public": False})
    huge = await flavor(site, "huge", ram=10**6, vcpus=2, disk=2)
    refusals = (
        (site.ids["large"], 400, "must change flavor"),
        ("nope", 400, "could not be found"),
        (private, 400, "could not be found"),
        (site.ids["small"], 400, "smaller"),
        (none, 400, "zero disk"),
        (huge, 403, "ram: requested 999744"),
    )
    for asked, status, text in refusals:
        reply = await act(site, server, "resize", flavorRef=asked)
        assert (reply.status_code, text in reply.text) == (status, True), reply.text
    little, firmware = await flavor(site, "little", ram=128, vcpus=1, disk=2), {"hw_firmware_type": "uefi"}
    await site.cloud.node.cloud.db.write(lambda conn: rows.change(conn, server, image_properties=firmware))
    reply = await act(site, server, "resize", flavorRef=little)
    assert (reply.status_code, "'uefi' needs 192 MiB" in reply.text) == (400, True), reply.text
    for asked in ({}, {"flavorRef": ""}, {"flavorRef": huge, "more": 1}, {"flavorRef": huge, "OS-DCF:diskConfig": "x"}):
        assert (await act(site, server, "resize", **asked)).status_code == 400
    for action in ("confirmResize", "revertResize"):
        reply = await act(site, server, action)
        assert (reply.status_code, "vm_state active" in reply.text) == (409, True)
    await act(site, server, "lock")
    assert (await act(site, server, "resize", flavorRef=site.ids["small"])).status_code == 409
    after = await shown(site, server)
    assert (after["flavor"], after["status"]) == (before["flavor"], "ACTIVE")


async def test_the_limits_of_its_user_hold_too(site: Site) -> None:
    server = await made(site, site.ids["small"])
    found = await shown(site, server)
    limits = {"quota_set": {"ram": found["flavor"]["ram"]}}
    own = f"/compute/v2.1/os-quota-sets/{found['tenant_id']}?user_id={found['user_id']}"
    assert (await site.ask("PUT", own, limits, "admin")).status_code == 200
    refused = await act(site, server, "resize", flavorRef=site.ids["large"])
    assert (refused.status_code, "Quota of this user exceeded for ram" in refused.text) == (403, True), refused.text
    assert (await site.ask("DELETE", own, None, "admin")).status_code == 202
    await resized(site, server)


async def test_quotas_count_what_is_more_until_it_is_decided_so_that_a_revert_always_finds_room(site: Site) -> None:
    site.ids["lean"] = await flavor(site, "lean", ram=64, vcpus=2, disk=1)
    server = await made(site, site.ids["small"])

    async def used() -> tuple[int, int]:
        limits = (await site.ask("GET", "/compute/v2.1/limits")).json()["limits"]["absolute"]
        return limits["totalCoresUsed"], limits["totalRAMUsed"]

    assert await used() == (1, 128)
    for decision, after in (("revertResize", (1, 128)), ("confirmResize", (2, 64))):
        assert (await act(site, server, "resize", flavorRef=site.ids["lean"])).status_code == 202
        await site.cloud.settled()
        assert await used() == (2, 128)
        assert (await shown(site, server))["flavor"]["ram"] == 64
        assert await audit(site) == []
        assert (await act(site, server, decision)).status_code in {202, 204}
        await site.cloud.settled()
        assert await used() == after
    assert await audit(site) == []


async def test_a_host_without_room_for_both_is_no_valid_host(site: Site) -> None:
    server = await made(site, site.ids["small"])
    limits = {"quota_set": {"ram": -1, "cores": -1}}
    project = (await shown(site, server))["tenant_id"]
    assert (await site.ask("PUT", f"/compute/v2.1/os-quota-sets/{project}", limits, "admin")).status_code == 200
    vast = await flavor(site, "vast", ram=10**7, vcpus=2, disk=2)
    assert (await act(site, server, "resize", flavorRef=vast)).status_code == 202
    now = await shown(site, server)
    assert (now["status"], now["flavor"]["original_name"]) == ("ACTIVE", "small")
    assert "No valid host" in str((await events(site, server))[-1][1])
    assert await audit(site) == []


async def test_ephemeral_disks_are_kept_and_grow_and_swap_is_the_flavors(site: Site) -> None:
    both = {"ram": 128, "vcpus": 1, "disk": 1, "swap": 64, "OS-FLV-EXT-DATA:ephemeral": 1}
    server = await made(site, await flavor(site, "both", **both))
    old = {path.stem.split("-")[0]: path for path in disks(site, server)}
    with old["ephemeral"].open("r+b") as file:
        file.write(b"QFI\xfb: a head that the guest wrote, which is data")
    more = await flavor(site, "more", **{**both, "swap": 128, "OS-FLV-EXT-DATA:ephemeral": 2})
    assert (await act(site, server, "resize", flavorRef=more)).status_code == 202
    new = {path.stem.split("-")[0]: path for path in disks(site, server) if path not in old.values()}
    assert {role: path.stat().st_size >> 20 for role, path in new.items() if role != "disk"} == {
        "ephemeral": 2048,
        "swap": 128,
    }
    assert head(new["ephemeral"]) == b"QFI\xfb"
    await act(site, server, "confirmResize")
    less = await flavor(site, "less", ram=128, vcpus=1, disk=1)
    reply = await act(site, server, "resize", flavorRef=less)
    assert (reply.status_code, "ephemeral" in reply.text) == (400, True)


async def test_what_nobody_decides_is_confirmed_after_a_while(site: Site) -> None:
    server = await made(site, site.ids["small"])
    await resized(site, server)
    assert await server_resize.confirm_old(site.cloud.node.cloud) == 0, "unless the setting says so"
    for window, confirmed in ((3600.0, 0), (1e-6, 1)):
        settings = replace(site.cloud.node.cloud.settings, resize_confirm_window=window)
        cloud = replace(site.cloud.node.cloud, settings=settings)
        assert await server_resize.confirm_old(cloud) == confirmed
    await site.cloud.settled()
    assert ((await shown(site, server))["status"], len(disks(site, server))) == ("ACTIVE", 1)
    assert (await events(site, server))[-1] == ("confirmResize", None)


@pytest.mark.parametrize("off", [False, True], ids=["runs", "off"])
@pytest.mark.parametrize(("action", "size"), [("revertResize", 128), ("confirmResize", 256)])
async def test_a_host_that_forgot_the_guest_finds_out_which_it_is(
    site: Site, action: str, size: int, off: bool
) -> None:
    server = await made(site, site.ids["small"])
    if off:
        await act(site, server, "os-stop")
    await resized(site, server)
    agent_of(site, server)._ledger.guests.pop(server)  # type: ignore[union-attr]
    await act(site, server, action)
    assert ((await shown(site, server))["status"], memory(site, server)) == ("SHUTOFF" if off else "ACTIVE", size)
    assert len(disks(site, server)) == 1
    assert await audit(site) == []
