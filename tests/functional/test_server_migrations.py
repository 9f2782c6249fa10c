"""What os-migrations lists of resizes: how far each is, page by page, for whom, and for how long."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sites import SERVERS, Site, furnished

from floe.cloud import history
from floe.hypervisors.fake import FakeHypervisor
from floe.testing import EmbeddedCloud

LIST = "/compute/v2.1/os-migrations"
HIGHEST = "2.96"


@pytest.fixture
async def site(embedded: EmbeddedCloud) -> AsyncIterator[Site]:
    """Give a cloud with an image, and flavors to grow to."""
    async with furnished(embedded) as made:
        for ident, more in (("101", {"ram": 128, "disk": 1}), ("large", {"ram": 256, "disk": 2})):
            asked = {"flavor": {"id": ident, "name": ident, "vcpus": 1, **more}}
            assert (await made.ask("POST", "/compute/v2.1/flavors", asked, "admin")).status_code == 200
        yield made


async def listed(site: Site, query: str = "", version: str = HIGHEST, who: str = "admin") -> list[dict[str, Any]]:
    reply = await site.ask("GET", f"{LIST}{query}", version=version, who=who)
    assert reply.status_code == 200, reply.text
    return list(reply.json()["migrations"])


async def act(site: Site, server: str, action: str, **asked: Any) -> None:
    reply = await site.act(server, action, "demo", HIGHEST, **asked)
    assert reply.status_code in {202, 204}, reply.text


async def status(site: Site, server: str) -> str:
    """Return how far the latest resize of a server is."""
    found = await listed(site, f"?instance_uuid={server}")
    return str(found[0]["status"])


async def test_a_resize_is_listed_with_what_was_and_what_is_to_be(site: Site) -> None:
    server = await site.server("one", None, "101")
    await act(site, server, "resize", flavorRef="large")
    (found,) = await listed(site)
    host = found["source_compute"]
    assert host
    times = found.pop("created_at"), found.pop("updated_at")
    assert times[0] < times[1]
    assert len(found.pop("uuid")) == 36
    who = {name: found.pop(name) for name in ("user_id", "project_id")}
    shown = (await site.ask("GET", f"{SERVERS}/{server}", who="admin")).json()["server"]
    assert who == {"user_id": shown["user_id"], "project_id": shown["tenant_id"]}
    assert found == {
        "id": 1,
        "instance_uuid": server,
        "status": "finished",
        "migration_type": "resize",
        **dict.fromkeys(("source_compute", "source_node", "dest_compute", "dest_node", "dest_host"), host),
        "old_instance_type_id": 101,
        "new_instance_type_id": (1 << 30) + zlib.crc32(b"large") % (1 << 30),
    }
    assert set((await listed(site, version="2.1"))[0]) == {*found, "created_at", "updated_at"} - {"migration_type"}
    assert set((await listed(site, version="2.58"))[0]) == {*found, "created_at", "updated_at"}
    assert (await site.ask("GET", f"{SERVERS}/{server}/migrations", version=HIGHEST, who="admin")).json() == {
        "migrations": []
    }, "those are live ones that are under way"


async def test_how_it_ends_is_told(site: Site) -> None:
    server = await site.server("one", None, "101")
    for decision, told in (("revertResize", "reverted"), ("confirmResize", "confirmed")):
        await act(site, server, "resize", flavorRef="large")
        assert await status(site, server) == "finished"
        await act(site, server, decision)
        assert await status(site, server) == told
    other = await site.server("other", None, "101")
    hypervisor = next(a for a in site.cloud.node.agents if (a._guests_dir / other).exists())._hypervisor
    assert isinstance(hypervisor, FakeHypervisor)
    hypervisor.host.fail("clone_disk")
    await act(site, other, "resize", flavorRef="large")
    assert await status(site, other) == "error"
    await act(site, other, "resize", flavorRef="large")
    assert (await site.ask("DELETE", f"{SERVERS}/{other}")).status_code == 204
    await site.cloud.settled()
    assert await status(site, other) == "confirmed", "as Nova confirms what is deleted"
    assert [each["status"] for each in await listed(site)] == ["confirmed", "error", "confirmed", "reverted"]


async def test_pages_filters_and_times(site: Site) -> None:
    servers = [await site.server(name, None, "101") for name in ("one", "two")]
    for server in (*servers, *servers):
        await act(site, server, "resize", flavorRef="large")
        await act(site, server, "revertResize")
    every = await listed(site)
    assert [each["id"] for each in every] == [4, 3, 2, 1]
    first = await site.ask("GET", f"{LIST}?limit=3", version=HIGHEST, who="admin")
    assert [each["id"] for each in first.json()["migrations"]] == [4, 3, 2]
    (link,) = first.json()["migrations_links"]
    assert link["rel"] == "next"
    assert f"marker={every[2]['uuid']}" in link["href"]
    assert [each["id"] for each in await listed(site, f"?limit=3&marker={every[2]['uuid']}")] == [1]
    refused = await site.ask("GET", f"{LIST}?marker=nobody", version=HIGHEST, who="admin")
    assert refused.status_code == 400
    host, last, project = every[0]["source_compute"], every[1]["updated_at"], every[0]["project_id"]
    there = [each["id"] for each in every if each["dest_compute"] == host]
    for query, ids in (
        (f"?instance_uuid={servers[0]}", [3, 1]),
        ("?status=reverted", [4, 3, 2, 1]),
        ("?status=finished", []),
        ("?migration_type=resize&status=reverted&limit=1", [4]),
        ("?migration_type=evacuation", []),
        (f"?host={host}", there),
        (f"?source_compute={host}", there),
        ("?host=elsewhere", []),
        ("?hidden=1", []),
        (f"?changes-since={last}Z", [4, 3]),
        (f"?changes-before={last}Z", [3, 2, 1]),
        (f"?project_id={project}", [4, 3, 2, 1]),
        ("?user_id=nobody", []),
    ):
        assert [each["id"] for each in await listed(site, query)] == ids, query


async def test_what_was_decided_is_forgotten_with_other_history_and_what_waits_is_not(site: Site) -> None:
    server = await site.server("one", None, "101")
    for _ in range(2):
        await act(site, server, "resize", flavorRef="large")
        await act(site, server, "revertResize")
    await act(site, server, "resize", flavorRef="large")
    cloud = site.cloud.node.cloud

    async def pause(_seconds: float) -> None:
        """Wait for nobody."""

    purged = await history.purge(cloud, cloud.clock.now() + timedelta(seconds=1), pause=pause)
    assert purged.rows["server_migrations"] == 2
    assert [(each["id"], each["status"]) for each in await listed(site)] == [(3, "finished")]
