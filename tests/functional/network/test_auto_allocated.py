"""Networks that projects are given with subnet and router, when they first ask: once each, whole or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from floe.cloud.cloud import Cloud

OWN = "/v2.0/auto-allocated-topology/None"
ANN, BOB = "a" * 32, "b" * 32


def refused(reply: httpx.Response, status: int, kind: str, text: str) -> None:
    assert (reply.status_code, reply.json()["NeutronError"]) == (
        status, {"type": kind, "message": text, "detail": ""},
    ), reply.text  # fmt: skip


@pytest.fixture
async def public(make: Any) -> dict[str, Any]:
    """Give the default external network, with a subnet."""
    fields = {"router:external": True, "is_default": True}
    made: dict[str, Any] = await make("root", "network", name="public", **fields)
    await make("root", "subnet", network_id=made["id"], cidr="203.0.113.0/24")
    return made


@pytest.fixture
async def pool(make: Any) -> dict[str, Any]:
    """Give the default subnet pool, which has room for four networks."""
    made: dict[str, Any] = await make(
        "root", "subnetpool", name="all", prefixes=["10.9.0.0/22"], default_prefixlen=24, is_default=True, shared=True
    )
    return made


async def things(client: Any, caller: str = "root") -> dict[str, int]:
    """Return how many of each kind there are."""
    kinds = ("networks", "subnets", "routers", "ports")
    return {kind: len((await client(caller).get(f"/v2.0/{kind}")).json()[kind]) for kind in kinds}


async def test_a_project_is_given_network_subnet_and_router(client: Any, public: Any, pool: Any) -> None:
    ann = client("ann")
    found = (await ann.get(OWN)).json()["auto_allocated_topology"]
    assert (found["tenant_id"], found["project_id"]) == (ANN, ANN)
    network = (await ann.get(f"/v2.0/networks/{found['id']}")).json()["network"]
    assert (network["name"], network["admin_state_up"], network["shared"], network["project_id"]) == (
        "auto_allocated_network", True, False, ANN,
    )  # fmt: skip
    (subnet,) = (await ann.get(f"/v2.0/subnets?network_id={found['id']}")).json()["subnets"]
    assert (subnet["name"], subnet["subnetpool_id"], subnet["cidr"]) == (
        "auto_allocated_subnet_v4", pool["id"], "10.9.0.0/24",
    )  # fmt: skip
    (router,) = (await ann.get("/v2.0/routers")).json()["routers"]
    assert router["name"] == "auto_allocated_router"
    assert router["external_gateway_info"]["network_id"] == public["id"]
    (port,) = (await ann.get(f"/v2.0/ports?device_id={router['id']}")).json()["ports"]
    assert port["fixed_ips"] == [{"subnet_id": subnet["id"], "ip_address": subnet["gateway_ip"]}]
    again = (await ann.get(f"/v2.0/auto-allocated-topology/{ANN}")).json()["auto_allocated_topology"]
    assert again == found
    of_bob = (await client("root").get(f"/v2.0/auto-allocated-topology/{BOB}")).json()["auto_allocated_topology"]
    assert (of_bob["project_id"], of_bob["id"] != found["id"]) == (BOB, True)


async def test_all_who_ask_at_once_are_given_the_same(client: Any, public: Any, pool: Any) -> None:
    before = await things(client)
    replies = await asyncio.gather(*(client("ann").get(OWN) for _ in range(20)))
    assert len({reply.json()["auto_allocated_topology"]["id"] for reply in replies}) == 1
    after = await things(client)
    assert {kind: after[kind] - before[kind] for kind in after} == {
        "networks": 1, "subnets": 1, "routers": 1, "ports": 3,  # DHCP, interface, gateway
    }  # fmt: skip


async def test_what_is_missing_is_said_and_nothing_is_made(client: Any, make: Any) -> None:
    ann, before = client("ann"), await things(client)
    for query in ("", "?fields=dry-run"):
        refused(
            await ann.get(OWN + query), 409, "AutoAllocationFailure",
            "Deployment error: No default router:external network.",
        )  # fmt: skip
    assert await things(client) == before
    public = await make("root", "network", **{"router:external": True, "is_default": True})
    for query in ("", "?fields=dry-run"):
        refused(
            await ann.get(OWN + query),
            409,
            "AutoAllocationFailure",
            "Deployment error: No default subnetpools defined.",
        )
    await make("root", "subnetpool", name="own", prefixes=["10.8.0.0/22"], is_default=True)
    refused(
        await ann.get(OWN), 409, "AutoAllocationFailure", "Deployment error: No default subnetpools defined."
    )  # it is the administrator's alone
    assert (await client("ann").get("/v2.0/routers")).json() == {"routers": []}
    assert [n["id"] for n in (await client("root").get("/v2.0/networks")).json()["networks"]] == [public["id"]]


async def test_a_dry_run_makes_nothing(client: Any, public: Any, pool: Any) -> None:
    before = await things(client)
    reply = await client("ann").get(OWN + "?fields=dry-run")
    assert reply.json() == {"auto_allocated_topology": {"id": "dry-run=pass", "project_id": ANN, "tenant_id": ANN}}
    assert await things(client) == before
    reply = await client("ann").get(OWN + "?fields=nonsense")
    assert (reply.status_code, reply.json()["NeutronError"]["type"]) == (400, "BadRequest")
    assert "Unrecognized field" in reply.json()["NeutronError"]["message"]


@pytest.mark.parametrize("resource", ["network", "subnet", "router", "port"])
async def test_one_that_fails_half_way_leaves_nothing(client: Any, public: Any, pool: Any, resource: str) -> None:
    before = await things(client)
    await client("root").put(f"/v2.0/quotas/{ANN}", json={"quota": {resource: 0}})
    reply = await client("ann").get(OWN)
    assert (reply.status_code, reply.json()["NeutronError"]["type"]) == (409, "OverQuota"), reply.text
    assert await things(client) == before
    await client("root").delete(f"/v2.0/quotas/{ANN}")
    assert (await client("ann").get(OWN)).status_code == 200


async def test_a_pool_that_is_used_up_leaves_nothing(client: Any, public: Any, pool: Any) -> None:
    for number in range(4):
        assert (await client("root").get(f"/v2.0/auto-allocated-topology/{number:032x}")).status_code == 200
    before = await things(client)
    refused(
        await client("ann").get(OWN), 409, "AutoAllocationFailure",
        "Deployment error: Unable to provide project private network.",
    )  # fmt: skip
    assert await things(client) == before


async def test_an_outside_that_is_used_up_leaves_nothing(client: Any, make: Any, pool: Any) -> None:
    public = await make("root", "network", **{"router:external": True, "is_default": True})
    await make("root", "subnet", network_id=public["id"], cidr="203.0.113.0/30", enable_dhcp=False)
    assert (await client("ann").get(OWN)).status_code == 200, "it has one address besides its gateway"
    before = await things(client)
    reply = await client("bob").get(OWN)
    assert (reply.status_code, reply.json()["NeutronError"]["type"]) == (409, "IpAddressGenerationFailure"), reply.text
    assert await things(client) == before


async def test_it_is_removed_whole_or_not_at_all(client: Any, make: Any, public: Any, pool: Any, cloud: Cloud) -> None:
    ann, before = client("ann"), await things(client)
    assert (await ann.delete(OWN)).status_code == 204, "where there is none, nothing is to be removed"
    found = (await ann.get(OWN)).json()["auto_allocated_topology"]
    port = await make("ann", "port", network_id=found["id"])
    there = await things(client)
    reply = await ann.delete(OWN)
    assert (reply.status_code, reply.json()["NeutronError"]["type"]) == (409, "NetworkInUse"), reply.text
    assert await things(client) == there
    await ann.delete(f"/v2.0/ports/{port['id']}")
    assert (await ann.delete(OWN)).status_code == 204
    assert await things(client) == before
    assert (await ann.get(OWN)).json()["auto_allocated_topology"]["id"] != found["id"]


async def test_what_its_owner_took_apart_is_given_and_removed_as_far_as_it_is_there(
    client: Any, public: Any, pool: Any
) -> None:
    ann, before = client("ann"), await things(client)
    found = (await ann.get(OWN)).json()["auto_allocated_topology"]
    (router,) = (await ann.get("/v2.0/routers")).json()["routers"]
    (subnet,) = (await ann.get("/v2.0/subnets?network_id=" + found["id"])).json()["subnets"]
    away = {"subnet_id": subnet["id"]}
    await ann.put(f"/v2.0/routers/{router['id']}/remove_router_interface", json=away)
    assert (await ann.delete(f"/v2.0/routers/{router['id']}")).status_code == 204
    assert (await ann.get(OWN)).json()["auto_allocated_topology"] == found
    assert (await ann.delete(OWN)).status_code == 204
    assert await things(client) == before
    second = (await ann.get(OWN)).json()["auto_allocated_topology"]
    (router,) = (await ann.get("/v2.0/routers")).json()["routers"]
    (subnet,) = (await ann.get("/v2.0/subnets?network_id=" + second["id"])).json()["subnets"]
    away = {"subnet_id": subnet["id"]}
    await ann.put(f"/v2.0/routers/{router['id']}/remove_router_interface", json=away)
    assert (await ann.delete(f"/v2.0/networks/{second['id']}")).status_code == 204
    third = (await ann.get(OWN)).json()["auto_allocated_topology"]
    assert third["id"] != second["id"], "a network that is gone is made anew"


async def test_another_projects_is_an_administrators_alone(client: Any, public: Any, pool: Any) -> None:
    path = f"/v2.0/auto-allocated-topology/{BOB}"
    for method in ("GET", "DELETE"):
        refused(await client("ann").request(method, path), 403, "NotAuthorized", "Not authorized.")
    assert (await client("root").get(path)).status_code == 200
    assert (await client("root").delete(path)).status_code == 204
    assert (await client("stranger").get(OWN)).status_code == 403
    assert (await client("eve").delete(OWN)).status_code == 403
    assert (await client("root").get("/v2.0/auto-allocated-topology/" + "x" * 65)).status_code == 404
    extensions = (await client("ann").get("/v2.0/extensions")).json()["extensions"]
    assert "auto-allocated-topology" in {each["alias"] for each in extensions}
