"""Routers, floating IPs and what they stand on, deleted in the wrong order, and asked for by who means harm."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

Made = dict[str, Any]


def refused(reply: httpx.Response, status: int, kind: str, *words: str) -> None:
    assert reply.status_code == status, reply.text
    fault = reply.json()["NeutronError"]
    assert fault["type"] == kind
    for word in words:
        assert word in fault["message"]


@pytest.fixture
async def site(client: Any, make: Any) -> dict[str, Made]:
    """Give a project's way out, and a floating IP that leads in by it."""
    public = await make("root", "network", name="public", **{"router:external": True})
    outside = await make("root", "subnet", network_id=public["id"], cidr="203.0.113.0/24", enable_dhcp=False)
    private = await make("ann", "network")
    subnet = await make("ann", "subnet", network_id=private["id"], cidr="10.1.0.0/24")
    router = await make("ann", "router", external_gateway_info={"network_id": public["id"]})
    path = f"/v2.0/routers/{router['id']}/add_router_interface"
    joined = (await client("ann").put(path, json={"subnet_id": subnet["id"]})).json()
    port = await make("ann", "port", network_id=private["id"])
    floating = await make("ann", "floatingip", floating_network_id=public["id"], port_id=port["id"])
    every = {"device_id": [router["id"], floating["id"]]}
    found = (await client("root").get("/v2.0/ports", params=every)).json()["ports"]
    by_owner = {each["device_owner"].removeprefix("network:"): each for each in found}
    return {
        "public": public, "outside": outside, "private": private, "subnet": subnet, "router": router, "port": port,
        "floating": floating, "joined": joined, **by_owner,
    }  # fmt: skip


async def test_what_is_used_stays_whoever_deletes_it(client: Any, site: Any) -> None:
    root = client("root")
    for kind, name, status, fault in (
        ("networks", "public", 409, "NetworkInUse"),
        ("subnets", "outside", 409, "SubnetInUse"),
        ("networks", "private", 409, "NetworkInUse"),
        ("subnets", "subnet", 409, "SubnetInUse"),
        ("routers", "router", 409, "RouterInUse"),
        ("ports", "router_interface", 409, "ServicePortInUse"),
        ("ports", "router_gateway", 409, "ServicePortInUse"),
        ("ports", "floatingip", 409, "ServicePortInUse"),
    ):
        refused(await root.delete(f"/v2.0/{kind}/{site[name]['id']}"), status, fault, site[name]["id"])
        assert (await root.get(f"/v2.0/{kind}/{site[name]['id']}")).status_code == 200


async def test_what_leads_in_by_it_keeps_a_way_open(client: Any, site: Any) -> None:
    ann, root = client("ann"), client("root")
    router, private = site["router"]["id"], {"network": {"router:external": False}}
    closed: dict[str, Any] = {"router": {"external_gateway_info": {}}}
    kind = "RouterExternalGatewayInUseByFloatingIp"
    refused(await ann.put(f"/v2.0/routers/{router}", json=closed), 409, kind, site["public"]["id"])
    interface = {"subnet_id": site["subnet"]["id"]}
    reply = await ann.put(f"/v2.0/routers/{router}/remove_router_interface", json=interface)
    refused(reply, 409, "RouterInterfaceInUseByFloatingIP", site["subnet"]["id"])
    refused(await root.put(f"/v2.0/networks/{site['public']['id']}", json=private), 409, "ExternalNetworkInUse")
    # The right order: what leads, then the way, then what it led between.
    assert (await ann.put(f"/v2.0/floatingips/{site['floating']['id']}", json={"floatingip": {"port_id": None}})
            ).status_code == 200  # fmt: skip
    assert (await ann.put(f"/v2.0/routers/{router}", json=closed)).status_code == 200
    reply = await root.put(f"/v2.0/networks/{site['public']['id']}", json=private)
    refused(reply, 409, "ExternalNetworkInUse")  # a floating IP is of it still
    assert (await ann.put(f"/v2.0/routers/{router}/remove_router_interface", json=interface)).status_code == 200
    for kind, name in (
        ("routers", "router"), ("ports", "port"), ("subnets", "subnet"), ("networks", "private"),
        ("floatingips", "floating"),
    ):  # fmt: skip
        assert (await ann.delete(f"/v2.0/{kind}/{site[name]['id']}")).status_code == 204
    assert (await root.put(f"/v2.0/networks/{site['public']['id']}", json=private)).status_code == 200
    for kind, name in (("subnets", "outside"), ("networks", "public")):
        assert (await root.delete(f"/v2.0/{kind}/{site[name]['id']}")).status_code == 204


