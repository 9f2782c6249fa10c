"""Ports that an administrator binds to a host: what is shown of them, who may, and what hosts are told."""

from __future__ import annotations

from typing import Any

import pytest

from floe.cloud import audit, host_networks, ports, server_ports
from floe.cloud import hosts as cloud_hosts
from floe.cloud.audit import Violation
from floe.cloud.cloud import Cloud
from floe.cloud.quotas import room
from floe.core.context import Context
from floe.core.host_network import HostNetwork
from floe.core.hosts import Host
from floe.core.nics import PlannedNic
from floe.store import audit as audit_rows
from floe.store import hosts


@pytest.fixture
async def network(cloud: Cloud, make: Any) -> dict[str, Any]:
    """Give a network with a subnet, in a cloud that knows the hosts h1 and h2."""
    for name in ("h1", "h2"):
        await cloud.db.write(lambda conn, name=name: hosts.put(conn, a_host(cloud, name)))
    found: dict[str, Any] = await make("ann", "network", name="front")
    await make("ann", "subnet", network_id=found["id"], cidr="10.1.0.0/24")
    return found


def a_host(cloud: Cloud, name: str) -> Host:
    now = cloud.clock.now()
    return Host(name=name, created_at=now, updated_at=now, started_at=now, last_seen=now)


async def violations(cloud: Cloud) -> list[Violation]:
    """Return what an audit says of the ports in the database."""
    return await cloud.db.read(lambda conn: audit.check_rows(audit_rows.loose(conn), quiet=False))


async def told(cloud: Cloud) -> dict[str, HostNetwork]:
    """Return what each host that is to be told is sent, and have it sent."""

    def work(conn: Any) -> dict[str, HostNetwork]:
        found = {host: host_networks.whole(conn, host, "cloud.internal") for host in host_networks.stale(conn)}
        for host, whole in found.items():
            host_networks.applied(conn, host, whole, whole.generation)
        return found

    return await cloud.db.write(work)


async def seen(client: Any, ident: str) -> tuple[str, str, str]:
    port = (await client("root").get(f"/v2.0/ports/{ident}")).json()["port"]
    return port["binding:host_id"], port["binding:vif_type"], port["status"]


async def put(client: Any, who: str, ident: str, **fields: Any) -> Any:
    return await client(who).put(f"/v2.0/ports/{ident}", json={"port": fields})


async def test_a_port_that_is_bound_to_a_host_is_plugged_there_until_it_is_unbound(
    client: Any, cloud: Cloud, make: Any, network: dict[str, Any], nudges: list[str]
) -> None:
    fields = {"network_id": network["id"], "project_id": "a" * 32, "binding:host_id": "h1", "dns_name": "probe"}
    port = await make("root", "port", **fields)
    assert (port["binding:host_id"], port["binding:vif_type"], port["status"]) == ("h1", "bridge", "DOWN")
    assert port["binding:vif_details"] == {"port_filter": True}
    (there,) = (await told(cloud))["h1"].ports
    assert (there.port_id, there.hostname, there.server_id) == (port["id"], "probe", "")
    found = (await client("root").get("/v2.0/ports?binding:host_id=h1")).json()["ports"]
    assert [each["id"] for each in found] == [port["id"]]
    assert await violations(cloud) == []

    assert (await put(client, "root", port["id"], **{"binding:host_id": "h2"})).status_code == 200
    wholes = await told(cloud)
    assert {host: [each.port_id for each in whole.ports] for host, whole in wholes.items()} == {
        "h1": [], "h2": [port["id"]],
    }  # fmt: skip
    assert (await put(client, "root", port["id"], **{"binding:host_id": None})).status_code == 200
    assert (await told(cloud))["h2"].ports == ()
    assert await seen(client, port["id"]) == ("", "unbound", "DOWN")
    await put(client, "root", port["id"], **{"binding:host_id": "h1"})
    await told(cloud)
    nudges.clear()
    assert (await client("ann").delete(f"/v2.0/ports/{port['id']}")).status_code == 204
    assert (await told(cloud))["h1"].ports == ()
    await cloud.bus.idle()  # type: ignore[attr-defined]
    assert nudges == ["network"]


async def test_each_host_has_a_mac_of_its_own_outside_for_a_router_that_they_share(
    client: Any, cloud: Cloud, make: Any, network: dict[str, Any]
) -> None:
    """On a real network a switch knows by it behind which machine a floating IP is; within, nobody sees the other."""
    public = await make("root", "network", **{"router:external": True})
    await make("root", "subnet", network_id=public["id"], cidr="203.0.113.0/24")
    router = await make("ann", "router", external_gateway_info={"network_id": public["id"]})
    (subnet,) = (await client("ann").get("/v2.0/subnets")).json()["subnets"][:1]
    join = f"/v2.0/routers/{router['id']}/add_router_interface"
    assert (await client("ann").put(join, json={"subnet_id": subnet["id"]})).status_code == 200
    for host in ("h1", "h2"):
        await make("root", "port", network_id=network["id"], project_id="a" * 32, **{"binding:host_id": host})
    one, two = [whole.routers[0] for _, whole in sorted((await told(cloud)).items())]
    assert one.gateway is not None
    assert two.gateway is not None
    assert one.interfaces == two.interfaces
    assert one.gateway.addresses == two.gateway.addresses
    macs = {one.gateway.mac, two.gateway.mac}
    assert len(macs) == 2
    assert {int(mac[:2], 16) & 3 for mac in macs} == {2}, "local, and of one device"
    await cloud.db.write(lambda conn: host_networks.request(conn, "h1"))
    assert (await told(cloud))["h1"].routers[0].gateway == one.gateway


