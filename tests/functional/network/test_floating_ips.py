"""Floating IPs over HTTP: where they lead, and what is refused."""

from __future__ import annotations

from typing import Any

import httpx
import pytest


def refused(reply: httpx.Response, status: int, kind: str, *words: str) -> None:
    assert reply.status_code == status, reply.text
    fault = reply.json()["NeutronError"]
    assert fault["type"] == kind
    for word in words:
        assert word in fault["message"]


@pytest.fixture
async def public(make: Any) -> dict[str, Any]:
    """Give an external network with a subnet."""
    made: dict[str, Any] = await make("root", "network", name="public", **{"router:external": True})
    await make("root", "subnet", network_id=made["id"], cidr="203.0.113.0/24")
    return made


@pytest.fixture
async def router(client: Any, make: Any, public: dict[str, Any]) -> dict[str, Any]:
    """Give a router between a network of a project and the outside; `network_id` and `subnet_id` are of the first."""
    made: dict[str, Any] = await make("ann", "router", external_gateway_info={"network_id": public["id"]})
    network = await make("ann", "network")
    subnet = await make("ann", "subnet", network_id=network["id"], cidr="10.1.0.0/24")
    body = {"subnet_id": subnet["id"]}
    assert (await client("ann").put(f"/v2.0/routers/{made['id']}/add_router_interface", json=body)).status_code == 200
    return {**made, "network_id": network["id"], "subnet_id": subnet["id"]}


async def lead(client: httpx.AsyncClient, floating: Any, **fields: Any) -> httpx.Response:
    return await client.put(f"/v2.0/floatingips/{floating['id']}", json={"floatingip": fields})


async def test_a_floating_ip_lives_and_dies(client: Any, make: Any, public: Any) -> None:
    ann = client("ann")
    floating = await make("ann", "floatingip", floating_network_id=public["id"], description="of the shop")
    assert {key: floating[key] for key in ("status", "port_id", "fixed_ip_address", "router_id", "description")} == {
        "status": "DOWN", "port_id": None, "fixed_ip_address": None, "router_id": None, "description": "of the shop",
    }  # fmt: skip
    assert floating["floating_ip_address"].startswith("203.0.113.")
    assert "subnet_id" not in floating
    listed = (await ann.get(f"/v2.0/floatingips?floating_ip_address={floating['floating_ip_address']}")).json()
    assert [each["id"] for each in listed["floatingips"]] == [floating["id"]]
    assert (await client("bob").get("/v2.0/floatingips")).json() == {"floatingips": []}
    refused(await client("bob").delete(f"/v2.0/floatingips/{floating['id']}"), 404, "FloatingIPNotFound")
    (port,) = (await client("root").get(f"/v2.0/ports?device_id={floating['id']}")).json()["ports"]
    assert (port["device_owner"], port["tenant_id"]) == ("network:floatingip", "")
    refused(await client("root").delete(f"/v2.0/ports/{port['id']}"), 409, "ServicePortInUse", "network:floatingip")
    assert (await ann.delete(f"/v2.0/floatingips/{floating['id']}")).status_code == 204
    assert (await client("root").get(f"/v2.0/ports/{port['id']}")).status_code == 404


async def test_a_floating_ip_has_no_name_and_says_so(client: Any, make: Any, public: Any) -> None:
    """As in Neutron without a DNS service outside; there a name that is given is forgotten without a word."""
    plain = {"floating_network_id": public["id"]}
    for given in ({}, {"dns_name": "", "dns_domain": ""}):
        floating = await make("ann", "floatingip", **plain, **given)
        assert (floating["dns_name"], floating["dns_domain"]) == ("", "")
    for given in ({"dns_name": "web"}, {"dns_domain": "example.org."}):
        reply = await client("ann").post("/v2.0/floatingips", json={"floatingip": {**plain, **given}})
        refused(reply, 400, "HTTPBadRequest", *given, "no DNS service outside")
    assert (await lead(client("ann"), floating, dns_name="")).status_code == 400  # no client may change it
    left = (await client("ann").get("/v2.0/floatingips?fields=dns_name&fields=id")).json()["floatingips"]
    assert [each["dns_name"] for each in left] == ["", ""]


