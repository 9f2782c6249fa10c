"""Address groups: their calls, the rules that name them, and what the hosts of such rules are told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from floe.cloud import host_networks
from floe.cloud.cloud import Cloud
from floe.core.address_groups import MAX_ADDRESSES
from floe.core.host_network import GroupRule, HostNetwork
from floe.dataplane.linux import nftables

from .test_server_ports import Callers, a_network, bound, planned

ALL = "/v2.0/address-groups"


async def add(who: Any, group: dict[str, Any], *addresses: Any, call: str = "add_addresses") -> Any:
    return await who.put(f"{ALL}/{group['id']}/{call}", json={"addresses": list(addresses)})


async def test_an_address_group_is_made_changed_and_removed(client: Any, make: Any) -> None:
    ann = client("ann")
    group = await make(
        "ann", "address_group", name="office", addresses=["192.0.2.9/24", "2001:DB8::/32", "10.0.0.5/32"]
    )
    assert group["addresses"] == ["10.0.0.5/32", "192.0.2.0/24", "2001:db8::/32"]
    assert {name: group[name] for name in ("name", "description", "revision_number", "tags")} == {
        "name": "office", "description": "", "revision_number": 0, "tags": [],
    }  # fmt: skip
    path = f"{ALL}/{group['id']}"
    changed = await ann.put(path, json={"address_group": {"name": "home", "description": "all of it"}})
    assert (await ann.get(path)).json() == changed.json()
    assert {**group, "name": "home", "description": "all of it"}.items() >= {
        name: value for name, value in changed.json()["address_group"].items() if name not in {"revision_number"}
    }.items()
    assert (await ann.get(f"{ALL}?name=home")).json()["address_groups"] == [changed.json()["address_group"]]
    assert (await ann.get(f"{ALL}?name=office")).json() == {"address_groups": []}
    stale = await ann.put(path, json={"address_group": {"name": "x"}}, headers={"if-match": "revision_number=0"})
    assert stale.status_code == 412
    assert (await ann.delete(path)).status_code == 204
    assert (await ann.get(path)).json()["NeutronError"]["type"] == "AddressGroupNotFound"


async def test_addresses_come_and_go(client: Any, make: Any) -> None:
    ann, group = client("ann"), await make("ann", "address_group")
    more = await add(ann, group, "10.0.0.0/8", "192.0.2.7/32")
    assert (more.status_code, more.json()["address_group"]["addresses"]) == (200, ["10.0.0.0/8", "192.0.2.7/32"])
    again = await add(ann, group, "192.0.2.7/32", "10.1.2.3/8", "198.51.100.0/24")
    assert again.status_code == 400
    assert again.json()["NeutronError"]["message"] == (
        f"Addresses 10.0.0.0/8, 192.0.2.7/32 already exist in the address group {group['id']}."
    )
    missing = await add(ann, group, "10.0.0.0/8", "10.0.0.0/9", call="remove_addresses")
    assert (missing.status_code, missing.json()["NeutronError"]["type"]) == (404, "AddressesNotFound")
    less = await add(ann, group, "10.0.0.0/8", call="remove_addresses")
    assert less.json()["address_group"]["addresses"] == ["192.0.2.7/32"]
    assert less.json()["address_group"]["revision_number"] == 2


@pytest.mark.parametrize(
    "address", ["10.0.0.5", "10.0.0.0/33", "10.0.0.0/255.0.0.0", " 10.0.0.0/8", "10.0.0.0/08", "fe80::%1/64", "x/8", "",
                "10.0.0.0/8/8", 5, None, "²/8", "::/129"]
)  # fmt: skip
async def test_what_is_no_cidr_is_refused(client: Any, make: Any, address: Any) -> None:
    group = await make("ann", "address_group")
    for reply in (
        await add(client("ann"), group, address),
        await client("ann").post(ALL, json={"address_group": {"addresses": [address]}}),
    ):
        assert reply.status_code == 400, reply.text
        assert "addresses" in reply.json()["NeutronError"]["message"]


@pytest.mark.parametrize("body", [{}, [], {"addresses": "10.0.0.0/8"}, {"addresses": ["10.0.0.0/8"], "more": 1},
                                  {"addresses": ["10.0.0.0/8", "10.0.0.0/8"]}])  # fmt: skip
async def test_what_is_no_list_of_addresses_is_refused(client: Any, make: Any, body: Any) -> None:
    group = await make("ann", "address_group")
    for call in ("add_addresses", "remove_addresses"):
        assert (await client("ann").put(f"{ALL}/{group['id']}/{call}", json=body)).status_code == 400


async def test_a_group_has_so_many_addresses_and_a_project_so_many_groups(client: Any, make: Any) -> None:
    ann, group = client("ann"), await make("ann", "address_group")
    for start in range(0, MAX_ADDRESSES, 250):
        reply = await add(ann, group, *(f"10.0.{n // 250}.{n % 250}/32" for n in range(start, start + 250)))
        assert reply.status_code == 200, reply.text
    full = await add(ann, group, "10.9.0.0/32")
    assert full.status_code == 400
    assert f"at most {MAX_ADDRESSES}" in full.json()["NeutronError"]["message"]
    await client("root").put(f"/v2.0/quotas/{'a' * 32}", json={"quota": {"address_group": 2}})
    await make("ann", "address_group")
    beyond = await ann.post(ALL, json={"address_group": {}})
    assert (beyond.status_code, beyond.json()["NeutronError"]["type"]) == (409, "OverQuota")


async def test_addresses_that_come_at_once_all_stay(client: Any, make: Any) -> None:
    ann, group = client("ann"), await make("ann", "address_group")
    await asyncio.gather(*(add(ann, group, f"10.0.0.{number}/32") for number in range(20)))
    assert len((await ann.get(f"{ALL}/{group['id']}")).json()["address_group"]["addresses"]) == 20


async def test_a_group_is_its_projects(client: Any, make: Any) -> None:
    group = await make("ann", "address_group", addresses=["10.0.0.0/8"])
    for who, status in (("bob", 404), ("eve", 403), ("root", 200), ("", 401)):
        assert (await add(client(who), group, "192.0.2.0/24")).status_code == status, who
    assert (await client("bob").get(ALL)).json() == {"address_groups": []}
    named = {"security_group_rule": {"direction": "ingress", "remote_address_group_id": group["id"]}}
    named["security_group_rule"]["security_group_id"] = (await make("bob", "security_group", name="g"))["id"]
    reply = await client("bob").post("/v2.0/security-group-rules", json=named)
    assert (reply.status_code, reply.json()["NeutronError"]["type"]) == (404, "AddressGroupNotFound")


async def rule_about(make: Any, group: dict[str, Any], **fields: Any) -> dict[str, Any]:
    inside = await make("ann", "security_group", name="web")
    found: dict[str, Any] = await make(
        "ann", "security_group_rule", security_group_id=inside["id"],
        direction="ingress", remote_address_group_id=group["id"], **fields,
    )  # fmt: skip
    return found


async def test_a_rule_names_a_group_which_then_stays(client: Any, make: Any) -> None:
    ann, group = client("ann"), await make("ann", "address_group")
    rule = await rule_about(make, group)
    assert rule["remote_address_group_id"] == group["id"]
    assert rule["remote_ip_prefix"] is None
    found = await ann.get(f"/v2.0/security-group-rules?remote_address_group_id={group['id']}&remote_ip_prefix=")
    assert [each["id"] for each in found.json()["security_group_rules"]] == [rule["id"]]
    in_use = await ann.delete(f"{ALL}/{group['id']}")
    assert (in_use.status_code, in_use.json()["NeutronError"]["type"]) == (409, "AddressGroupInUse")
    again = {"security_group_id": rule["security_group_id"], "direction": "ingress"}
    twice = {**again, "remote_address_group_id": group["id"]}
    assert (await ann.post("/v2.0/security-group-rules", json={"security_group_rule": twice})).status_code == 409
    both = {**twice, "remote_ip_prefix": "10.0.0.0/8"}
    assert (await ann.post("/v2.0/security-group-rules", json={"security_group_rule": both})).status_code == 400
    assert (await ann.delete(f"/v2.0/security-group-rules/{rule['id']}")).status_code == 204
    assert (await ann.delete(f"{ALL}/{group['id']}")).status_code == 204


async def test_to_an_older_release_a_rule_about_addresses_lets_nobody_in(client: Any, make: Any, cloud: Cloud) -> None:
    """It reads `remote_cidr` alone."""
    group = await make("ann", "address_group", addresses=["0.0.0.0/0"])
    rules = [await rule_about(make, group, ethertype=ethertype) for ethertype in ("IPv4", "IPv6")]
    column = sa.text("SELECT remote_cidr FROM security_group_rules WHERE id = :id")
    kept = await cloud.db.read(lambda conn: [conn.scalar(column, {"id": rule["id"]}) for rule in rules])
    assert kept == ["0.0.0.0/32", "::/128"]


async def test_the_hosts_of_a_rule_are_told_the_addresses_and_each_change(
    client: Any, make: Any, cloud: Cloud, callers: Callers, nudges: list[str]
) -> None:
    who = callers["ann"]
    await a_network(cloud, who)
    await bound(cloud, who, await planned(cloud, who))
    (port,) = (await client("ann").get("/v2.0/ports?device_id=s1")).json()["ports"]
    group = await make("ann", "address_group", addresses=["192.0.2.0/24", "192.0.2.9/32", "2001:db8::/32"])
    rule = await rule_about(make, group, protocol="tcp", port_range_min=22, port_range_max=22)

    async def told() -> HostNetwork:
        return await cloud.db.read(lambda conn: host_networks.whole(conn, "h1", ""))

    async def stale() -> bool:
        return "h1" in await cloud.db.read(host_networks.stale)

    before = (await told()).generation
    change = {"port": {"security_groups": [*port["security_groups"], rule["security_group_id"]]}}
    assert (await client("ann").put(f"/v2.0/ports/{port['id']}", json=change)).status_code == 200
    network = await told()
    (named,) = (each for each in network.groups if each.group_id == group["id"])
    assert (named.rules, named.remote_members) == ((), ("192.0.2.0/24", "192.0.2.9/32"))
    (inside,) = (each for each in network.groups if each.group_id == rule["security_group_id"])
    wanted = GroupRule(direction="ingress", protocol="tcp", port_min=22, port_max=22, remote_group=group["id"])
    assert wanted in inside.rules
    text = nftables.ruleset(network)
    assert f"ip saddr @sg_{group['id'].replace('-', '')[:16]} tcp dport 22 accept" in text
    assert "elements = { 192.0.2.0/24 };" in text
    assert network.generation > before

    await cloud.db.write(lambda conn: host_networks.applied(conn, "h1", network, network.generation))
    await cloud.bus.idle()  # type: ignore[attr-defined]
    nudges.clear()
    assert not await stale()
    assert (await client("ann").put(f"{ALL}/{group['id']}", json={"address_group": {"name": "x"}})).status_code == 200
    await cloud.bus.idle()  # type: ignore[attr-defined]
    assert not nudges  # a name is nothing to a host
    await add(client("ann"), group, "198.51.100.7/32")
    await cloud.bus.idle()  # type: ignore[attr-defined]
    assert nudges
    assert await stale()
    assert "198.51.100.7" in nftables.ruleset(await told())