async def test_a_binding_to_a_host_that_is_not_known_is_shown_as_failed(
    client: Any, cloud: Cloud, make: Any, network: dict[str, Any]
) -> None:
    port = await make("root", "port", network_id=network["id"], **{"binding:host_id": "nowhere"})
    assert (port["binding:host_id"], port["binding:vif_type"]) == ("nowhere", "binding_failed")
    assert port["binding:vif_details"] == {}
    assert await told(cloud) == {}
    assert await violations(cloud) == []
    await put(client, "root", port["id"], **{"binding:host_id": "h1"})
    assert await seen(client, port["id"]) == ("h1", "bridge", "DOWN")
    await told(cloud)
    cloud.clock.advance(3600)  # type: ignore[attr-defined]
    await cloud_hosts.remove(cloud, "h1")
    assert await seen(client, port["id"]) == ("h1", "binding_failed", "DOWN")
    await put(client, "root", port["id"], name="renamed")
    assert await told(cloud) == {}


async def test_a_server_takes_the_port_to_its_own_host_and_leaves_it_unbound(
    client: Any, cloud: Cloud, callers: dict[str, Context], make: Any, network: dict[str, Any]
) -> None:
    ann = callers["ann"]
    port = await make("root", "port", network_id=network["id"], project_id="a" * 32, **{"binding:host_id": "h1"})
    await told(cloud)
    nic, now = PlannedNic(network_id="", port_id=port["id"], made=False), cloud.clock.now()

    def build(conn: Any) -> None:
        planned = ports.plan(
            conn, ann, server_ports.Wanted(networks=[nic]), room(conn, "a" * 32), "g", now, pytest.fail
        ).nics
        bound = ports.bind(
            conn, now=now, server_id="s1", project_id="a" * 32, host="h2", zone="nova", hostname="web", planned=planned
        )
        host_networks.fragment(conn, "h2", bound, "cloud.internal", now)

    await cloud.db.write(build)
    assert {host: whole.ports for host, whole in (await told(cloud)).items()} == {"h1": ()}
    assert await seen(client, port["id"]) == ("h2", "bridge", "BUILD")
    reply = await put(client, "root", port["id"], **{"binding:host_id": "h1"})
    assert (reply.status_code, reply.json()["NeutronError"]["type"]) == (409, "PortInUse")
    assert (await put(client, "root", port["id"], **{"binding:host_id": "h2"})).status_code == 200
    await cloud.db.write(lambda conn: ports.release(conn, "s1", now))
    assert await seen(client, port["id"]) == ("", "unbound", "DOWN")


async def test_administrators_alone_see_and_choose_bindings(client: Any, make: Any, network: dict[str, Any]) -> None:
    port = await make("root", "port", network_id=network["id"], project_id="a" * 32)
    for fields in ({"binding:host_id": "h1"}, {"binding:profile": {"a": 1}}):
        assert (await put(client, "ann", port["id"], **fields)).status_code == 403
        body = {"port": {"network_id": network["id"], **fields}}
        assert (await client("ann").post("/v2.0/ports", json=body)).status_code == 403
        assert (await put(client, "root", port["id"], **fields)).status_code == 200
    for fields in ({"binding:host_id": ""}, {"binding:profile": None}):
        assert (await put(client, "ann", port["id"], **fields)).status_code == 403, "nor may others clear them"
    mine = (await client("ann").get(f"/v2.0/ports/{port['id']}")).json()["port"]
    assert {name for name in mine if name.startswith("binding:")} == {"binding:vnic_type"}
    router = await make("root", "router", project_id="a" * 32)
    reply = await client("root").put(f"/v2.0/routers/{router['id']}/add_router_interface", json={"port_id": port["id"]})
    assert (reply.status_code, reply.json()["NeutronError"]["type"]) == (409, "PortInUse")
    for field in ("binding:vif_type", "binding:vif_details"):
        assert (await put(client, "root", port["id"], **{field: "x"})).status_code == 400
    reply = await client("root").put(f"/v2.0/ports/{port['id']}", json={"port": {"mac_address": "fa:16:3e:00:00:09"}})
    assert reply.json()["NeutronError"]["type"] == "PortBound"


async def test_a_profile_comes_back_as_it_was_sent_and_has_a_bound(
    client: Any, make: Any, network: dict[str, Any]
) -> None:
    profile = {"pci": {"slot": "0000:0a:00.1", "n": [1, 2.5, None, True]}, "\u00e9": "\U0001f40d"}
    port = await make("root", "port", network_id=network["id"], **{"binding:profile": profile})
    assert port["binding:profile"] == profile
    most = {"x": "y" * (4095 - len('{"x":""}'))}
    reply = await put(client, "root", port["id"], **{"binding:profile": most})
    assert reply.json()["port"]["binding:profile"] == most
    reply = await put(client, "root", port["id"], **{"binding:profile": {"x": most["x"] + "y"}})
    assert reply.status_code == 400
    assert "too large: 4096 bytes, of at most 4095" in reply.json()["NeutronError"]["message"]
    assert (await put(client, "root", port["id"], **{"binding:profile": None})).json()["port"]["binding:profile"] == {}
