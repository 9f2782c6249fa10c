"""Routers over HTTP: what they join, how they lead out, and what is refused."""

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


async def act(client: httpx.AsyncClient, its: Any, deed: str, **body: Any) -> httpx.Response:
    return await client.put(f"/v2.0/routers/{its['id']}/{deed}", json=body)


async def change(client: httpx.AsyncClient, router: Any, **fields: Any) -> httpx.Response:
    return await client.put(f"/v2.0/routers/{router['id']}", json={"router": fields})


async def join(client: httpx.AsyncClient, router: Any, **body: Any) -> dict[str, Any]:
    reply = await act(client, router, "add_router_interface", **body)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def network(make: Any, who: str, cidr: str, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    made = await make(who, "network", **fields)
    return made, await make(who, "subnet", network_id=made["id"], cidr=cidr)


@pytest.fixture
async def outside(make: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give an external network with its subnet."""
    return await network(make, "root", "203.0.113.0/24", name="public", **{"router:external": True})


async def test_a_router_lives_and_dies(client: Any, make: Any) -> None:
    ann = client("ann")
    router = await make("ann", "router", name="front")
    assert {key: router[key] for key in ("name", "status", "admin_state_up", "external_gateway_info", "routes")} == {
        "name": "front", "status": "ACTIVE", "admin_state_up": True, "external_gateway_info": None, "routes": [],
    }  # fmt: skip
    assert router["tenant_id"] == router["project_id"] == "a" * 32
    assert "distributed" not in router
    assert (await client("root").get(f"/v2.0/routers/{router['id']}")).json()["router"]["distributed"] is False
    changed = (await change(ann, router, name="back", admin_state_up=False, description="of the shop")).json()["router"]
    assert (changed["name"], changed["admin_state_up"], changed["revision_number"]) == ("back", False, 1)
    assert [each["id"] for each in (await ann.get("/v2.0/routers?name=back")).json()["routers"]] == [router["id"]]
    for who in ("bob", "eve"):
        status = 404 if who == "bob" else 403
        assert (await change(client(who), router, name="mine")).status_code == status
    path = f"/v2.0/routers/{router['id']}"
    assert (await ann.delete(path)).status_code == 204
    refused(await ann.get(path), 404, "RouterNotFound")


async def test_an_interface_is_at_the_subnets_gateway(client: Any, make: Any) -> None:
    ann, router = client("ann"), await make("ann", "router")
    inner, subnet = await network(make, "ann", "10.1.0.0/24")
    joined = await join(ann, router, subnet_id=subnet["id"])
    assert {key: joined[key] for key in ("id", "network_id", "subnet_id", "subnet_ids", "tenant_id")} == {
        "id": router["id"], "network_id": inner["id"], "subnet_id": subnet["id"], "subnet_ids": [subnet["id"]],
        "tenant_id": "a" * 32,
    }  # fmt: skip
    port = (await ann.get(f"/v2.0/ports/{joined['port_id']}")).json()["port"]
    assert (port["device_owner"], port["device_id"]) == ("network:router_interface", router["id"])
    assert port["fixed_ips"] == [{"subnet_id": subnet["id"], "ip_address": "10.1.0.1"}]
    assert (port["status"], port["security_groups"], port["port_security_enabled"]) == ("ACTIVE", [], False)
    refused(await act(ann, router, "add_router_interface", subnet_id=subnet["id"]), 400, "BadRequest", "already has")
    refused(await ann.delete(f"/v2.0/routers/{router['id']}"), 409, "RouterInUse", "still has ports")
    refused(await ann.delete(f"/v2.0/ports/{port['id']}"), 409, "ServicePortInUse", "network:router_interface")
    refused(await ann.delete(f"/v2.0/subnets/{subnet['id']}"), 409, "SubnetInUse")
    refused(await ann.delete(f"/v2.0/networks/{inner['id']}"), 409, "NetworkInUse")
    gone = (await act(ann, router, "remove_router_interface", subnet_id=subnet["id"])).json()
    assert gone == joined
    reply = await act(ann, router, "remove_router_interface", subnet_id=subnet["id"])
    refused(reply, 404, "RouterInterfaceNotFoundForSubnet")
    assert (await ann.get(f"/v2.0/ports/{port['id']}")).status_code == 404


async def test_an_interface_may_be_a_port_of_the_user(client: Any, make: Any) -> None:
    ann, router = client("ann"), await make("ann", "router")
    inner, subnet = await network(make, "ann", "10.1.0.0/24")
    port = await make("ann", "port", network_id=inner["id"])
    joined = await join(ann, router, port_id=port["id"])
    assert joined["port_id"] == port["id"]
    other = await make("ann", "router")
    refused(await act(ann, other, "add_router_interface", port_id=port["id"]), 409, "PortInUse")
    wrong = {"port_id": port["id"], "subnet_id": (await network(make, "ann", "10.2.0.0/24"))[1]["id"]}
    refused(await act(ann, router, "remove_router_interface", **wrong), 409, "SubnetMismatchForPort")
    reply = await act(ann, other, "remove_router_interface", port_id=port["id"])
    refused(reply, 404, "RouterInterfaceNotFound")
    assert (await act(ann, router, "remove_router_interface", port_id=port["id"])).json()["subnet_id"] == subnet["id"]
    bare = await make("ann", "port", network_id=inner["id"], fixed_ips=[])
    refused(await act(ann, router, "add_router_interface", port_id=bare["id"]), 400, "BadRequest", "fixed IP")


async def test_an_interface_has_another_address_of_its_subnet(client: Any, make: Any) -> None:
    ann, router = client("ann"), await make("ann", "router")
    inner, subnet = await network(make, "ann", "10.1.0.0/24")
    path = f"/v2.0/ports/{(await join(ann, router, subnet_id=subnet['id']))['port_id']}"
    await make("ann", "subnet", network_id=inner["id"], cidr="10.2.0.0/24")

    async def move(*addresses: dict[str, str]) -> httpx.Response:
        return await ann.put(path, json={"port": {"fixed_ips": list(addresses)}})

    here = {"subnet_id": subnet["id"], "ip_address": "10.1.0.1"}
    before = (await ann.get(path)).json()["port"]
    assert (await move({"subnet_id": subnet["id"]})).json()["port"] == before, "it keeps what it has"
    moved = (await move({"ip_address": "10.1.0.7"})).json()["port"]
    assert moved["fixed_ips"] == [{**here, "ip_address": "10.1.0.7"}]
    route = {"destination": "192.0.2.0/24", "nexthop": "10.1.0.1"}
    assert (await change(ann, router, routes=[route])).status_code == 200
    refused(await move(here), 400, "InvalidRoutes", "used by router")
    for elsewhere in ((), ({"ip_address": "10.2.0.9"},), ({"ip_address": "10.1.0.8"}, {"ip_address": "10.1.0.9"})):
        refused(await move(*elsewhere), 409, "ServicePortInUse", "its subnets cannot change")
    taken = (await make("ann", "port", network_id=inner["id"], fixed_ips=[{"subnet_id": subnet["id"]}]))["fixed_ips"]
    refused(await move(*taken), 409, "IpAddressInUse")
    assert (await ann.get(path)).json()["port"] == moved


@pytest.mark.parametrize("kind", ["distributed", "ha"])
async def test_there_is_one_kind_of_router(client: Any, make: Any, kind: str) -> None:
    """Another is refused, by name, whoever asks for it; Neutron's policy has administrators alone name a kind."""
    ann, root = client("ann"), client("root")
    router = await make("ann", "router")
    for chosen in (True, False):
        refused(await ann.post("/v2.0/routers", json={"router": {kind: chosen}}), 403, "PolicyNotAuthorized", kind)
        refused(await change(ann, router, **{kind: chosen}), 403, "PolicyNotAuthorized", kind)
    refused(await root.post("/v2.0/routers", json={"router": {kind: True}}), 400, "InvalidInput", kind)
    refused(await change(root, router, **{kind: "yes"}), 400, "InvalidInput", kind)
    assert (await make("root", "router", **{kind: False}))[kind] is False
    assert (await change(root, router, **{kind: False})).json()["router"][kind] is False
    assert len((await root.get(f"/v2.0/routers?{kind}=false")).json()["routers"]) == 2
    assert (await root.get(f"/v2.0/routers?{kind}=true")).json()["routers"] == []


async def test_what_is_no_interface_is_refused(client: Any, make: Any) -> None:
    ann, router = client("ann"), await make("ann", "router")
    inner, subnet = await network(make, "ann", "10.1.0.0/24")
    refused(await act(ann, router, "add_router_interface"), 400, "BadRequest", "Either subnet_id or port_id")
    port = await make("ann", "port", network_id=inner["id"])
    both = {"subnet_id": subnet["id"], "port_id": port["id"]}
    refused(await act(ann, router, "add_router_interface", **both), 400, "BadRequest", "Cannot specify both")
    _, closed = await network(make, "ann", "10.3.0.0/24")
    await ann.put(f"/v2.0/subnets/{closed['id']}", json={"subnet": {"gateway_ip": None}})
    refused(await act(ann, router, "add_router_interface", subnet_id=closed["id"]), 400, "BadRequest", "gateway IP")
    await join(ann, router, subnet_id=subnet["id"])
    _, overlapping = await network(make, "ann", "10.1.0.128/25")
    reply = await act(ann, router, "add_router_interface", subnet_id=overlapping["id"])
    refused(reply, 400, "BadRequest", "overlaps with cidr 10.1.0.0/24")
    _, foreign = await network(make, "bob", "10.4.0.0/24")
    refused(await act(ann, router, "add_router_interface", subnet_id=foreign["id"]), 404, "SubnetNotFound")
    _, shared = await network(make, "root", "10.5.0.0/24", shared=True)
    reply = await act(ann, router, "add_router_interface", subnet_id=shared["id"])
    refused(reply, 400, "BadRequest", "not owned by project")
    taken = (await network(make, "ann", "10.6.0.0/24"))[1]
    await make("ann", "port", network_id=taken["network_id"], fixed_ips=[{"ip_address": "10.6.0.1"}])
    reply = await act(ann, router, "add_router_interface", subnet_id=taken["id"])
    refused(reply, 409, "IpAddressInUse", "10.6.0.1")


async def test_a_gateway_leads_out(client: Any, make: Any, outside: Any) -> None:
    public, subnet = outside
    ann = client("ann")
    assert [each["name"] for each in (await ann.get("/v2.0/networks?router:external=true")).json()["networks"]] == [
        "public"
    ]
    assert (await ann.get(f"/v2.0/subnets/{subnet['id']}")).status_code == 404
    router = await make("ann", "router", external_gateway_info={"network_id": public["id"]})
    info = router["external_gateway_info"]
    ((given,),) = (info["external_fixed_ips"],)
    assert (info["network_id"], info["enable_snat"], given["subnet_id"]) == (public["id"], True, subnet["id"])
    ports = f"/v2.0/ports?device_id={router['id']}"
    assert (await ann.get(ports)).json()["ports"] == [], "a gateway's port is nobody's"
    (port,) = (await client("root").get(ports)).json()["ports"]
    assert (port["device_owner"], port["tenant_id"]) == ("network:router_gateway", "")
    refused(await client("root").delete(f"/v2.0/networks/{public['id']}"), 409, "NetworkInUse")
    body = {"network": {"router:external": False}}
    reply = await client("root").put(f"/v2.0/networks/{public['id']}", json=body)
    refused(reply, 409, "ExternalNetworkInUse")
    again = (await change(ann, router, external_gateway_info={"network_id": public["id"]})).json()["router"]
    assert again["external_gateway_info"] == info, "what is so already stays"
    assert again["revision_number"] == router["revision_number"]
    cleared = (await change(ann, router, external_gateway_info={})).json()["router"]
    assert cleared["external_gateway_info"] is None
    assert (await client("root").get(ports)).json()["ports"] == []
    assert (await ann.delete(f"/v2.0/routers/{router['id']}")).status_code == 204


async def test_who_may_choose_what_of_a_gateway(client: Any, make: Any, outside: Any) -> None:
    public, subnet = outside
    ann, root = client("ann"), client("root")
    router = await make("ann", "router")
    chosen = {"network_id": public["id"], "external_fixed_ips": [{"ip_address": "203.0.113.77"}]}
    refused(await change(ann, router, external_gateway_info=chosen), 403, "PolicyNotAuthorized")
    plain = {"network_id": public["id"], "enable_snat": False}
    refused(await change(ann, router, external_gateway_info=plain), 403, "PolicyNotAuthorized", "enable_snat")
    found = (await change(root, router, external_gateway_info={**chosen, "enable_snat": False})).json()["router"]
    assert found["external_gateway_info"] == {
        "network_id": public["id"],
        "enable_snat": False,
        "external_fixed_ips": [{"subnet_id": subnet["id"], "ip_address": "203.0.113.77"}],
    }
    held = found["external_gateway_info"]
    assert (await change(ann, router, external_gateway_info=held)).status_code == 200, "as it is already"
    two = [{"ip_address": "203.0.113.77"}, {"subnet_id": subnet["id"], "ip_address": "203.0.113.78"}]
    several = {"network_id": public["id"], "external_fixed_ips": two}
    found = (await change(root, router, external_gateway_info=several)).json()["router"]
    given = [each["ip_address"] for each in found["external_gateway_info"]["external_fixed_ips"]]
    assert given == ["203.0.113.77", "203.0.113.78"]
    inner, _ = await network(make, "ann", "10.1.0.0/24")
    reply = await change(ann, router, external_gateway_info={"network_id": inner["id"]})
    refused(reply, 400, "BadRequest", "not an external network")
    bad = {"network_id": public["id"], "external_fixed_ips": [{"ip_address": "203.0.113.1"}]}
    refused(await change(root, router, external_gateway_info=bad), 400, "BadRequest", "same as the gateway IP")


async def test_extra_routes_lead_over_the_routers_own_networks(client: Any, make: Any) -> None:
    ann, router = client("ann"), await make("ann", "router")
    _, subnet = await network(make, "ann", "10.1.0.0/24")
    await join(ann, router, subnet_id=subnet["id"])
    one, two = ({"destination": f"10.{number}.0.0/16", "nexthop": "10.1.0.9"} for number in (8, 9))
    assert (await change(ann, router, routes=[one])).json()["router"]["routes"] == [one]
    reply = await act(ann, router, "add_extraroutes", router={"routes": [one, two]})
    assert reply.json()["router"]["routes"] == [one, two]
    reply = await act(ann, router, "remove_extraroutes", router={"routes": [one]})
    assert reply.json()["router"]["routes"] == [two]
    reply = await act(ann, router, "remove_router_interface", subnet_id=subnet["id"])
    refused(reply, 409, "RouterInterfaceInUseByRoute")
    for nexthop, why in (("10.2.0.9", "not connected"), ("10.1.0.1", "used by router")):
        reply = await change(ann, router, routes=[{**one, "nexthop": nexthop}])
        refused(reply, 400, "InvalidRoutes", why)
    many = [{"destination": f"10.{number}.0.0/16", "nexthop": "10.1.0.9"} for number in range(10, 41)]
    refused(await change(ann, router, routes=many), 409, "OverQuota")
    assert (await change(ann, router, routes=[])).json()["router"]["routes"] == []
    assert (await act(ann, router, "remove_router_interface", subnet_id=subnet["id"])).status_code == 200


async def test_a_project_has_as_many_routers_as_its_quota(client: Any, make: Any) -> None:
    quota = {"quota": {"router": 1}}
    assert (await client("root").put(f"/v2.0/quotas/{'a' * 32}", json=quota)).status_code == 200
    await make("ann", "router")
    refused(await client("ann").post("/v2.0/routers", json={"router": {}}), 409, "OverQuota", "router")
