"""Subnet pools, and the subnets that are of them, over HTTP."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Network
from typing import Any

import httpx
import pytest


def refused(reply: httpx.Response, status: int, kind: str, *words: str) -> None:
    assert reply.status_code == status, reply.text
    fault = reply.json()["NeutronError"]
    assert fault["type"] == kind
    for word in words:
        assert word in fault["message"]


async def subnet(client: httpx.AsyncClient, network: Any, **fields: Any) -> httpx.Response:
    body = {"network_id": network["id"], "ip_version": 4, **fields}
    return await client.post("/v2.0/subnets", json={"subnet": body})


async def test_a_pool_lives_and_dies(client: Any, make: Any) -> None:
    ann = client("ann")
    pool = await make("ann", "subnetpool", name="ours", prefixes=["10.0.1.0/24", "10.0.0.0/24", "10.9.0.5/16"])
    shown = ("prefixes", "ip_version", "default_prefixlen", "min_prefixlen", "max_prefixlen", "default_quota", "shared")
    assert {key: pool[key] for key in shown} == {
        "prefixes": ["10.0.0.0/23", "10.9.0.0/16"], "ip_version": 4, "default_prefixlen": 8, "min_prefixlen": 8,
        "max_prefixlen": 32, "default_quota": None, "shared": False,
    }  # fmt: skip
    path = f"/v2.0/subnetpools/{pool['id']}"
    changed = (await ann.put(path, json={"subnetpool": {"default_prefixlen": 26, "name": "theirs"}})).json()
    assert (changed["subnetpool"]["default_prefixlen"], changed["subnetpool"]["name"]) == (26, "theirs")
    more = (await ann.put(path, json={"subnetpool": {"prefixes": ["10.0.0.0/8"]}})).json()["subnetpool"]
    assert more["prefixes"] == ["10.0.0.0/8"]
    fewer = await ann.put(path, json={"subnetpool": {"prefixes": ["10.0.0.0/16"]}})
    refused(fewer, 400, "IllegalSubnetPoolPrefixUpdate")
    added = await ann.put(f"{path}/add_prefixes", json={"prefixes": ["192.168.0.0/16"]})
    assert added.json() == {"prefixes": ["10.0.0.0/8", "192.168.0.0/16"]}
    refused(await client("bob").get(path), 404, "SubnetPoolNotFound")
    assert (await ann.delete(path)).status_code == 204
    refused(await ann.get(path), 404, "SubnetPoolNotFound")


@pytest.mark.parametrize(
    ("fields", "status", "kind"),
    [
        ({"prefixes": []}, 400, "HTTPBadRequest"),
        ({"prefixes": ["10.0.0.0/33"]}, 400, "InvalidInput"),
        ({"prefixes": ["fd00::/48"]}, 400, "InvalidInput"),
        ({"prefixes": ["10.0.0.0/8"], "min_prefixlen": 25, "max_prefixlen": 24}, 400, "IllegalSubnetPoolPrefixBounds"),
        ({"prefixes": ["10.0.0.0/8"], "max_prefixlen": 33}, 400, "IllegalSubnetPoolPrefixBounds"),
        ({"prefixes": ["10.0.0.0/8"], "default_prefixlen": 7}, 400, "IllegalSubnetPoolPrefixBounds"),
        ({"prefixes": ["10.0.0.0/8"], "default_quota": -1}, 400, "InvalidInput"),
        ({"prefixes": ["10.0.0.0/8"], "shared": True}, 403, "PolicyNotAuthorized"),
        ({"prefixes": ["10.0.0.0/8"], "is_default": True}, 403, "PolicyNotAuthorized"),
        ({"prefixes": [f"10.{n}.0.0/24" for n in range(65)]}, 400, "InvalidInput"),
    ],
)
async def test_a_senseless_pool_is_refused(client: Any, fields: dict[str, Any], status: int, kind: str) -> None:
    refused(await client("ann").post("/v2.0/subnetpools", json={"subnetpool": fields}), status, kind)


async def test_subnets_of_a_pool_never_overlap_however_they_come(client: Any, make: Any) -> None:
    ann = client("ann")
    pool = await make("ann", "subnetpool", prefixes=["10.0.0.0/22"], default_prefixlen=26)
    networks = [await make("ann", "network") for _ in range(10)]
    chosen = await subnet(ann, networks[0], subnetpool_id=pool["id"], cidr="10.0.1.64/26")
    assert chosen.status_code == 201, chosen.text
    replies = await asyncio.gather(*(subnet(ann, each, subnetpool_id=pool["id"]) for each in networks[1:]))
    made = [chosen.json()["subnet"], *(reply.json()["subnet"] for reply in replies)]
    cidrs = [IPv4Network(each["cidr"]) for each in made]
    assert {net.prefixlen for net in cidrs} == {26}
    assert sum(net.num_addresses for net in cidrs) == len({address for net in cidrs for address in net})
    assert {each["subnetpool_id"] for each in made} == {pool["id"]}
    assert made[1]["gateway_ip"] == str(cidrs[1][1])
    taken = await subnet(ann, await make("ann", "network"), subnetpool_id=pool["id"], cidr=made[3]["cidr"])
    refused(taken, 409, "SubnetAllocationError")
    refused(await ann.delete(f"/v2.0/subnetpools/{pool['id']}"), 400, "SubnetPoolDeleteError")
    large = await subnet(ann, await make("ann", "network"), subnetpool_id=pool["id"], prefixlen=22)
    refused(large, 409, "SubnetAllocationError", "/22")


async def test_a_pool_gives_prefixes_of_its_lengths_and_to_each_project_its_quota(client: Any, make: Any) -> None:
    ann = client("ann")
    bounds = {"min_prefixlen": 24, "max_prefixlen": 28, "default_prefixlen": 25, "default_quota": 256}
    pool = await make("root", "subnetpool", prefixes=["10.0.0.0/16"], shared=True, **bounds)

    async def ask(who: str, **fields: Any) -> httpx.Response:
        return await subnet(client(who), await make(who, "network"), subnetpool_id=pool["id"], **fields)

    refused(await ask("ann", prefixlen=23), 400, "MinPrefixSubnetAllocationError", "24")
    refused(await ask("ann", prefixlen=29), 400, "MaxPrefixSubnetAllocationError", "28")
    assert (await ask("ann")).json()["subnet"]["cidr"].endswith("/25")
    assert (await ask("ann", prefixlen=25)).status_code == 201
    refused(await ask("ann", prefixlen=28), 409, "OverQuota")
    assert (await ask("bob")).status_code == 201, "a quota is of each project"
    other = await make("ann", "subnetpool", prefixes=["10.200.0.0/16"], default_prefixlen=24)
    network = await make("ann", "network")
    assert (await subnet(ann, network, subnetpool_id=other["id"])).status_code == 201
    refused(await subnet(ann, network, cidr="10.100.0.0/24"), 400, "NetworkSubnetPoolAffinityError")
    assert (await subnet(ann, network, subnetpool_id=other["id"])).status_code == 201


async def test_what_is_no_request_for_a_prefix_is_refused(client: Any, make: Any) -> None:
    ann, network = client("ann"), await make("ann", "network")
    pool = await make("ann", "subnetpool", prefixes=["10.0.0.0/16"], default_prefixlen=24)
    refused(await subnet(ann, network), 400, "BadRequest", "absence of a cidr")
    refused(await subnet(ann, network, cidr="10.1.0.0/24", prefixlen=24), 400, "BadRequest", "prefixlen")
    both = {"subnetpool_id": pool["id"], "cidr": "10.0.0.0/24", "prefixlen": 24}
    refused(await subnet(ann, network, **both), 400, "BadRequest", "together")
    refused(await subnet(ann, network, use_default_subnetpool=True), 400, "BadRequest", "No default subnetpool")
    foreign = await make("bob", "subnetpool", prefixes=["10.0.0.0/16"])
    refused(await subnet(ann, network, subnetpool_id=foreign["id"]), 404, "SubnetPoolNotFound")
    await make("root", "subnetpool", prefixes=["10.5.0.0/16"], default_prefixlen=24, is_default=True, shared=True)
    found = await subnet(ann, network, use_default_subnetpool=True)
    assert found.json()["subnet"]["cidr"] == "10.5.0.0/24"


async def test_pools_of_a_scope_do_not_overlap(client: Any, make: Any) -> None:
    ann = client("ann")
    scope = await make("ann", "address_scope", name="ours", ip_version=4)
    path = f"/v2.0/address-scopes/{scope['id']}"
    pool = await make("ann", "subnetpool", prefixes=["10.0.0.0/16"], address_scope_id=scope["id"])
    body = {"subnetpool": {"prefixes": ["10.0.3.0/24"], "address_scope_id": scope["id"]}}
    refused(await ann.post("/v2.0/subnetpools", json=body), 409, "AddressScopePrefixConflict")
    refused(await ann.delete(path), 409, "AddressScopeInUse")
    foreign = {"subnetpool": {"prefixes": ["10.8.0.0/24"], "address_scope_id": scope["id"]}}
    refused(await client("bob").post("/v2.0/subnetpools", json=foreign), 404, "AddressScopeNotFound")
    refused(await ann.put(path, json={"address_scope": {"shared": True}}), 403, "PolicyNotAuthorized")
    assert (await client("root").put(path, json={"address_scope": {"shared": True}})).status_code == 200
    reply = await client("root").put(path, json={"address_scope": {"shared": False}})
    refused(reply, 400, "AddressScopeUpdateError")
    assert (await client("bob").post("/v2.0/subnetpools", json=foreign)).status_code == 201
    left = await ann.put(f"/v2.0/subnetpools/{pool['id']}", json={"subnetpool": {"address_scope_id": None}})
    assert left.json()["subnetpool"]["address_scope_id"] is None


async def test_addresses_of_a_subnet_for_services_go_to_their_ports(client: Any, make: Any) -> None:
    network = await make("ann", "network")
    await make("ann", "subnet", network_id=network["id"], cidr="10.1.0.0/24", service_types=["compute:nova"])
    port = await make("ann", "port", network_id=network["id"], device_owner="compute:nova")
    assert port["fixed_ips"][0]["ip_address"].startswith("10.1.0.")
    body = {"port": {"network_id": network["id"]}}
    reply = await client("ann").post("/v2.0/ports", json=body)
    refused(reply, 409, "IpAddressGenerationFailureNoMatchingSubnet")
    await make("ann", "subnet", network_id=network["id"], cidr="10.2.0.0/24")
    assert (
        (await client("ann").post("/v2.0/ports", json=body))
        .json()["port"]["fixed_ips"][0]["ip_address"]
        .startswith("10.2.0.")
    )
    bad = {"network_id": network["id"], "cidr": "10.3.0.0/24", "ip_version": 4, "service_types": ["mine"]}
    refused(await client("ann").post("/v2.0/subnets", json={"subnet": bad}), 400, "InvalidSubnetServiceType")
