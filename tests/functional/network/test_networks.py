"""Networks and subnets over HTTP."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import httpx
import pytest


async def made(client: httpx.AsyncClient, kind: str, **fields: Any) -> dict[str, Any]:
    if kind == "subnet":
        fields = {"ip_version": 4, **fields}
    reply = await client.post(f"/v2.0/{kind}s", json={kind: fields})
    assert reply.status_code == 201, reply.text
    return reply.json()[kind]


def refused(reply: httpx.Response, status: int, kind: str, *words: str) -> None:
    assert reply.status_code == status, reply.text
    fault = reply.json()["NeutronError"]
    assert fault["type"] == kind
    for word in words:
        assert word in fault["message"]


async def test_a_client_finds_the_version_without_a_token(client: Any) -> None:
    reply = await client("").get("/")
    assert reply.json()["versions"] == [
        {"id": "v2.0", "status": "CURRENT", "links": [{"href": "http://127.0.0.1:8774/network/v2.0/", "rel": "self"}]}
    ]
    assert (await client("").get("/v2.0/networks")).status_code == 401


async def test_a_network_lives_and_dies(client: Any) -> None:
    ann = client("ann")
    network = await made(ann, "network", name="front", description="of the shop")
    assert network["status"] == "ACTIVE"
    assert network["mtu"] == 1450
    assert network["tenant_id"] == network["project_id"] == "a" * 32
    assert "provider:segmentation_id" not in network
    path = f"/v2.0/networks/{network['id']}"
    reply = await ann.put(path, json={"network": {"name": "back", "mtu": "1400"}})
    assert reply.json()["network"]["mtu"] == 1400
    assert reply.json()["network"]["revision_number"] == 1
    assert (await ann.get(path)).json()["network"]["name"] == "back"
    seen = (await client("root").get(path)).json()["network"]
    assert 1 <= seen["provider:segmentation_id"] <= 65535
    assert (await ann.delete(path)).status_code == 204
    refused(await ann.get(path), 404, "NetworkNotFound", network["id"])


async def test_another_projects_network_is_not_found(client: Any) -> None:
    network = await made(client("ann"), "network", name="front")
    path = f"/v2.0/networks/{network['id']}"
    refused(await client("bob").get(path), 404, "NetworkNotFound")
    refused(await client("bob").put(path, json={"network": {"name": "mine"}}), 404, "NetworkNotFound")
    refused(await client("bob").delete(path), 404, "NetworkNotFound")
    body = {"subnet": {"network_id": network["id"], "cidr": "10.1.0.0/24", "ip_version": 4}}
    refused(await client("bob").post("/v2.0/subnets", json=body), 404, "NetworkNotFound")
    assert (await client("bob").get("/v2.0/networks")).json() == {"networks": []}
    assert len((await client("root").get("/v2.0/networks")).json()["networks"]) == 1


async def test_a_shared_network_is_seen_by_all_and_changed_by_its_owner(client: Any) -> None:
    refused(await client("ann").post("/v2.0/networks", json={"network": {"shared": True}}), 403, "PolicyNotAuthorized")
    network = await made(client("root"), "network", name="all", shared=True)
    await made(client("root"), "subnet", network_id=network["id"], cidr="10.9.0.0/24")
    path = f"/v2.0/networks/{network['id']}"
    assert (await client("bob").get(path)).status_code == 200
    assert len((await client("bob").get("/v2.0/subnets")).json()["subnets"]) == 1
    refused(await client("bob").put(path, json={"network": {"name": "x"}}), 403, "PolicyNotAuthorized")
    port = await made(client("bob"), "port", network_id=network["id"])
    assert IPv4Address(port["fixed_ips"][0]["ip_address"]) in IPv4Network("10.9.0.0/24")
    body = {"port": {"network_id": network["id"], "fixed_ips": [{"ip_address": "10.9.0.9"}]}}
    refused(await client("bob").post("/v2.0/ports", json=body), 403, "PolicyNotAuthorized", "fixed_ips")
    reply = await client("root").put(path, json={"network": {"shared": False}})
    refused(reply, 409, "InvalidSharedSetting", "other projects")


async def test_a_reader_may_look_and_not_touch(client: Any) -> None:
    assert (await client("eve").get("/v2.0/networks")).status_code == 200
    refused(await client("eve").post("/v2.0/networks", json={"network": {}}), 403, "PolicyNotAuthorized")


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"mtu": 40}, "InvalidInput", ("mtu", "40", "68")),
        ({"mtu": 9000}, "InvalidInput", ("mtu", "9000", "1450")),
        ({"mtu": "big"}, "InvalidInput", ("mtu", "big")),
        ({"name": "n" * 256}, "HTTPBadRequest", ("name", "255")),
        ({"colour": "red"}, "HTTPBadRequest", ("colour",)),
        ({"admin_state_up": "maybe"}, "InvalidInput", ("admin_state_up",)),
        ({"project_id": "b" * 32}, "HTTPBadRequest", ("project_id", "administrator")),
        ({"project_id": "a" * 32, "tenant_id": "b" * 32}, "HTTPBadRequest", ("tenant_id",)),
    ],
)
async def test_a_senseless_network_is_refused(
    client: Any, fields: dict[str, Any], kind: str, words: tuple[str, ...]
) -> None:
    refused(await client("ann").post("/v2.0/networks", json={"network": fields}), 400, kind, *words)


async def test_several_are_made_at_once_or_none(client: Any) -> None:
    ann = client("ann")
    reply = await ann.post("/v2.0/networks", json={"networks": [{"name": "one"}, {"name": "two"}]})
    assert [network["name"] for network in reply.json()["networks"]] == ["one", "two"]
    reply = await ann.post("/v2.0/networks", json={"networks": [{"name": "three"}, {"name": "four", "mtu": 1}]})
    refused(reply, 400, "InvalidInput", "mtu")
    assert len((await ann.get("/v2.0/networks")).json()["networks"]) == 2
    refused(await ann.post("/v2.0/networks", json={"networks": []}), 400, "HTTPBadRequest", "networks")


async def test_a_subnet_gets_what_was_not_said(client: Any) -> None:
    ann = client("ann")
    network = await made(ann, "network", name="front")
    subnet = await made(ann, "subnet", network_id=network["id"], cidr="10.1.0.0/24", ip_version=4)
    assert subnet["gateway_ip"] == "10.1.0.1"
    assert subnet["allocation_pools"] == [{"start": "10.1.0.2", "end": "10.1.0.254"}]
    assert (await ann.get(f"/v2.0/networks/{network['id']}")).json()["network"]["subnets"] == [subnet["id"]]
    ports = (await ann.get("/v2.0/ports", params={"device_owner": "network:dhcp"})).json()["ports"]
    ((address,),) = [port["fixed_ips"] for port in ports]
    assert address["subnet_id"] == subnet["id"]
    assert IPv4Address("10.1.0.2") <= IPv4Address(address["ip_address"]) <= IPv4Address("10.1.0.254")


async def test_a_deleted_dhcp_port_has_another_in_its_place(client: Any) -> None:
    """Who clears a network away deletes all ports that are listed, then the subnets, then the network."""
    ann = client("ann")
    network = await made(ann, "network")
    ids = [
        (await made(ann, "subnet", network_id=network["id"], cidr=cidr))["id"]
        for cidr in ("10.1.0.0/24", "10.2.0.0/24")
    ]
    (port,) = (await ann.get("/v2.0/ports")).json()["ports"]
    assert (await client("bob").delete(f"/v2.0/ports/{port['id']}")).status_code == 404
    assert (await ann.delete(f"/v2.0/ports/{port['id']}")).status_code == 204
    assert (await ann.get(f"/v2.0/ports/{port['id']}")).status_code == 404
    (other,) = (await ann.get("/v2.0/ports")).json()["ports"]
    same = ("fixed_ips", "device_id", "device_owner", "status", "project_id", "port_security_enabled")
    assert {key: other[key] for key in same} == {key: port[key] for key in same}
    assert other["id"] != port["id"]
    for path in (*(f"subnets/{ident}" for ident in ids), f"networks/{network['id']}"):
        assert (await ann.delete(f"/v2.0/{path}")).status_code == 204
    assert (await ann.get("/v2.0/ports")).json()["ports"] == []


async def test_turning_dhcp_off_gives_its_address_back(client: Any) -> None:
    ann = client("ann")
    network = await made(ann, "network")
    one = await made(ann, "subnet", network_id=network["id"], cidr="10.1.0.0/24")
    two = await made(ann, "subnet", network_id=network["id"], cidr="10.2.0.0/24", gateway_ip=None)
    (port,) = (await ann.get("/v2.0/ports")).json()["ports"]
    assert [ip["subnet_id"] for ip in port["fixed_ips"]] == [one["id"], two["id"]]
    await ann.put(f"/v2.0/subnets/{one['id']}", json={"subnet": {"enable_dhcp": False}})
    (port,) = (await ann.get("/v2.0/ports")).json()["ports"]
    assert [ip["subnet_id"] for ip in port["fixed_ips"]] == [two["id"]]
    await ann.delete(f"/v2.0/subnets/{two['id']}")
    assert (await ann.get("/v2.0/ports")).json()["ports"] == []
    await ann.put(f"/v2.0/subnets/{one['id']}", json={"subnet": {"enable_dhcp": True}})
    (port,) = (await ann.get("/v2.0/ports")).json()["ports"]
    assert [ip["ip_address"] for ip in port["fixed_ips"]] == ["10.1.0.2"]


@pytest.mark.parametrize(
    ("fields", "status", "kind", "words"),
    [
        ({"cidr": "10.1.0.0/16"}, 400, "InvalidInput", ("overlaps", "10.1.5.0/24")),
        ({"cidr": "hello"}, 400, "InvalidInput", ("cidr", "hello")),
        ({"cidr": "fd00::/64"}, 400, "InvalidInput", ("IPv6",)),
        ({"cidr": "10.2.0.0/24", "ip_version": 6}, 400, "InvalidInput", ("ip_version",)),
        ({"cidr": "169.254.169.0/24"}, 400, "InvalidInput", ("metadata",)),
        ({"cidr": "0.0.0.0/0"}, 400, "InvalidInput", ("/1",)),
        ({"cidr": "127.1.0.0/16"}, 400, "InvalidInput", ("loopback",)),
        ({"cidr": "224.1.0.0/16"}, 400, "InvalidInput", ("multicast",)),
        ({"cidr": "10.2.0.0/31"}, 400, "InvalidInput", ("DHCP",)),
        ({"cidr": "10.2.0.0/24", "gateway_ip": "10.2.0.0"}, 400, "InvalidInput", ("gateway_ip", "10.2.0.0")),
        ({"cidr": "10.2.0.0/24", "gateway_ip": "10.2.0.255"}, 400, "InvalidInput", ("gateway_ip",)),
        (
            {"cidr": "10.2.0.0/24", "allocation_pools": [{"start": "10.2.0.5", "end": "10.2.1.5"}]},
            400, "OutOfBoundsAllocationPool", ("allocation_pools", "beyond"),
        ),
        (
            {"cidr": "10.2.0.0/24", "allocation_pools": [{"start": "10.2.0.9", "end": "10.2.0.5"}]},
            400, "InvalidAllocationPool", ("ends before",),
        ),
        (
            {
                "cidr": "10.2.0.0/24",
                "allocation_pools": [
                    {"start": "10.2.0.5", "end": "10.2.0.9"}, {"start": "10.2.0.9", "end": "10.2.0.12"},
                ],
            },
            409, "OverlappingAllocationPools", ("overlaps",),
        ),
        (
            {"cidr": "10.2.0.0/24", "gateway_ip": "10.2.0.9",
             "allocation_pools": [{"start": "10.2.0.5", "end": "10.2.0.12"}]},
            409, "GatewayConflictWithAllocationPools", ("gateway",),
        ),
        (
            {"cidr": "10.2.0.0/24", "allocation_pools": [{"start": "10.2.0.5"}]},
            400, "HTTPBadRequest", ("start and end",),
        ),
        ({"cidr": "10.2.0.0/24", "dns_nameservers": ["1.1.1.1\nevil=1"]}, 400, "InvalidInput", ("dns_nameservers",)),
        (
            {"cidr": "10.2.0.0/24", "host_routes": [{"destination": "10.0.0.0/8", "nexthop": "x"}]},
            400, "InvalidInput", ("host_routes",),
        ),
        ({}, 400, "BadRequest", ("subnetpool", "cidr")),
        (
            {"cidr": "10.2.0.0/24", "allocation_pools": [{"start": "10.2.0.5", "end": "10.2.0.9"}] * 2},
            409, "OverlappingAllocationPools", ("10.2.0.5-10.2.0.9",),
        ),
        (
            {"cidr": "10.2.0.0/24", "allocation_pools": [{"start": "10.2.0.5", "end": "10.2.0.9", "x": 1}]},
            400, "HTTPBadRequest", ("allocation_pools", "'x': 1", "start and end"),
        ),
        (
            {"cidr": "10.2.0.0/24", "host_routes": [{"destination": "10.0.0.0/8", "nexthop": "10.2.0.5"}] * 2},
            400, "HTTPBadRequest", ("host_routes", "10.0.0.0/8", "twice"),
        ),
        *(
            ({"cidr": "10.2.0.0/24", "gateway_ip": address}, 400, "InvalidInput", ("gateway_ip", address))
            for address in ("10.2.0.255", "10.2.0.0")
        ),
        ({"cidr": "10.2.0.0/24", "dns_nameservers": ["1.1.1.1"] * 2}, 400, "HTTPBadRequest", ("twice",)),
        (
            {"cidr": "10.2.0.0/24", "dns_nameservers": [f"1.1.1.{n}" for n in range(6)]},
            400, "DNSNameServersExhausted", ("6",),
        ),
    ],
)  # fmt: skip
async def test_a_senseless_subnet_is_refused(
    client: Any, fields: dict[str, Any], status: int, kind: str, words: tuple[str, ...]
) -> None:
    ann = client("ann")
    network = await made(ann, "network")
    await made(ann, "subnet", network_id=network["id"], cidr="10.1.5.0/24")
    reply = await ann.post("/v2.0/subnets", json={"subnet": {"network_id": network["id"], "ip_version": 4, **fields}})
    refused(reply, status, kind, *words)


async def test_what_is_in_use_stays(client: Any) -> None:
    ann = client("ann")
    network = await made(ann, "network")
    subnet = await made(ann, "subnet", network_id=network["id"], cidr="10.1.5.0/24")
    port = await made(ann, "port", network_id=network["id"])
    refused(await ann.delete(f"/v2.0/subnets/{subnet['id']}"), 409, "SubnetInUse", subnet["id"])
    refused(await ann.delete(f"/v2.0/networks/{network['id']}"), 409, "NetworkInUse", network["id"])
    assert (await ann.delete(f"/v2.0/ports/{port['id']}")).status_code == 204
    assert (await ann.delete(f"/v2.0/networks/{network['id']}")).status_code == 204
    assert (await ann.get("/v2.0/subnets")).json() == {"subnets": []}
    assert (await ann.get("/v2.0/ports")).json() == {"ports": []}


async def test_over_quota_names_resource_asked_used_and_limit(client: Any) -> None:
    ann, path = client("ann"), f"/v2.0/quotas/{'a' * 32}"
    refused(await ann.put(path, json={"quota": {"network": 1}}), 403, "PolicyNotAuthorized")
    reply = await client("root").put(path, json={"quota": {"network": "1"}})
    assert reply.json()["quota"] == {
        "network": 1, "subnet": 100, "port": 500, "security_group": 10, "security_group_rule": 100,
        "address_group": 100, "router": 10, "floatingip": 50, "subnetpool": 100, "address_scope": 100,
    }  # fmt: skip
    await made(ann, "network")
    reply = await ann.post("/v2.0/networks", json={"network": {}})
    refused(reply, 409, "OverQuota", "network", "requested 1", "used 1", "limit 1")
    assert (await ann.get(path + "/details")).json()["quota"]["network"] == {"limit": 1, "used": 1, "reserved": 0}
    assert (await ann.get(path + "/default")).json()["quota"]["network"] == 100
    refused(await client("bob").get(path), 403, "PolicyNotAuthorized")
    reply = await client("root").put(path, json={"quota": {"network": 0}})
    refused(reply, 400, "HTTPBadRequest", "network")
    assert [item["project_id"] for item in (await client("root").get("/v2.0/quotas")).json()["quotas"]] == ["a" * 32]
    assert (await client("root").delete(path)).status_code == 204
    await made(ann, "network")


async def test_a_list_is_filtered_sorted_cut_and_paged_both_ways(client: Any) -> None:
    ann = client("ann")
    for name in ("c", "a", "b", "d", "e"):
        await made(ann, "network", name=name, admin_state_up=name != "d")
    names = [n["name"] for n in (await ann.get("/v2.0/networks?name=a&name=c&sort_key=name")).json()["networks"]]
    assert names == ["a", "c"]
    reply = await ann.get("/v2.0/networks?sort_key=name&sort_dir=desc&fields=name&admin_state_up=true")
    assert reply.json() == {"networks": [{"name": name} for name in "ecba"]}
    page = (await ann.get("/v2.0/networks?sort_key=name&limit=2")).json()
    assert [n["name"] for n in page["networks"]] == ["a", "b"]
    (following,) = [link["href"] for link in page["networks_links"] if link["rel"] == "next"]
    second = (await ann.get(following)).json()
    assert [n["name"] for n in second["networks"]] == ["c", "d"]
    (back,) = [link["href"] for link in second["networks_links"] if link["rel"] == "previous"]
    assert [n["name"] for n in (await ann.get(back)).json()["networks"]] == ["a", "b"]
    refused(await ann.get("/v2.0/networks?colour=red"), 400, "HTTPBadRequest", "colour")
    refused(await ann.get("/v2.0/networks?shared=perhaps"), 400, "InvalidInput", "shared", "perhaps")
    refused(await ann.get(f"/v2.0/networks?mtu={'9' * 30}"), 400, "InvalidInput", "mtu")
    refused(await ann.get("/v2.0/networks?limit=%C2%B2"), 400, "InvalidInput", "limit")
    refused(await ann.get("/v2.0/subnets?ip_version=%C2%B2"), 400, "InvalidInput", "ip_version")
    refused(await ann.get("/v2.0/networks?limit=2&marker=none"), 400, "InvalidInput", "marker")
    refused(await ann.get("/v2.0/networks?sort_key=colour"), 400, "HTTPBadRequest", "sort_key")


async def test_extensions_are_listed_and_shown(client: Any) -> None:
    aliases = {item["alias"] for item in (await client("ann").get("/v2.0/extensions")).json()["extensions"]}
    assert {"security-group", "port-security", "quotas", "agent", "binding"} <= aliases
    assert "qos" not in aliases
    assert (await client("ann").get("/v2.0/extensions/security-group")).json()["extension"]["alias"] == "security-group"
    refused(await client("ann").get("/v2.0/extensions/qos"), 404, "HTTPNotFound")