async def test_an_external_network_goes_with_the_floating_ips_that_lead_nowhere(
    client: Any, make: Any, site: Any
) -> None:
    ann, root, path = client("ann"), client("root"), f"/v2.0/networks/{site['public']['id']}"
    elsewhere = await make("root", "network", **{"router:external": True})
    await make("root", "subnet", network_id=elsewhere["id"], cidr="198.51.100.0/24", enable_dhcp=False)
    stays = await make("ann", "floatingip", floating_network_id=elsewhere["id"])
    for _ in range(2):
        await make("ann", "floatingip", floating_network_id=site["public"]["id"])
    refused(await root.delete(path), 409, "NetworkInUse", "(2)")  # the gateway, and what leads in
    assert len((await ann.get("/v2.0/floatingips")).json()["floatingips"]) == 4, "nothing is gone by halves"
    idle = {"floatingip": {"port_id": None}}
    assert (await ann.put(f"/v2.0/floatingips/{site['floating']['id']}", json=idle)).status_code == 200
    refused(await root.delete(path), 409, "NetworkInUse", "(1)")
    forwarding = {
        "protocol": "tcp", "external_port": 80, "internal_port": 80, "internal_port_id": site["port"]["id"],
        "internal_ip_address": site["port"]["fixed_ips"][0]["ip_address"],
    }  # fmt: skip
    forwardings = f"/v2.0/floatingips/{site['floating']['id']}/port_forwardings"
    made = (await ann.post(forwardings, json={"port_forwarding": forwarding})).json()["port_forwarding"]
    refused(await root.delete(path), 409, "NetworkInUse", "(2)")
    assert (await ann.delete(f"{forwardings}/{made['id']}")).status_code == 204
    closed: dict[str, Any] = {"router": {"external_gateway_info": {}}}
    assert (await ann.put(f"/v2.0/routers/{site['router']['id']}", json=closed)).status_code == 200
    assert (await root.delete(path)).status_code == 204
    assert [each["id"] for each in (await ann.get("/v2.0/floatingips")).json()["floatingips"]] == [stays["id"]]
    owners = [each["device_owner"] for each in (await root.get("/v2.0/ports")).json()["ports"]]
    assert owners.count("network:floatingip") == 1
    details = (await ann.get(f"/v2.0/quotas/{'a' * 32}/details")).json()["quota"]
    assert details["floatingip"]["used"] == 1


async def test_a_route_keeps_the_interface_that_it_leads_over(client: Any, site: Any) -> None:
    ann, path = client("ann"), f"/v2.0/routers/{site['router']['id']}"
    assert (await ann.delete(f"/v2.0/floatingips/{site['floating']['id']}")).status_code == 204
    routes = {"router": {"routes": [{"destination": "192.0.2.0/24", "nexthop": "10.1.0.9"}]}}
    assert (await ann.put(path, json=routes)).status_code == 200
    reply = await ann.put(f"{path}/remove_router_interface", json={"port_id": site["router_interface"]["id"]})
    refused(reply, 409, "RouterInterfaceInUseByRoute")
    refused(await ann.delete(path), 409, "RouterInUse", "still has ports")


async def test_pools_and_scopes_stay_while_something_is_of_them(client: Any, make: Any) -> None:
    ann = client("ann")
    scope = await make("ann", "address_scope", name="s", ip_version=4)
    pool = await make("ann", "subnetpool", name="p", prefixes=["10.8.0.0/16"], address_scope_id=scope["id"])
    network = await make("ann", "network")
    subnet = await make("ann", "subnet", network_id=network["id"], subnetpool_id=pool["id"], prefixlen=24)
    refused(await ann.delete(f"/v2.0/address-scopes/{scope['id']}"), 409, "AddressScopeInUse", scope["id"])
    refused(await ann.delete(f"/v2.0/subnetpools/{pool['id']}"), 400, "SubnetPoolDeleteError", "existing allocations")
    for path in (f"networks/{network['id']}", f"subnetpools/{pool['id']}", f"address-scopes/{scope['id']}"):
        assert (await ann.delete(f"/v2.0/{path}")).status_code == 204
    assert (await ann.get(f"/v2.0/subnets/{subnet['id']}")).status_code == 404


