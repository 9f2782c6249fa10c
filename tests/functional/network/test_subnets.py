"""Subnets beside routers: what may change of them, and which hosts are told."""

from __future__ import annotations

from typing import Any

import pytest

from floe.cloud import host_networks, ports, server_ports
from floe.cloud.cloud import Cloud
from floe.cloud.quotas import room
from floe.core.context import Context
from floe.core.nics import PlannedNic


async def joined(client: Any, make: Any, who: str, *nets: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Make a router with an interface on a new network for each CIDR; return it and the subnets."""
    router, subnets = await make(who, "router"), []
    for net in nets:
        network = await make(who, "network")
        subnets.append(await make(who, "subnet", network_id=network["id"], cidr=net))
        body = {"subnet_id": subnets[-1]["id"]}
        reply = await client(who).put(f"/v2.0/routers/{router['id']}/add_router_interface", json=body)
        assert reply.status_code == 200, reply.text
    return router, subnets


async def test_a_gateway_that_a_router_has_stays(client: Any, make: Any) -> None:
    router, (subnet,) = await joined(client, make, "ann", "10.1.0.0/24")
    (port,) = (await client("ann").get(f"/v2.0/ports?device_id={router['id']}")).json()["ports"]
    path = f"/v2.0/subnets/{subnet['id']}"
    for gateway in ("10.1.0.9", None):
        reply = await client("ann").put(path, json={"subnet": {"gateway_ip": gateway}})
        fault = reply.json()["NeutronError"]
        assert (reply.status_code, fault["type"]) == (409, "GatewayIpInUse"), gateway
        assert "10.1.0.1" in fault["message"]
        assert port["id"] in fault["message"]
    same = {"subnet": {"gateway_ip": "10.1.0.1", "name": "same"}}
    assert (await client("ann").put(path, json=same)).status_code == 200
    body = {"subnet_id": subnet["id"]}
    await client("ann").put(f"/v2.0/routers/{router['id']}/remove_router_interface", json=body)
    assert (await client("ann").put(path, json={"subnet": {"gateway_ip": None}})).json()["subnet"]["gateway_ip"] is None


async def test_hosts_are_told_of_networks_that_they_know_by_a_router_alone(
    client: Any, cloud: Cloud, callers: dict[str, Context], make: Any
) -> None:
    router, (here, beyond) = await joined(client, make, "ann", "10.1.0.0/24", "10.2.0.0/24")
    public = await make("root", "network", **{"router:external": True})
    outside = await make("root", "subnet", network_id=public["id"], cidr="203.0.113.0/24")
    gateway = {"router": {"external_gateway_info": {"network_id": public["id"]}}}
    assert (await client("ann").put(f"/v2.0/routers/{router['id']}", json=gateway)).status_code == 200
    elsewhere = await make("ann", "network")
    ann, now = callers["ann"], cloud.clock.now()

    def build(conn: Any) -> None:
        wanted = server_ports.Wanted(networks=[PlannedNic(network_id=here["network_id"])])
        planned = ports.plan(conn, ann, wanted, room(conn, "a" * 32), "g", now, pytest.fail).nics
        bound = ports.bind(
            conn, now=now, server_id="s1", project_id="a" * 32, host="h1", zone="nova", hostname="web", planned=planned
        )
        host_networks.fragment(conn, "h1", bound, "cloud.internal", now)

    async def told() -> list[str]:
        def work(conn: Any) -> list[str]:
            stale = host_networks.stale(conn)
            for host in stale:
                whole = host_networks.whole(conn, host, "cloud.internal")
                host_networks.applied(conn, host, whole, whole.generation)
            return stale

        return await cloud.db.write(work)

    await cloud.db.write(build)
    await told()
    for kind, ident, fields in (
        ("network", beyond["network_id"], {"mtu": 1300}),
        ("subnet", beyond["id"], {"dns_nameservers": ["192.0.2.1"]}),
        ("network", public["id"], {"mtu": 1200}),
        ("subnet", outside["id"], {"gateway_ip": "203.0.113.254", "allocation_pools": [
            {"start": "203.0.113.2", "end": "203.0.113.200"}]}),
    ):  # fmt: skip
        reply = await client("root").put(f"/v2.0/{kind}s/{ident}", json={kind: fields})
        assert reply.status_code == 200, reply.text
        assert await told() == ["h1"], fields
    whole = await cloud.db.read(lambda conn: host_networks.whole(conn, "h1", "cloud.internal"))
    assert {segment.mtu for segment in whole.segments} == {1450, 1300, 1200}
    assert whole.routers[0].next_hop == "203.0.113.254"
    reply = await client("ann").put(f"/v2.0/networks/{elsewhere['id']}", json={"network": {"mtu": 1300}})
    assert (reply.status_code, await told()) == (200, [])
