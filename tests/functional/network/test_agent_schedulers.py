"""Which hosts have a router or a network, and that nobody chooses."""

from __future__ import annotations

from typing import Any

import pytest

from floe.cloud import host_networks
from floe.cloud.cloud import Cloud
from floe.core.host_network import HostNetwork
from floe.core.hosts import Host
from floe.store import hosts

from .test_server_ports import bound, planned


@pytest.fixture
async def agents(client: Any, cloud: Cloud) -> dict[tuple[str, str], str]:
    """Give the ids of the agents of two hosts, by kind and host."""
    now = cloud.clock.now()
    for number in ("1", "2"):
        host = Host(
            name=f"h{number}", availability_zone=f"z{number}", created_at=now, updated_at=now, started_at=now,
            last_seen=now,
        )  # fmt: skip
        await cloud.db.write(lambda conn, host=host: hosts.put(conn, host))
    found = (await client("root").get("/v2.0/agents")).json()["agents"]
    return {(agent["agent_type"], agent["host"]): agent["id"] for agent in found}


@pytest.fixture
async def router(client: Any, make: Any, callers: Any, cloud: Cloud, agents: Any) -> dict[str, Any]:
    """Give a router on a network with a server on h1."""
    network = await make("ann", "network")
    subnet = await make("ann", "subnet", network_id=network["id"], cidr="10.1.0.0/24")
    made: dict[str, Any] = await make("ann", "router")
    body = {"subnet_id": subnet["id"]}
    assert (await client("ann").put(f"/v2.0/routers/{made['id']}/add_router_interface", json=body)).status_code == 200
    await bound(cloud, callers["ann"], await planned(cloud, callers["ann"]))
    return {**made, "network_id": network["id"]}


async def test_a_router_and_a_network_are_where_their_guests_are(client: Any, make: Any, router: Any) -> None:
    root = client("root")
    (found,) = (await root.get(f"/v2.0/routers/{router['id']}/l3-agents")).json()["agents"]
    assert (found["agent_type"], found["host"], found["alive"], found["ha_state"]) == ("L3 agent", "h1", True, None)
    (served,) = (await root.get(f"/v2.0/networks/{router['network_id']}/dhcp-agents")).json()["agents"]
    assert (served["agent_type"], served["host"]) == ("DHCP agent", "h1")
    (there,) = (await root.get(f"/v2.0/agents/{found['id']}/l3-routers")).json()["routers"]
    assert there == (await root.get(f"/v2.0/routers/{router['id']}")).json()["router"]
    (network,) = (await root.get(f"/v2.0/agents/{served['id']}/dhcp-networks")).json()["networks"]
    assert network == (await root.get(f"/v2.0/networks/{router['network_id']}")).json()["network"]
    idle = await make("ann", "router")
    assert (await root.get(f"/v2.0/routers/{idle['id']}/l3-agents")).json() == {"agents": []}


async def test_the_host_hears_of_a_routers_other_address(client: Any, cloud: Cloud, router: Any) -> None:
    async def whole() -> HostNetwork:
        return await cloud.db.read(lambda conn: host_networks.whole(conn, "h1", "cloud.internal"))

    before = await whole()
    await cloud.db.write(lambda conn: host_networks.applied(conn, "h1", before, before.generation))
    assert await cloud.db.read(host_networks.stale) == []
    owner = {"device_owner": "network:router_interface"}
    (port,) = (await client("ann").get("/v2.0/ports", params=owner)).json()["ports"]
    body = {"port": {"fixed_ips": [{"ip_address": "10.1.0.200"}]}}
    assert (await client("ann").put(f"/v2.0/ports/{port['id']}", json=body)).status_code == 200
    assert await cloud.db.read(host_networks.stale) == ["h1"]
    ((leg,),) = [found.interfaces for found in (await whole()).routers]
    assert leg.addresses == ("10.1.0.200/24",)


async def test_agents_are_found_by_their_kind_in_any_case(client: Any, agents: Any) -> None:
    for text, count in (("DHCP Agent", 2), ("l3 agent", 2), ("L2 agent", 2), ("Open vSwitch agent", 0)):
        found = (await client("root").get("/v2.0/agents", params={"agent_type": text})).json()["agents"]
        assert len(found) == count


