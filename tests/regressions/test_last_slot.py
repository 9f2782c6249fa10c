"""Creates that race for the last slot, of an anti-affinity group or of a quota: one gets it."""

from __future__ import annotations

import asyncio
from typing import Any


async def test_a_race_for_the_hosts_of_an_anti_affinity_group_never_puts_two_on_one(start: Any, kit: Any) -> None:
    user = await start(hosts=2)
    group = {"name": "g", "policy": "anti-affinity"}
    reply = await user.http.post("/compute/v2.1/os-server-groups", json={"server_group": group})
    hints = {"group": reply.json()["server_group"]["id"]}
    made = await asyncio.gather(*(user.create(name=f"s{n}", hints=hints) for n in range(6)))
    await user.cloud.settled()
    servers = [await user.server(ident) for ident in made]
    active = [server["hostId"] for server in servers if server["status"] == "ACTIVE"]
    assert len(active) == len(set(active)) == 2
    faults = [server["fault"]["message"] for server in servers if server["status"] == "ERROR"]
    assert len(faults) == 4
    assert all("No valid host" in fault for fault in faults)
    assert kit.violations(user.cloud) == []


async def test_a_race_for_the_last_of_a_quota_never_exceeds_it(start: Any, kit: Any) -> None:
    user = await start(hosts=2)
    admin = await kit.user(user.cloud, "admin").login()
    path = f"/compute/v2.1/os-quota-sets/{user.project}"
    assert (await admin.http.put(path, json={"quota_set": {"instances": 3}})).status_code == 200
    await admin.http.aclose()
    replies = await asyncio.gather(*(user.ask(name=f"s{n}") for n in range(8)))
    assert sorted(reply.status_code for reply in replies) == [202] * 3 + [403] * 5
    refused = next(reply for reply in replies if reply.status_code == 403)
    assert "instances" in refused.json()["forbidden"]["message"]
    await user.cloud.settled()
    assert kit.violations(user.cloud) == []
