"""Hosts whose rules name a group learn of its members elsewhere at once, not with the next sweep."""

from __future__ import annotations

from typing import Any


async def test_other_hosts_are_told_of_a_new_and_of_a_deleted_member_without_a_sweep(start: Any, kit: Any) -> None:
    user = await start(hosts=2)
    cloud = user.cloud
    await cloud.node.conductor.sweeps.stop()
    group = {"name": "g", "policy": "anti-affinity"}
    reply = await user.http.post("/compute/v2.1/os-server-groups", json={"server_group": group})
    hints = {"group": reply.json()["server_group"]["id"]}
    first = await user.built(hints=hints)
    second = await user.built(name="b", hints=hints)
    planes = {agent.host: agent._plane for agent in cloud.node.agents}
    members = {host: [g.remote_members for g in plane.applied.groups] for host, plane in planes.items()}
    assert all(len(found) == 1 and len(found[0]) == 1 for found in members.values()), members
    await user.delete(second)
    await cloud.settled()
    left = [g.remote_members for plane in planes.values() for g in plane.applied.groups]
    assert left == [()]
    assert not await user.gone(first)
    assert kit.violations(cloud) == []