async def test_a_port_that_goes_twice_leaves_its_floating_ip_once(client: Any, site: Any) -> None:
    ann = client("ann")
    path = f"/v2.0/floatingips/{site['floating']['id']}"
    before = (await ann.get(path)).json()["floatingip"]
    assert (await ann.delete(f"/v2.0/ports/{site['port']['id']}")).status_code == 204
    refused(await ann.delete(f"/v2.0/ports/{site['port']['id']}"), 404, "PortNotFound")
    after = (await ann.get(path)).json()["floatingip"]
    led = ("port_id", "fixed_ip_address", "router_id", "status")
    assert [after[name] for name in led] == [None, None, None, "DOWN"]
    assert after["revision_number"] == before["revision_number"] + 1


async def test_a_gateway_that_a_router_is_at_stays_where_it_is(client: Any, site: Any) -> None:
    ann, path = client("ann"), f"/v2.0/subnets/{site['subnet']['id']}"
    pools = [{"start": "10.1.0.10", "end": "10.1.0.200"}]
    for gateway in ("10.1.0.2", None):
        body = {"subnet": {"gateway_ip": gateway, "allocation_pools": pools}}
        refused(await ann.put(path, json=body), 409, "GatewayIpInUse", "10.1.0.1", site["router_interface"]["id"])
    assert (await ann.put(path, json={"subnet": {"gateway_ip": "10.1.0.1"}})).status_code == 200


async def test_addresses_of_the_cloud_are_nobodys_to_take(client: Any, make: Any, site: Any) -> None:
    """A router's, the DHCP port's; and a subnet's gateway while a router is there, as in Neutron."""
    ann, private = client("ann"), site["private"]["id"]
    (dhcp,) = (await ann.get(f"/v2.0/ports?network_id={private}&device_owner=network:dhcp")).json()["ports"]
    for address in ("10.1.0.1", dhcp["fixed_ips"][0]["ip_address"]):
        fixed = [{"subnet_id": site["subnet"]["id"], "ip_address": address}]
        reply = await ann.post("/v2.0/ports", json={"port": {"network_id": private, "fixed_ips": fixed}})
        refused(reply, 409, "IpAddressInUse", address)
        reply = await ann.put(f"/v2.0/ports/{site['port']['id']}", json={"port": {"fixed_ips": fixed}})
        assert reply.status_code in {400, 409}
    reply = await ann.put(f"/v2.0/ports/{dhcp['id']}", json={"port": {"fixed_ips": []}})
    assert reply.status_code == 409
    for change in ({"fixed_ips": []}, {"device_id": ""}, {"device_owner": ""}, {"mac_address": "fa:16:3e:00:00:01"}):
        reply = await ann.put(f"/v2.0/ports/{site['router_interface']['id']}", json={"port": change})
        assert reply.status_code in {403, 409}, (change, reply.text)
    bare = await make("ann", "network")
    below = await make("ann", "subnet", network_id=bare["id"], cidr="10.7.0.0/24")
    fixed = [{"subnet_id": below["id"], "ip_address": "10.7.0.1"}]
    await make("ann", "port", network_id=bare["id"], fixed_ips=fixed)  # no router is there: a guest may be one
    path = f"/v2.0/routers/{site['router']['id']}/add_router_interface"
    refused(await ann.put(path, json={"subnet_id": below["id"]}), 409, "IpAddressInUse", "10.7.0.1")


@pytest.mark.parametrize(
    "owner", ["network:dhcp", "network:router_interface", "network:router_gateway", "network:floatingip"]
)
async def test_nobody_makes_a_port_that_passes_for_the_clouds(owner: str, client: Any, site: Any) -> None:
    ann = client("ann")
    asked = {"network_id": site["private"]["id"], "device_owner": owner, "device_id": site["router"]["id"]}
    assert (await ann.post("/v2.0/ports", json={"port": asked})).status_code == 409
    reply = await ann.put(f"/v2.0/ports/{site['port']['id']}", json={"port": {"device_owner": owner}})
    assert reply.status_code == 409
    shared = {"network_id": site["public"]["id"], "device_owner": owner}
    assert (await client("bob").post("/v2.0/ports", json={"port": shared})).status_code in {403, 409}


