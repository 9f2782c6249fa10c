"""GET /servers/{server_id}/os-security-groups: the groups that a server's ports are really in."""

from __future__ import annotations

from typing import Any

from floe.cloud import address_groups, ports, security_groups, server_ports
from floe.cloud.cloud import Cloud
from floe.core.servers import ACTIVE, ERROR
from floe.store import servers

from .conftest import CALLERS, make_network

IMAGE = "11111111-1111-4111-8111-111111111111"


async def names(client: Any, ident: str) -> list[str]:
    reply = await client.get(f"/servers/{ident}/os-security-groups")
    assert reply.status_code == 200, reply.text
    return [group["name"] for group in reply.json()["security_groups"]]


async def make(client: Any, **values: Any) -> str:
    server = {"name": "n", "flavorRef": "0", "imageRef": IMAGE, "networks": "none", **values}
    reply = await client.post("/servers", json={"server": server})
    assert reply.status_code == 202, reply.text
    return str(reply.json()["server"]["id"])


async def build(cloud: Cloud, ident: str) -> None:
    """Bind the ports of a server as a conductor does, and say that it runs."""

    def run(conn: Any) -> None:
        server = servers.get(conn, ident)
        assert server is not None
        server_ports.bind(
            conn,
            now=cloud.clock.now(),
            server_id=ident,
            project_id=server.project_id,
            host="h1",
            zone="nova",
            hostname=server.hostname,
            planned=server.networks,
        )
        servers.change(conn, ident, host="h1", vm_state=ACTIVE, task_state=None)

    await cloud.db.write(run)


async def test_groups_are_those_asked_for_while_building_and_those_of_the_ports_then(
    client: Any, compute_cloud: Cloud
) -> None:
    ann = CALLERS["ann"]
    network_id = await make_network(compute_cloud, "private", "10.0.0.0/24")
    web, db = await security_groups.create(compute_cloud, ann, [{"name": "web"}, {"name": "db"}])
    rule = {"direction": "ingress", "protocol": "tcp", "port_min": 22, "port_max": 22, "ethertype": "IPv4"}
    (offices,) = await address_groups.create(compute_cloud, ann, [{"addresses": ["192.0.2.0/24"]}])
    allowed = [
        {**rule, "group_id": web.id, "remote_cidr": "10.0.0.0/8"},
        {**rule, "group_id": web.id, "remote_group": db.id},
        {**rule, "group_id": web.id, "remote_address_group": offices.id},
    ]
    await security_groups.create_rules(compute_cloud, ann, allowed)
    mine = client("ann")
    ident = await make(mine, networks=[{"uuid": network_id}], security_groups=[{"name": "web"}])
    assert await names(mine, ident) == ["web"]
    await build(compute_cloud, ident)
    (group,) = (await mine.get(f"/servers/{ident}/os-security-groups")).json()["security_groups"]
    assert (group["id"], group["tenant_id"]) == (web.id, ann.project_id)
    sources = [(each["ip_protocol"], each["from_port"], each["ip_range"], each["group"]) for each in group["rules"]]
    assert sorted(sources, key=str) == [
        ("tcp", 22, {"cidr": "10.0.0.0/8"}, {}),
        ("tcp", 22, {}, {"name": "db", "tenant_id": ann.project_id}),
        ("tcp", 22, {}, {}),  # addresses that Nova has no word for, and not everybody's
    ], "rules for what a guest sends are not Nova's to tell"
    (port,) = await compute_cloud.db.read(lambda conn: server_ports.of_server(conn, ident))
    await ports.update(compute_cloud, ann, port.port_id, {"groups": (web.id, db.id)})
    assert await names(mine, ident) == ["db", "web"], "what the network API changed since is seen"


async def test_a_server_without_ports_is_in_no_group(client: Any, compute_cloud: Cloud) -> None:
    mine = client("ann")
    ident = await make(mine)
    assert await names(mine, ident) == []
    await compute_cloud.db.write(lambda conn: servers.change(conn, ident, vm_state=ERROR, task_state=None))
    assert await names(mine, ident) == []


async def test_a_server_that_is_in_no_group_is_shown_without_the_field(client: Any, compute_cloud: Cloud) -> None:
    """As in Nova: clients ask whether it is there."""
    mine = client("ann")
    network_id = await make_network(compute_cloud, "private", "10.0.0.0/24")
    ident = await make(mine, networks=[{"uuid": network_id}])
    await build(compute_cloud, ident)
    for there in (True, False):
        for shown in ((await mine.get(f"/servers/{ident}")).json()["server"], *await details(mine)):
            assert ("security_groups" in shown) is there
        reply = await mine.post(f"/servers/{ident}/action", json={"removeSecurityGroup": {"name": "default"}})
        assert reply.status_code == (202 if there else 404)


async def details(client: Any) -> list[dict[str, Any]]:
    return list((await client.get("/servers/detail")).json()["servers"])


async def test_the_groups_of_others_servers_are_not_told(client: Any, compute_cloud: Cloud) -> None:
    ident = await make(client("ann"))
    assert (await client("bob").get(f"/servers/{ident}/os-security-groups")).status_code == 404
    assert (await client("eve").get(f"/servers/{ident}/os-security-groups")).status_code == 404
    assert await names(client("root"), ident) == []