async def test_a_floating_ip_leads_to_a_port_and_moves(client: Any, make: Any, public: Any, router: Any) -> None:
    ann = client("ann")
    one, two = [await make("ann", "port", network_id=router["network_id"], name=name) for name in ("one", "two")]
    floating = await make("ann", "floatingip", floating_network_id=public["id"], port_id=one["id"])
    fixed = one["fixed_ips"][0]["ip_address"]
    assert (floating["status"], floating["port_id"], floating["fixed_ip_address"], floating["router_id"]) == (
        "ACTIVE", one["id"], fixed, router["id"],
    )  # fmt: skip
    found = (await ann.get(f"/v2.0/floatingips?port_id={one['id']}&status=ACTIVE")).json()["floatingips"]
    assert [each["id"] for each in found] == [floating["id"]]
    moved = (await lead(ann, floating, port_id=two["id"])).json()["floatingip"]
    assert (moved["port_id"], moved["revision_number"]) == (two["id"], floating["revision_number"] + 1)
    second = {"floating_network_id": public["id"], "port_id": two["id"]}
    reply = await ann.post("/v2.0/floatingips", json={"floatingip": second})
    refused(reply, 409, "FloatingIPPortAlreadyAssociated", two["id"])
    same = (await lead(ann, floating, port_id=two["id"])).json()["floatingip"]
    assert same["revision_number"] == moved["revision_number"], "what is so already stays"
    nowhere = (await lead(ann, floating, port_id=None)).json()["floatingip"]
    assert (nowhere["status"], nowhere["fixed_ip_address"], nowhere["router_id"]) == ("DOWN", None, None)


async def test_a_port_that_goes_leaves_its_floating_ip_behind(client: Any, make: Any, public: Any, router: Any) -> None:
    ann = client("ann")
    port = await make("ann", "port", network_id=router["network_id"])
    floating = await make("ann", "floatingip", floating_network_id=public["id"], port_id=port["id"])
    assert (await ann.delete(f"/v2.0/ports/{port['id']}")).status_code == 204
    found = (await ann.get(f"/v2.0/floatingips/{floating['id']}")).json()["floatingip"]
    assert (found["port_id"], found["fixed_ip_address"], found["router_id"], found["status"]) == (
        None, None, None, "DOWN",
    )  # fmt: skip


async def test_what_a_floating_ip_leads_through_stays(client: Any, make: Any, public: Any, router: Any) -> None:
    ann, path = client("ann"), f"/v2.0/routers/{router['id']}"
    port = await make("ann", "port", network_id=router["network_id"])
    floating = await make("ann", "floatingip", floating_network_id=public["id"], port_id=port["id"])
    reply = await ann.put(f"{path}/remove_router_interface", json={"subnet_id": router["subnet_id"]})
    refused(reply, 409, "RouterInterfaceInUseByFloatingIP")
    reply = await ann.put(path, json={"router": {"external_gateway_info": None}})
    refused(reply, 409, "RouterExternalGatewayInUseByFloatingIp")
    body = {"port": {"fixed_ips": [{"ip_address": "10.1.0.77"}]}}
    reply = await ann.put(f"/v2.0/ports/{port['id']}", json=body)
    refused(reply, 400, "BadRequest", "floating ip")
    both = [{"ip_address": port["fixed_ips"][0]["ip_address"]}, {"ip_address": "10.1.0.77"}]
    assert (await ann.put(f"/v2.0/ports/{port['id']}", json={"port": {"fixed_ips": both}})).status_code == 200
    assert (await ann.delete(f"/v2.0/floatingips/{floating['id']}")).status_code == 204
    assert (await ann.put(path, json={"router": {"external_gateway_info": None}})).status_code == 200