async def test_what_is_another_projects_is_not_led_to_joined_or_seen(client: Any, make: Any, site: Any) -> None:
    bob = client("bob")
    theirs = await make("bob", "floatingip", floating_network_id=site["public"]["id"])
    reply = await bob.put(f"/v2.0/floatingips/{theirs['id']}", json={"floatingip": {"port_id": site["port"]["id"]}})
    refused(reply, 404, "PortNotFound", site["port"]["id"])
    reply = await bob.put(f"/v2.0/floatingips/{site['floating']['id']}", json={"floatingip": {"port_id": None}})
    refused(reply, 404, "FloatingIPNotFound")
    refused(await bob.delete(f"/v2.0/floatingips/{site['floating']['id']}"), 404, "FloatingIPNotFound")
    router = await make("bob", "router")
    path = f"/v2.0/routers/{router['id']}/add_router_interface"
    refused(await bob.put(path, json={"subnet_id": site["subnet"]["id"]}), 404, "SubnetNotFound")
    refused(await bob.put(path, json={"port_id": site["port"]["id"]}), 404, "PortNotFound")
    mine = f"/v2.0/routers/{site['router']['id']}"
    refused(
        await bob.put(f"{mine}/add_router_interface", json={"subnet_id": site["subnet"]["id"]}), 404, "RouterNotFound"
    )
    refused(await bob.put(mine, json={"router": {"routes": []}}), 404, "RouterNotFound")
    for named in ("router_gateway", "floatingip", "router_interface"):
        refused(await bob.get(f"/v2.0/ports/{site[named]['id']}"), 404, "PortNotFound")
    # A network that is shared is no invitation to stand at its gateway.
    shared = {"network": {"shared": True}}
    assert (await client("root").put(f"/v2.0/networks/{site['private']['id']}", json=shared)).status_code == 200
    reply = await bob.put(path, json={"subnet_id": site["subnet"]["id"]})
    refused(reply, 400, "BadRequest", "not owned by project")
    port = {"network_id": site["private"]["id"], "fixed_ips": [{"ip_address": "10.1.0.1"}]}
    refused(await bob.post("/v2.0/ports", json={"port": port}), 403, "PolicyNotAuthorized")


async def test_routes_lead_nowhere_but_over_the_routers_own_networks(client: Any, make: Any, site: Any) -> None:
    ann, path = client("ann"), f"/v2.0/routers/{site['router']['id']}"
    other = await make("bob", "network")
    await make("bob", "subnet", network_id=other["id"], cidr="10.2.0.0/24")
    for hop in ("10.2.0.1", "8.8.8.8", "10.1.0.1", "127.0.0.1", "169.254.169.254"):
        body = {"router": {"routes": [{"destination": "192.0.2.0/24", "nexthop": hop}]}}
        refused(await ann.put(path, json=body), 400, "InvalidRoutes", hop)
    many = [{"destination": f"10.{n >> 8}.{n & 255}.0/24", "nexthop": "10.1.0.9"} for n in range(200)]
    reply = await ann.put(path, json={"router": {"routes": many}})
    refused(reply, 409, "OverQuota")
    reply = await ann.put(f"{path}/add_extraroutes", json={"router": {"routes": many}})
    refused(reply, 409, "OverQuota")
    assert (await ann.get(path)).json()["router"]["routes"] == []


async def test_enormous_and_foreign_words_are_taken_or_refused_with_a_reason(client: Any, site: Any) -> None:
    ann, root = client("ann"), client("root")
    for name in ("路由器", "маршрутизатор", "راوتر", "a" * 255, "'; DROP TABLE routers; --"):
        reply = await ann.post("/v2.0/routers", json={"router": {"name": name}})
        assert reply.status_code == 201, reply.text
        made = reply.json()["router"]
        assert made["name"] == name
        found = (await ann.get("/v2.0/routers", params={"name": name})).json()["routers"]
        assert [each["id"] for each in found] == [made["id"]]
        assert (await ann.delete(f"/v2.0/routers/{made['id']}")).status_code == 204
    for name in ("a" * 256, "🙂", "a\0b"):
        assert (await ann.post("/v2.0/routers", json={"router": {"name": name}})).status_code == 400
    before = len((await ann.get("/v2.0/routers")).json()["routers"])
    reply = await ann.post("/v2.0/routers", json={"routers": [{"name": str(n)} for n in range(200)]})
    refused(reply, 409, "OverQuota")
    assert len((await ann.get("/v2.0/routers")).json()["routers"]) == before, "all of them or none"
    fixed = [{"ip_address": f"203.0.113.{n}"} for n in range(2, 250)]
    gateway = {"network_id": site["public"]["id"], "external_fixed_ips": fixed}
    reply = await root.put(f"/v2.0/routers/{site['router']['id']}", json={"router": {"external_gateway_info": gateway}})
    assert reply.status_code == 400, reply.text
    prefixes = [f"10.{n >> 8}.{n & 255}.0/24" for n in range(0, 20000, 2)]
    reply = await ann.post("/v2.0/subnetpools", json={"subnetpool": {"name": "p", "prefixes": prefixes}})
    assert reply.status_code == 400, reply.text
    assert (await ann.get(f"/v2.0/floatingips/{site['floating']['id']}")).json()["floatingip"]["status"] == "ACTIVE"
