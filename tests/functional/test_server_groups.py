"""Server groups from the API to the hosts: how many of an anti-affinity group share one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from floe.testing import EmbeddedCloud

SERVERS = "/compute/v2.1/servers"


class Member:
    """The user `demo` with an image and a group of which a host may have two."""

    def __init__(self, cloud: EmbeddedCloud) -> None:
        self.cloud = cloud
        self.http = httpx.AsyncClient(base_url=cloud.url, timeout=60)

    async def prepare(self) -> None:
        domain = {"name": "Default"}
        user = {"name": "demo", "password": self.cloud.passwords["demo"], "domain": domain}
        identity = {"methods": ["password"], "password": {"user": user}}
        body = {"auth": {"identity": identity, "scope": {"project": {"name": "demo", "domain": domain}}}}
        reply = await self.http.post("/identity/v3/auth/tokens", json=body)
        self.http.headers["X-Auth-Token"] = reply.headers["x-subject-token"]
        self.http.headers["OpenStack-API-Version"] = "compute 2.96"
        image = {"name": "i", "disk_format": "raw", "container_format": "bare"}
        self.image = (await self.http.post("/image/v2/images", json=image)).json()["id"]
        octets = {"Content-Type": "application/octet-stream"}
        await self.http.put(f"/image/v2/images/{self.image}/file", content=b"\0" * 4096, headers=octets)
        group = {"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": 2}}
        made = await self.http.post("/compute/v2.1/os-server-groups", json={"server_group": group})
        self.group = made.json()["server_group"]["id"]

    async def ask(self) -> str:
        server = {"name": "a", "imageRef": self.image, "flavorRef": "0", "networks": "none"}
        body = {"server": server, "os:scheduler_hints": {"group": self.group}}
        reply = await self.http.post(SERVERS, json=body)
        assert reply.status_code == 202, reply.text
        return str(reply.json()["server"]["id"])

    async def server(self, ident: str) -> dict[str, Any]:
        return dict((await self.http.get(f"{SERVERS}/{ident}")).json()["server"])


@pytest.fixture
async def member(embedded: EmbeddedCloud) -> AsyncIterator[Member]:
    someone = Member(embedded)
    await someone.prepare()
    yield someone
    await someone.http.aclose()


async def test_two_hosts_take_four_of_a_group_with_two_to_a_host_and_the_fifth_is_told_why(member: Member) -> None:
    four = []
    for _ in range(4):
        four.append(await member.ask())
        await member.cloud.settled()
    servers = [await member.server(ident) for ident in four]
    assert [server["status"] for server in servers] == ["ACTIVE"] * 4
    assert sorted(Counter(server["hostId"] for server in servers).values()) == [2, 2]
    fifth = await member.ask()
    await member.cloud.settled()
    refused = await member.server(fifth)
    assert refused["status"] == "ERROR"
    assert refused["fault"]["message"] == (
        "No valid host: 2 hosts considered; 2 are ruled out by the server group's policy anti-affinity "
        "(at most 2 of its servers on a host)."
    )
    assert (await member.http.delete(f"{SERVERS}/{four[0]}")).status_code == 204
    await member.cloud.settled()
    sixth = await member.ask()
    await member.cloud.settled()
    assert (await member.server(sixth))["hostId"] == servers[0]["hostId"], "the place that became free is taken again"


async def test_a_race_for_the_places_of_a_group_puts_no_third_on_a_host(member: Member) -> None:
    made = await asyncio.gather(*(member.ask() for _ in range(7)))
    await member.cloud.settled()
    servers = [await member.server(ident) for ident in made]
    active = Counter(server["hostId"] for server in servers if server["status"] == "ACTIVE")
    assert sorted(active.values()) == [2, 2]
    faults = [server["fault"]["message"] for server in servers if server["status"] == "ERROR"]
    assert len(faults) == 3
    assert all("anti-affinity (at most 2 of its servers on a host)" in fault for fault in faults)