async def test_where_a_floating_ip_cannot_lead(client: Any, make: Any, public: Any, router: Any) -> None:
    ann = client("ann")
    floating = await make("ann", "floatingip", floating_network_id=public["id"])
    alone = await make("ann", "network")
    await make("ann", "subnet", network_id=alone["id"], cidr="10.7.0.0/24")
    port = await make("ann", "port", network_id=alone["id"])
    refused(await lead(ann, floating, port_id=port["id"]), 404, "ExternalGatewayForFloatingIPNotFound", port["id"])
    bare = await make("ann", "port", network_id=router["network_id"], fixed_ips=[])
    refused(await lead(ann, floating, port_id=bare["id"]), 400, "BadRequest", "no fixed IPv4")
    addresses = [{"ip_address": "10.1.0.20"}, {"ip_address": "10.1.0.21"}]
    two = await make("ann", "port", network_id=router["network_id"], fixed_ips=addresses)
    refused(await lead(ann, floating, port_id=two["id"]), 400, "BadRequest", "multiple fixed IPv4")
    named = {"port_id": two["id"], "fixed_ip_address": "10.1.0.22"}
    refused(await lead(ann, floating, **named), 400, "BadRequest", "does not have fixed ip")
    found = (await lead(ann, floating, port_id=two["id"], fixed_ip_address="10.1.0.21")).json()["floatingip"]
    assert found["fixed_ip_address"] == "10.1.0.21"
    refused(await lead(ann, floating, fixed_ip_address="10.1.0.20"), 400, "BadRequest", "without a port_id")
    foreign = await make("bob", "network")
    await make("bob", "subnet", network_id=foreign["id"], cidr="10.8.0.0/24")
    other = await make("bob", "port", network_id=foreign["id"])
    refused(await lead(ann, floating, port_id=other["id"]), 404, "PortNotFound")
    reply = await ann.post("/v2.0/floatingips", json={"floatingip": {"floating_network_id": alone["id"]}})
    refused(reply, 400, "BadRequest", "not a valid external network")


async def test_who_may_ask_for_an_address(client: Any, make: Any, public: Any) -> None:
    asked = {"floating_network_id": public["id"], "floating_ip_address": "203.0.113.50"}
    refused(await client("ann").post("/v2.0/floatingips", json={"floatingip": asked}), 403, "PolicyNotAuthorized")
    floating = await make("root", "floatingip", **asked, project_id="a" * 32)
    assert floating["floating_ip_address"] == "203.0.113.50"
    refused(await client("root").post("/v2.0/floatingips", json={"floatingip": asked}), 409, "IpAddressInUse")
    outside = {**asked, "floating_ip_address": "198.51.100.7"}
    refused(await client("root").post("/v2.0/floatingips", json={"floatingip": outside}), 400, "InvalidIpForNetwork")


async def test_a_floating_ip_may_be_of_one_subnet(client: Any, make: Any, public: Any) -> None:
    second = await make("root", "subnet", network_id=public["id"], cidr="198.51.100.0/24")
    floating = await make("ann", "floatingip", floating_network_id=public["id"], subnet_id=second["id"])
    assert floating["floating_ip_address"].startswith("198.51.100.")
    inner = await make("ann", "network")
    other = await make("ann", "subnet", network_id=inner["id"], cidr="10.1.0.0/24")
    asked = {"floating_network_id": public["id"], "subnet_id": other["id"]}
    refused(await client("ann").post("/v2.0/floatingips", json={"floatingip": asked}), 400, "InvalidInput")


async def test_a_network_without_addresses_left_gives_none(client: Any, make: Any) -> None:
    small = await make("root", "network", **{"router:external": True})
    asked = {"floatingip": {"floating_network_id": small["id"]}}
    refused(await client("ann").post("/v2.0/floatingips", json=asked), 400, "BadRequest", "any IPv4 subnet")
    await make("root", "subnet", network_id=small["id"], cidr="198.51.100.0/30", enable_dhcp=False)
    assert (await client("ann").post("/v2.0/floatingips", json=asked)).status_code == 201
    refused(await client("ann").post("/v2.0/floatingips", json=asked), 409, "IpAddressGenerationFailure")
