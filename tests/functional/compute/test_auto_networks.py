"""Servers on a network that is made when they ask for any: once per project, kept whatever becomes of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from floe.cloud import network_quotas, networks, routers, subnetpools, subnets
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.listing import Listing
from floe.core.quotas import NETWORK

IMAGE = "11111111-1111-4111-8111-111111111111"
PROJECT = "a" * 32
ROOT = Context(request_id="", user_id="root", project_id="f" * 32, roles=frozenset({"admin", "member", "reader"}))


def body(**fields: Any) -> dict[str, Any]:
    return {"server": {"name": "a", "flavorRef": "0", "imageRef": IMAGE, "networks": "auto", **fields}}


@pytest.fixture
async def outside(compute_cloud: Cloud) -> None:
    """Set up what networks are allocated of."""
    (public,) = await networks.create(compute_cloud, ROOT, [{"name": "public", "external": True, "default": True}])
    await subnets.create(compute_cloud, ROOT, [{"network_id": public.id, "cidr": "203.0.113.0/24"}])
    pool = {"name": "p", "prefixes": ["10.9.0.0/16"], "default_length": 24, "default": True, "shared": True}
    await subnetpools.create(compute_cloud, ROOT, [pool])


async def of_project(cloud: Cloud) -> list[str]:
    """Return the names of the project's networks and routers."""
    mine = Listing(filters={"project_id": [PROJECT]})
    found = [*await networks.find(cloud, ROOT, mine), *await routers.find(cloud, ROOT, mine)]
    return sorted(each.name for each in found)


async def test_a_server_with_any_network_is_given_one(client: Any, compute_cloud: Cloud, outside: None) -> None:
    ann = client("ann")
    replies = await asyncio.gather(*(ann.post("/servers", json=body()) for _ in range(5)))
    assert [reply.status_code for reply in replies] == [202] * 5
    assert await of_project(compute_cloud) == ["auto_allocated_network", "auto_allocated_router"]
    for reply in replies:
        await ann.delete(f"/servers/{reply.json()['server']['id']}")
    assert await of_project(compute_cloud) == ["auto_allocated_network", "auto_allocated_router"], "it is kept"


async def test_a_network_that_there_is_serves(
    client: Any, compute_cloud: Cloud, outside: None, network_id: str
) -> None:
    assert (await client("ann").post("/servers", json=body())).status_code == 202
    assert await of_project(compute_cloud) == ["private"]


async def test_one_that_is_down_does_not(client: Any, compute_cloud: Cloud, outside: None, network_id: str) -> None:
    await networks.update(compute_cloud, ROOT, network_id, {"up": False})
    assert (await client("ann").post("/servers", json=body())).status_code == 202
    assert await of_project(compute_cloud) == ["auto_allocated_network", "auto_allocated_router", "private"]


async def test_where_none_can_be_made_it_is_said(client: Any, compute_cloud: Cloud) -> None:
    reply = await client("ann").post("/servers", json=body())
    assert reply.status_code == 400
    assert reply.json()["badRequest"]["message"] == (
        f"Unable to automatically allocate a network for project {PROJECT}: Deployment error: "
        "No default router:external network."
    )
    assert await of_project(compute_cloud) == []


@pytest.mark.parametrize(
    ("limits", "flavor"), [({"router": 0}, "0"), ({"port": 2}, "0"), ({"network": 0}, "0"), ({}, "nonsense")]
)
async def test_a_create_that_is_refused_leaves_no_network(
    client: Any, compute_cloud: Cloud, outside: None, limits: dict[str, int], flavor: str
) -> None:
    assert limits.keys() <= NETWORK.keys()
    await network_quotas.put(compute_cloud, PROJECT, limits, below_use=True)
    reply = await client("ann").post("/servers", json=body(flavorRef=flavor))
    assert reply.status_code == (403 if limits else 400), reply.text
    assert await of_project(compute_cloud) == []


async def test_an_external_network_is_an_administrators_to_be_on(
    client: Any, compute_cloud: Cloud, outside: None
) -> None:
    (public,) = await networks.find(compute_cloud, ROOT, Listing(filters={"external": [True]}))
    asked = body(networks=[{"uuid": public.id}])
    reply = await client("ann").post("/servers", json=asked)
    assert (reply.status_code, reply.json()) == (
        403, {"forbidden": {"code": 403, "message":
            f"It is not allowed to create an interface on external network {public.id}"}},
    )  # fmt: skip
    assert (await client("root").post("/servers", json=asked)).status_code == 202
    await networks.update(compute_cloud, ROOT, public.id, {"shared": True})
    assert (await client("ann").post("/servers", json=asked)).status_code == 202


async def test_below_2_37_nobody_asks_for_one(client: Any, compute_cloud: Cloud, outside: None) -> None:
    reply = await client("ann", "2.36").post("/servers", json=body())
    assert reply.status_code == 400
    old = body()
    del old["server"]["networks"]
    assert (await client("ann", "2.36").post("/servers", json=old)).status_code == 202
    assert (await client("ann").post("/servers", json=body(networks="none"))).status_code == 202
    assert await of_project(compute_cloud) == []
