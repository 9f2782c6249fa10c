"""NICs came into the guest sorted by the ids of their ports; a new or dotted host name never reached DNS.

The API showed the order that was asked for, and the new name.
"""

from __future__ import annotations

from typing import Any

from floe.dataplane.fake import FakePlane


async def a_network(user: Any, cidr: str) -> str:
    network = (await user.http.post("/network/v2.0/networks", json={"network": {"name": cidr}})).json()["network"]["id"]
    subnet = {"network_id": network, "ip_version": 4, "cidr": cidr}
    assert (await user.http.post("/network/v2.0/subnets", json={"subnet": subnet})).status_code == 201
    return str(network)


async def test_nics_are_in_the_order_asked_for_also_after_a_restart(start: Any) -> None:
    user = await start()
    two, three = await a_network(user, "10.2.0.0/24"), await a_network(user, "10.3.0.0/24")
    asked: list[dict[str, str]] = []
    for network in (two, three, two, three, two, three):
        reply = await user.http.post("/network/v2.0/ports", json={"port": {"network_id": network}})
        asked += [{"port": reply.json()["port"]["id"]}, {"uuid": network}]

    ident = await user.built(networks=asked)

    def guest() -> tuple[str, ...]:
        ledger = user.cloud.node.agents[0]._ledger
        return tuple(nic.port_id for nic in ledger.guests[ident].nics)

    listed = (await user.http.get(f"/network/v2.0/ports?device_id={ident}")).json()["ports"]
    networks = {port["id"]: port["network_id"] for port in listed}
    assert [networks[port] for port in guest()] == [nic.get("uuid") or networks[nic["port"]] for nic in asked]
    assert list(guest()[::2]) == [nic["port"] for nic in asked[::2]]
    before = guest()
    await user.cloud.__aexit__(None, None, None)
    await user.cloud.__aenter__()
    assert guest() == before


async def test_both_names_of_a_server_reach_its_networks_and_follow_changes(start: Any, kit: Any) -> None:
    user = await start()
    ident = await user.built(hostname="Web.example.org")
    plane = user.cloud.node.agents[0]._plane
    assert isinstance(plane, FakePlane)

    def names() -> list[str]:
        return [port.hostname for port in plane.applied.ports if port.server_id == ident]

    assert names() == ["web.example.org"]
    reply = await user.http.put(f"/compute/v2.1/servers/{ident}", json={"server": {"hostname": "db"}})
    assert reply.status_code == 200, reply.text
    await kit.until(lambda: names() == ["db"])
    await user.cloud.settled()
    assert kit.violations(user.cloud) == []