async def test_who_asks_for_vpns_hears_that_there_are_routers_alone(client: Any) -> None:
    """A clean-up of a project by openstacksdk begins so."""
    ann, path = client("ann"), "/v2.0/service-providers"
    routers = {"service_type": "L3_ROUTER_NAT", "name": "single_node", "default": True}
    for query in ("", "?service_type=L3_ROUTER_NAT", "?default=true&sort_key=service_type"):
        assert (await ann.get(path + query)).json() == {"service_providers": [routers]}
    for query in ("?service_type=VPN", "?marker=single_node"):
        assert (await ann.get(path + query)).json() == {"service_providers": []}
    assert (await ann.get(path + "?fields=name")).json() == {"service_providers": [{"name": "single_node"}]}
    assert (await ann.get(path + "?marker=vpn")).status_code == 400


async def test_on_another_host_there_is_nothing(client: Any, router: Any, agents: Any) -> None:
    root = client("root")
    assert (await root.get(f"/v2.0/agents/{agents['L3 agent', 'h2']}/l3-routers")).json() == {"routers": []}
    assert (await root.get(f"/v2.0/agents/{agents['DHCP agent', 'h2']}/dhcp-networks")).json() == {"networks": []}


async def test_an_agent_of_another_kind_has_none(client: Any, router: Any, agents: Any) -> None:
    reply = await client("root").get(f"/v2.0/agents/{agents['L2 agent', 'h1']}/l3-routers")
    assert reply.status_code == 409
    assert "L2 agent" in reply.json()["NeutronError"]["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "l3-routers"),
        ("DELETE", "l3-routers/{router}"),
        ("POST", "dhcp-networks"),
        ("DELETE", "dhcp-networks/{network}"),
    ],
)
async def test_nobody_chooses_where_they_are(client: Any, router: Any, agents: Any, method: str, path: str) -> None:
    kind = "L3 agent" if "l3" in path else "DHCP agent"
    place = path.format(router=router["id"], network=router["network_id"])
    body = {"router_id": router["id"]} if "l3" in path else {"network_id": router["network_id"]}
    sent = {"json": body} if method == "POST" else {}
    url = f"/v2.0/agents/{agents[kind, 'h2']}/{place}"
    reply = await client("root").request(method, url, **sent)
    assert (reply.status_code, reply.json()["NeutronError"]["type"]) == (409, "Conflict"), reply.text
    assert (await client("ann").request(method, url, **sent)).status_code == 403


@pytest.mark.parametrize("path", ["routers/{router}/l3-agents", "networks/{network}/dhcp-agents"])
async def test_tenants_are_not_told_of_hosts(client: Any, router: Any, path: str) -> None:
    place = path.format(router=router["id"], network=router["network_id"])
    assert (await client("ann").get(f"/v2.0/{place}")).status_code in {403, 404}
    assert (await client("root").get(f"/v2.0/{place}".replace(router["id"], "nobody"))).status_code in {200, 404}


async def test_a_router_is_in_the_zones_of_its_guests(client: Any, make: Any, router: Any) -> None:
    ann = client("ann")
    shown = (await ann.get(f"/v2.0/routers/{router['id']}")).json()["router"]
    assert (shown["availability_zones"], shown["availability_zone_hints"]) == (["z1"], [])
    assert (await make("ann", "router", availability_zone_hints=[]))["availability_zones"] == []
    reply = await ann.post("/v2.0/routers", json={"router": {"availability_zone_hints": ["z1"]}})
    assert reply.status_code == 400
    assert "availability_zone_hints" in reply.json()["NeutronError"]["message"]


async def test_zones_are_listed_for_networks_and_routers(client: Any, router: Any) -> None:
    found = (await client("ann").get("/v2.0/availability_zones")).json()["availability_zones"]
    named = {(zone["name"], zone["resource"], zone["state"]) for zone in found}
    assert {(zone, kind, "available") for zone in ("z1", "z2") for kind in ("network", "router")} <= named
