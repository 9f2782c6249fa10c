"""A create of several servers, as its user sees it: as many as there is room for, and none below the least."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

Start = Callable[..., Awaitable[Any]]
SERVERS = "/compute/v2.1/servers"
NETWORK = "/network/v2.0"


async def large_flavor(user: Any, kit: Any) -> str:
    """Make a flavor of which a fake host (4,096 GiB) takes four."""
    admin = await kit.user(user.cloud, "admin").login()
    asked = {"flavor": {"name": "large", "vcpus": 1, "ram": 128, "disk": 1000}}
    made = (await admin.http.post("/compute/v2.1/flavors", json=asked)).json()["flavor"]["id"]
    await admin.http.aclose()
    return str(made)


async def small_network(user: Any) -> str:
    """Make a network with four addresses left for servers."""
    made = await user.http.post(f"{NETWORK}/networks", json={"network": {"name": "small"}})
    ident = made.json()["network"]["id"]
    subnet = {"subnet": {"network_id": ident, "ip_version": 4, "cidr": "10.9.0.0/29"}}
    assert (await user.http.post(f"{NETWORK}/subnets", json=subnet)).status_code == 201
    return str(ident)


async def states(user: Any) -> list[str]:
    found = (await user.http.get(f"{SERVERS}/detail?sort_key=display_name&sort_dir=asc")).json()["servers"]
    return [f"{server['name']} {server['status']}" for server in found]


async def used(user: Any) -> tuple[int, int]:
    """Return how many servers and ports count against the quota."""
    limits = (await user.http.get("/compute/v2.1/limits")).json()["limits"]["absolute"]
    ports = (await user.http.get(f"{NETWORK}/ports")).json()["ports"]
    return limits["totalInstancesUsed"], sum(1 for port in ports if port["device_owner"].startswith("compute:"))


@pytest.mark.parametrize("scarce", ["disk", "addresses"])
async def test_room_for_four_of_nine_makes_four_and_leaves_no_trace_of_five(
    start: Start, kit: Any, scarce: str
) -> None:
    user = await start()
    more: dict[str, Any] = {"flavorRef": await large_flavor(user, kit)}
    if scarce == "addresses":
        more = {"networks": [{"uuid": await small_network(user)}]}
    headers = {"Idempotency-Key": f"nine-{scarce}"}
    user.http.headers.update(headers)
    reply = await user.ask(name="web", min_count=2, max_count=9, **more)
    assert reply.status_code == 202, reply.text
    await user.cloud.settled()
    assert await states(user) == [f"web-{number} ACTIVE" for number in range(1, 5)]
    assert await used(user) == (4, 4)
    again = await user.ask(name="web", min_count=2, max_count=9, **more)
    assert again.json()["server"]["id"] == reply.json()["server"]["id"]
    assert (await user.server(reply.json()["server"]["id"]))["name"] == "web-1"
    gone = (await user.http.get(f"{SERVERS}/detail?changes-since=2020-01-01T00:00:00Z")).json()["servers"]
    assert sorted(server["status"] for server in gone) == ["ACTIVE"] * 4 + ["DELETED"] * 5
    assert kit.violations(user.cloud) == []


@pytest.mark.parametrize("scarce", ["disk", "addresses"])
async def test_room_for_four_where_five_are_the_least_makes_none_and_says_why(
    start: Start, kit: Any, scarce: str
) -> None:
    user = await start()
    more: dict[str, Any] = {"flavorRef": await large_flavor(user, kit)}
    if scarce == "addresses":
        more = {"networks": [{"uuid": await small_network(user)}]}
    reply = await user.ask(name="web", min_count=5, max_count=9, **more)
    assert reply.status_code == 202, reply.text
    await user.cloud.settled()
    assert await states(user) == [f"web-{number} ERROR" for number in range(1, 10)]
    assert (await used(user))[1] == 0
    found = (await user.http.get(f"{SERVERS}/detail")).json()["servers"]
    (message,) = {server["fault"]["message"] for server in found}
    assert ("4 of the 5 servers needed at least would fit" if scarce == "disk" else "address") in message
    ident = found[-1]["id"]
    (action,) = (await user.http.get(f"{SERVERS}/{ident}/os-instance-actions")).json()["instanceActions"]
    assert action["message"] == message
    assert kit.violations(user.cloud) == []
    await user.built(name="one", **more)  # nothing was held


async def test_the_quota_of_ports_bounds_how_many_are_made(start: Start, kit: Any) -> None:
    user = await start()
    admin = await kit.user(user.cloud, "admin").login()
    quota = {"quota": {"port": 4}}
    assert (await admin.http.put(f"{NETWORK}/quotas/{user.project}", json=quota)).status_code == 200
    await admin.http.aclose()
    ports = (await user.http.get(f"{NETWORK}/ports")).json()["ports"]
    room = 4 - len(ports)
    refused = await user.ask(name="many", min_count=room + 1, max_count=9)
    assert refused.status_code == 403, refused.text
    assert (await user.ask(name="web", min_count=1, max_count=9)).status_code == 202
    await user.cloud.settled()
    assert len(await states(user)) == room


async def test_who_deletes_one_of_them_at_once_has_the_others(start: Start, kit: Any) -> None:
    user = await start()
    reply = await user.ask(name="web", min_count=3, max_count=3, return_reservation_id=True)
    assert reply.status_code == 202
    found = (await user.http.get(f"{SERVERS}?reservation_id={reply.json()['reservation_id']}")).json()["servers"]
    first = min(found, key=lambda server: server["name"])["id"]
    await user.delete(first)
    await kit.until(lambda: user.gone(first))
    await user.cloud.settled()
    assert await states(user) == ["web-2 ACTIVE", "web-3 ACTIVE"]
    assert kit.violations(user.cloud) == []
