"""The ports of servers through their life: planned, bound, seen, unplugged, released; and what hosts are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from floe.cloud import (
    auto_allocated,
    first_networks,
    floating_ips,
    group_members,
    host_networks,
    networks,
    ports,
    router_interfaces,
    routers,
    subnets,
)
from floe.cloud import security_groups as groups
from floe.cloud.cloud import Cloud
from floe.cloud.quotas import room
from floe.cloud.server_ports import Wanted
from floe.core.context import Context
from floe.core.errors import Conflict, FloeError, Forbidden, Invalid, OverQuota
from floe.core.host_network import GroupChange, HostNetwork, HostPort, MembersChange
from floe.core.host_network_state import HostNetworkState
from floe.core.hosts import Host
from floe.core.ids import random_id
from floe.core.listing import Listing
from floe.core.nics import PlannedNic
from floe.core.ports import DHCP_OWNER
from floe.core.routers import Gateway
from floe.store import group_members as member_rows
from floe.store import hosts, quotas

Callers = dict[str, Context]


async def a_network(cloud: Cloud, who: Context, cidr: str | None = "10.1.0.0/24", **fields: Any) -> str:
    (network,) = await networks.create(cloud, who, [fields])
    if cidr:
        await subnets.create(cloud, who, [{"network_id": network.id, "cidr": cidr}])
    return network.id


async def planned(cloud: Cloud, who: Context, requested: Any = None, names: Sequence[str] = (), n: int = 1) -> Any:
    """Plan NICs, each of a network or a port; None, "auto" and "none" as they are."""
    if isinstance(requested, list):
        requested = [
            PlannedNic(
                network_id=nic.get("uuid", ""),
                port_id=nic.get("port"),
                fixed_ip=nic.get("fixed_ip"),
                made="port" not in nic,
            )
            for nic in requested
        ]
    fresh, now = random_id(), cloud.clock.now()
    wanted = Wanted(networks=requested, groups=names, least=n, most=n)

    def run(conn: Any) -> tuple[PlannedNic, ...]:
        project_id = who.project_id or ""
        allocate = partial(auto_allocated.network, conn, cloud, who, project_id, fresh, now)
        return ports.plan(conn, who, wanted, room(conn, project_id), fresh, now, allocate).nics

    return await cloud.db.write(run)


async def bound(
    cloud: Cloud, who: Context, nics: Any, server: str = "s1", host: str = "h1"
) -> tuple[tuple[HostPort, ...], HostNetwork]:
    def run(conn: Any) -> tuple[tuple[HostPort, ...], HostNetwork]:
        made = ports.bind(
            conn, now=cloud.clock.now(), server_id=server, project_id=who.project_id or "", host=host, zone="nova",
            hostname=server, planned=nics,
        )  # fmt: skip
        return made, host_networks.fragment(conn, host, made, "cloud.internal", cloud.clock.now())

    return await cloud.db.write(run)


async def stale(cloud: Cloud) -> list[str]:
    return await cloud.db.read(host_networks.stale)


async def test_no_network_named_means_the_only_one(cloud: Cloud, callers: Callers) -> None:
    ann = callers["ann"]
    assert await planned(cloud, ann) == ()
    with pytest.raises(Invalid, match="Unable to automatically allocate a network for project"):
        await planned(cloud, ann, "auto")
    network_id = await a_network(cloud, ann)
    (nic,) = await planned(cloud, ann)
    assert (nic.network_id, nic.port_id, nic.made) == (network_id, None, True)
    assert await planned(cloud, ann, "none") == ()
    await a_network(cloud, ann)
    for requested in (None, "auto"):
        with pytest.raises(Conflict, match="Multiple possible networks found, use a Network ID to be more specific"):
            await planned(cloud, ann, requested)


async def test_what_cannot_be_had_is_refused_when_asked_for(cloud: Cloud, callers: Callers) -> None:
    ann, bob = callers["ann"], callers["bob"]
    mine, theirs = await a_network(cloud, ann), await a_network(cloud, bob)
    bare = await a_network(cloud, ann, None)
    (taken,) = await ports.create(cloud, ann, [{"network_id": mine, "device_id": "elsewhere"}])
    (foreign,) = await ports.create(cloud, bob, [{"network_id": theirs}])
    await groups.create(cloud, ann, [{"name": "twin"}, {"name": "twin"}])
    cases: list[tuple[Any, Sequence[str], type[FloeError], str]] = [
        ([{"uuid": "nowhere"}], (), Invalid, "nowhere"),
        ([{"uuid": theirs}], (), Invalid, theirs),
        ([{"uuid": bare}], (), Invalid, "requires a subnet"),
        ([{"port": "nothing"}], (), Invalid, "nothing"),
        ([{"port": foreign.id}], (), Invalid, foreign.id),
        ([{"port": taken.id}], (), Conflict, "still in use"),
        ([{"uuid": mine, "fixed_ip": taken.fixed_ips[0][1]}], (), Invalid, "already in use"),
        ([{"uuid": mine, "fixed_ip": "10.9.0.2"}], (), Invalid, "not a valid ip address"),
        ([{}], (), Invalid, "uuid"),
        ("none", ("unknown",), Invalid, "unknown"),
        ("none", ("twin",), Conflict, "twin"),
    ]
    for requested, names, kind, words in cases:
        with pytest.raises(kind, match=words):
            await planned(cloud, ann, requested, names)
    with pytest.raises(Invalid, match="several servers"):
        await planned(cloud, ann, [{"uuid": mine, "fixed_ip": "10.1.0.9"}], (), 2)


async def test_the_quota_of_ports_is_asked_at_plan_and_held_at_bind(cloud: Cloud, callers: Callers) -> None:
    ann = callers["ann"]
    await a_network(cloud, ann)
    await cloud.db.write(lambda conn: quotas.put(conn, ann.project_id or "", {"port": 2}))
    with pytest.raises(OverQuota, match="port: requested 2, already used 1, limit 2"):
        await planned(cloud, ann, None, (), 2)
    one, two = await planned(cloud, ann), await planned(cloud, ann)
    await bound(cloud, ann, one, "s1")
    with pytest.raises(OverQuota):
        await bound(cloud, ann, two, "s2")


async def test_binding_twice_makes_one_port(cloud: Cloud, callers: Callers) -> None:
    ann = callers["ann"]
    network_id = await a_network(cloud, ann, name="front; evil")
    nics = await planned(cloud, ann)
    (first,), fragment = await bound(cloud, ann, nics)
    (again,), later = await bound(cloud, ann, nics)
    assert again == first
    assert later.generation > fragment.generation
    assert first.tap == "tap" + first.port_id[:11]
    assert first.hostname == "s1"
    (segment,) = fragment.segments
    assert (segment.network_id, segment.name, segment.mtu) == (network_id, "front__evil", 1450)
    (below,) = segment.subnets
    assert (below.gateway, below.dhcp) == ("10.1.0.1", True)
    (served,) = await ports.find(cloud, ann, Listing(filters={"device_owner": [DHCP_OWNER]}))
    assert below.dhcp_address == served.fixed_ips[0][1]
    assert fragment.ports == (first,)
    (group,) = fragment.groups
    assert {rule.ethertype for rule in group.rules} == {"IPv4"}
    assert await stale(cloud) == []
    port = await ports.show(cloud, ann, first.port_id)
    assert (port.status, port.device_id, port.device_owner) == ("BUILD", "s1", "compute:nova")
    await cloud.db.write(lambda conn: ports.activate(conn, "s1"))
    assert (await ports.show(cloud, ann, first.port_id)).status == "ACTIVE"


async def test_a_server_shows_its_ports_with_names(cloud: Cloud, callers: Callers) -> None:
    ann = callers["ann"]
    network_id = await a_network(cloud, ann, name="front")
    nics = await planned(cloud, ann, [{"uuid": network_id}, {"uuid": network_id, "fixed_ip": "10.1.0.99"}])
    await bound(cloud, ann, nics)
    found = await cloud.db.read(lambda conn: ports.of_servers(conn, ["s1", "s2"]))
    assert found["s2"] == []
    assert [port.network_name for port in found["s1"]] == ["front", "front"]
    own, chosen = [address for port in found["s1"] for _, address in port.addresses]
    assert (own in {"10.1.0.1", chosen}, chosen) == (False, "10.1.0.99")
    assert [name for port in found["s1"] for _, name in port.groups] == ["default", "default"]


async def test_a_port_with_several_addresses_and_groups_is_shown_once(cloud: Cloud, callers: Callers) -> None:
    ann = callers["ann"]
    network_id = await a_network(cloud, ann)
    made = await groups.create(cloud, ann, [{"name": "web"}, {"name": "db"}])
    wanted = {"fixed_ips": [(None, "10.1.0.8"), (None, "10.1.0.7")], "groups": [group.id for group in made]}
    (own,) = await ports.create(cloud, ann, [{"network_id": network_id, **wanted}])
    await bound(cloud, ann, await planned(cloud, ann, [{"port": own.id}, {"uuid": network_id}]))
    shown, other = await cloud.db.read(lambda conn: ports.of_server(conn, "s1"))
    assert [address for _, address in shown.addresses] == ["10.1.0.7", "10.1.0.8"]
    assert [name for _, name in shown.groups] == ["db", "web"]
    assert other.port_id != shown.port_id
    assert await cloud.db.read(lambda conn: ports.of_servers(conn, ["s1"])) == {"s1": [shown, other]}


async def test_anothers_device_id_puts_no_port_on_a_server(cloud: Cloud, callers: Callers) -> None:
    ann, bob = callers["ann"], callers["bob"]
    await a_network(cloud, ann)
    await bound(cloud, ann, await planned(cloud, ann))
    (lure,) = await ports.create(cloud, bob, [{"network_id": await a_network(cloud, bob), "device_id": "s1"}])
    found = await cloud.db.read(lambda conn: ports.of_servers(conn, ["s1"]))
    assert lure.id not in [port.port_id for port in found["s1"]]
    released = await cloud.db.write(lambda conn: ports.release(conn, "s1", cloud.clock.now()))
    assert lure.id not in released


async def test_a_released_server_leaves_the_users_port_and_no_other(cloud: Cloud, callers: Callers) -> None:
    ann = callers["ann"]
    network_id = await a_network(cloud, ann)
    (own,) = await ports.create(cloud, ann, [{"network_id": network_id, "name": "mine"}])
    nics = await planned(cloud, ann, [{"port": own.id}, {"uuid": network_id}])
    both, _ = await bound(cloud, ann, nics)
    with pytest.raises(Conflict, match="in use by server s1"):
        await ports.delete(cloud, ann, own.id)
    with pytest.raises(Conflict):
        await ports.update(cloud, ann, own.id, {"device_id": "s2"})
    with pytest.raises(Conflict, match="still in use"):
        await bound(cloud, ann, [nics[0]], "s2")
    unplugged = await cloud.db.write(lambda conn: ports.unplug(conn, "s1", cloud.clock.now()))
    assert list(unplugged.generations) == ["h1"]
    assert await cloud.db.read(lambda conn: host_networks.whole(conn, "h1", "cloud.internal").ports) == ()
    released = await cloud.db.write(lambda conn: ports.release(conn, "s1", cloud.clock.now()))
    assert set(released) == {port.port_id for port in both}
    assert await cloud.db.write(lambda conn: ports.release(conn, "s1", cloud.clock.now())) == ()
    assert await stale(cloud) == []
    left = await ports.find(cloud, ann, Listing(filters={"network_id": [network_id]}))
    assert {port.device_owner for port in left} == {"", "network:dhcp"}
    after = await ports.show(cloud, ann, own.id)
    assert (after.status, after.device_id, after.host, after.fixed_ips) == ("DOWN", "", None, own.fixed_ips)


async def test_a_release_of_plugged_ports_has_the_host_told(cloud: Cloud, callers: Callers) -> None:
    ann = callers["ann"]
    await a_network(cloud, ann)
    await bound(cloud, ann, await planned(cloud, ann))
    await cloud.db.write(lambda conn: ports.release(conn, "s1", cloud.clock.now()))
    assert await stale(cloud) == ["h1"]
    whole = await cloud.db.read(lambda conn: host_networks.whole(conn, "h1", "cloud.internal"))
    assert whole.ports == ()
    await cloud.db.write(lambda conn: host_networks.applied(conn, "h1", whole, whole.generation))
    assert await stale(cloud) == []


async def test_an_alternate_host_takes_the_ports_over(cloud: Cloud, callers: Callers) -> None:
    ann = callers["ann"]
    await a_network(cloud, ann)
    nics = await planned(cloud, ann)
    (first,), _ = await bound(cloud, ann, nics, "s1", "h1")
    (moved,), fragment = await bound(cloud, ann, nics, "s1", "h2")
    assert moved == first
    assert [port.port_id for port in fragment.ports] == [first.port_id]
    assert await stale(cloud) == ["h1"]


async def news(cloud: Cloud, since: int = 0) -> group_members.News:
    return await cloud.db.read(lambda conn: group_members.news(conn, since, {}))


async def test_other_hosts_learn_of_new_members_and_of_those_gone(cloud: Cloud, callers: Callers) -> None:
    ann = callers["ann"]
    await a_network(cloud, ann)
    (one,), _ = await bound(cloud, ann, await planned(cloud, ann), "s1", "h1")
    (two,), second = await bound(cloud, ann, await planned(cloud, ann), "s2", "h2")
    group, address = second.groups[0], two.addresses[0].address
    assert group.remote_members == (one.addresses[0].address,)
    assert await stale(cloud) == [], "no host is sent its whole network for it"
    told = await news(cloud)
    assert told.changes == {
        "h1": MembersChange(
            to=second.members_at,
            groups=(GroupChange(group_id=group.group_id, after=0, added=(address,)),),
        )
    }, "h2 has it by the fragment of its own port"
    await cloud.db.write(lambda conn: group_members.told(conn, {"h1": told.position}, (), {}))
    assert (await news(cloud)).changes == {}
    await cloud.db.write(lambda conn: ports.unplug(conn, "s2", cloud.clock.now()))
    assert await stale(cloud) == []
    (change,) = (await news(cloud, told.position)).changes["h1"].groups
    assert (change.after, change.added, change.removed) == (second.members_at, (), (address,))
    whole = await cloud.db.read(lambda conn: host_networks.whole(conn, "h1", "cloud.internal"))
    assert whole.groups[0].remote_members == ()


async def test_an_address_that_two_members_have_stays_while_one_has_it(cloud: Cloud, callers: Callers) -> None:
    ann = callers["ann"]
    for _ in range(3):
        await a_network(cloud, ann)
    here, there, elsewhere = [
        [{"uuid": network.id, "fixed_ip": "10.1.0.7"}]
        for network in await networks.find(cloud, ann, Listing())
        if not network.shared
    ]
    await bound(cloud, ann, await planned(cloud, ann, here), "s1", "h1")
    await bound(cloud, ann, await planned(cloud, ann, there), "s2", "h2")
    await bound(cloud, ann, await planned(cloud, ann, elsewhere), "s3", "h3")
    await cloud.db.write(lambda conn: ports.unplug(conn, "s3", cloud.clock.now()))
    found = {host: change.groups[0] for host, change in (await news(cloud)).changes.items()}
    assert found["h1"].added == ("10.1.0.7",), "h2 has it still"
    assert found["h2"].added == ("10.1.0.7",), "h1 has it still"


async def test_what_no_rule_is_about_is_not_noted(cloud: Cloud, callers: Callers) -> None:
    ann = callers["ann"]
    await a_network(cloud, ann)
    await groups.create(cloud, ann, [{"name": "web"}])
    await bound(cloud, ann, await planned(cloud, ann, None, ["web"]), "s1", "h1")
    await bound(cloud, ann, await planned(cloud, ann, None, ["web"]), "s2", "h2")
    assert (await news(cloud)).position == 0


async def test_the_log_is_short_and_who_is_behind_it_is_sent_the_whole(cloud: Cloud, callers: Callers) -> None:
    ann = callers["ann"]
    await a_network(cloud, ann)
    await bound(cloud, ann, await planned(cloud, ann), "s1", "h1")
    await bound(cloud, ann, await planned(cloud, ann), "s2", "h2")
    position = (await news(cloud)).position
    await cloud.db.write(lambda conn: group_members.told(conn, {"h1": position, "h2": position}, (), {}))
    _, (group,) = await cloud.db.read(lambda conn: member_rows.heads(conn, 0))
    for number in range(40):
        pairs = [(group, f"10.1.0.{100 + number}")]
        await cloud.db.write(lambda conn: member_rows.insert(conn, "h1", pairs, kept=16))  # noqa: B023
    assert await cloud.db.read(lambda conn: len(member_rows.log(conn, 0))) <= 18
    last = await cloud.db.read(group_members.position)
    told = await cloud.db.read(lambda conn: group_members.news(conn, 0, {"h1": last - 8}))
    assert (told.gaps, told.changes, told.unconcerned) == (("h2",), {}, ("h1",)), "h1 was the host of all of them"
    await cloud.db.write(lambda conn: group_members.told(conn, {}, told.gaps, {}))
    assert await stale(cloud) == ["h2"]
    assert (await news(cloud, told.position)).gaps == ()


async def test_changes_reach_the_hosts_they_concern(cloud: Cloud, callers: Callers, nudges: list[str]) -> None:
    ann = callers["ann"]
    network_id = await a_network(cloud, ann)
    (web,) = await groups.create(cloud, ann, [{"name": "web"}])
    (port,), _ = await bound(cloud, ann, await planned(cloud, ann, None, ["web"]))

    async def told(what: Callable[[], Any]) -> HostNetwork:
        nudges.clear()
        await what()
        await cloud.bus.idle()  # type: ignore[attr-defined]
        assert nudges == ["network"]
        assert await stale(cloud) == ["h1"]
        whole = await cloud.db.read(lambda conn: host_networks.whole(conn, "h1", "cloud.internal"))
        await cloud.db.write(lambda conn: host_networks.applied(conn, "h1", whole, whole.generation))
        return whole

    rule = {"group_id": web.id, "direction": "ingress", "protocol": "6", "port_min": 22, "port_max": 22}
    whole = await told(lambda: groups.create_rules(cloud, ann, [rule]))
    assert ("ingress", "tcp", 22) in [(r.direction, r.protocol, r.port_min) for r in whole.groups[0].rules]
    whole = await told(lambda: ports.update(cloud, ann, port.port_id, {"up": False}))
    assert not whole.ports[0].up
    whole = await told(lambda: networks.update(cloud, ann, network_id, {"mtu": 1300}))
    assert whole.segments[0].mtu == 1300
    whole = await told(lambda: subnets.create(cloud, ann, [{"network_id": network_id, "cidr": "10.2.0.0/24"}]))
    assert len(whole.segments[0].subnets) == 2
    (db,) = await groups.create(cloud, ann, [{"name": "db"}])
    about = {"group_id": web.id, "direction": "ingress", "remote_group": db.id}
    whole = await told(lambda: groups.create_rules(cloud, ann, [about]))
    assert {group.group_id for group in whole.groups} == {web.id, db.id}
    whole = await told(lambda: groups.delete(cloud, ann, db.id))
    assert {group.group_id for group in whole.groups} == {web.id}
    nudges.clear()
    await networks.update(cloud, ann, network_id, {"name": "renamed"})
    await cloud.bus.idle()  # type: ignore[attr-defined]
    assert nudges == []


async def test_a_host_keeps_the_groups_that_rules_refer_to(cloud: Cloud, callers: Callers) -> None:
    ann = callers["ann"]
    await a_network(cloud, ann)
    web, db = await groups.create(cloud, ann, [{"name": "web"}, {"name": "db"}])
    await groups.create_rules(cloud, ann, [{"group_id": web.id, "direction": "ingress", "remote_group": db.id}])
    (port,), _ = await bound(cloud, ann, await planned(cloud, ann, None, ["db"]), "s2", "h2")
    await bound(cloud, ann, await planned(cloud, ann, None, ["web"]), "s1", "h1")
    state = HostNetworkState()
    state.replace(await cloud.db.read(lambda conn: host_networks.whole(conn, "h1", "cloud.internal")))
    assert {group.group_id: group.remote_members for group in state.snapshot().groups} == {
        web.id: (),
        db.id: (port.addresses[0].address,),
    }


async def test_a_group_deleted_before_the_bind_fails_it(cloud: Cloud, callers: Callers) -> None:
    ann = callers["ann"]
    await a_network(cloud, ann)
    (web,) = await groups.create(cloud, ann, [{"name": "web"}])
    nics = await planned(cloud, ann, None, ["web"])
    await groups.delete(cloud, ann, web.id)
    with pytest.raises(Conflict, match=f"{web.id} is gone"):
        await bound(cloud, ann, nics)


async def test_a_network_without_addresses_left_fails_the_bind_and_leaves_nothing(
    cloud: Cloud, callers: Callers
) -> None:
    ann = callers["ann"]
    await a_network(cloud, ann, "10.1.0.0/30")
    nics = await planned(cloud, ann)
    with pytest.raises(Conflict, match="No more IP addresses"):
        await bound(cloud, ann, nics)
    assert len(await ports.find(cloud, ann, Listing())) == 1


async def test_the_first_network_is_made_once(cloud: Cloud, callers: Callers) -> None:
    for _ in range(2):
        await first_networks.bootstrap(cloud, "a" * 32)
    (network,) = await networks.find(cloud, callers["ann"], Listing())
    assert network.name == "private"
    assert len(network.subnet_ids) == 1


async def test_agents_are_the_hosts(cloud: Cloud, client: Any) -> None:
    now: datetime = cloud.clock.now()
    host = Host(name="h1", created_at=now, updated_at=now, started_at=now, last_seen=now)
    await cloud.db.write(lambda conn: hosts.put(conn, host))
    found = (await client("root").get("/v2.0/agents")).json()["agents"]
    assert sorted((item["agent_type"], item["host"], item["alive"]) for item in found) == [
        ("DHCP agent", "h1", True),
        ("L2 agent", "h1", True),
        ("L3 agent", "h1", True),
    ]
    one = (await client("root").get(f"/v2.0/agents/{found[1]['id']}")).json()["agent"]
    assert one == found[1]
    assert len((await client("root").get("/v2.0/agents?agent_type=DHCP+agent")).json()["agents"]) == 1
    assert (await client("ann").get("/v2.0/agents")).json() == {"agents": []}
    assert (await client("ann").get(f"/v2.0/agents/{found[1]['id']}")).status_code == 404
    path = f"/v2.0/agents/{one['id']}"
    for body in ({}, {"admin_state_up": "true"}, {"description": None}, {"description": ""}):
        assert (await client("root").put(path, json={"agent": body})).json()["agent"] == one
    for body in ({"admin_state_up": False}, {"description": "x"}, {"host": "h2"}, {"colour": 1}):
        assert (await client("root").put(path, json={"agent": body})).status_code == 400, body
    assert (await client("root").delete(path)).status_code == 409
    assert (await client("ann").delete(path)).status_code == 403
    assert (await client("root").delete("/v2.0/agents/nobody")).json()["NeutronError"]["type"] == "AgentNotFound"


async def host_names(cloud: Cloud, host: str = "h1") -> dict[str, str]:
    """Return by server the names of ports that a host is to have."""
    whole = await cloud.db.read(lambda conn: host_networks.whole(conn, host, "cloud.internal"))
    return {port.server_id: port.hostname for port in whole.ports}


async def test_a_renamed_server_is_known_by_its_new_name_on_all_its_networks(cloud: Cloud, callers: Callers) -> None:
    ann = callers["ann"]
    one, two = await a_network(cloud, ann), await a_network(cloud, ann, "10.2.0.0/24")
    await bound(cloud, ann, await planned(cloud, ann, [{"uuid": one}, {"uuid": two}]))
    assert await stale(cloud) == []

    async def rename(name: str) -> bool:
        return await cloud.db.write(
            lambda conn: ports.rename(conn, "s1", ann.project_id or "", name, cloud.clock.now())
        )

    assert await rename("Web.Example.org")
    assert await stale(cloud) == ["h1"]
    whole = await cloud.db.read(lambda conn: host_networks.whole(conn, "h1", "cloud.internal"))
    assert [port.hostname for port in whole.ports] == ["web.example.org"] * 2
    assert not await rename("web.example.org")
    assert await rename("localhost")
    assert await host_names(cloud) == {"s1": ""}


async def test_where_projects_meet_a_name_is_whose_it_was_first(cloud: Cloud, callers: Callers) -> None:
    ann, bob, admin = callers["ann"], callers["bob"], callers["root"]
    shared = await a_network(cloud, admin, shared=True)

    async def build(who: Context, server: str, hostname: str) -> None:
        nics = await planned(cloud, who, [{"uuid": shared}])
        await cloud.db.write(
            lambda conn: ports.bind(
                conn, now=cloud.clock.now(), server_id=server, project_id=who.project_id or "", host="h1", zone="nova",
                hostname=hostname, planned=nics,
            )
        )  # fmt: skip

    await build(ann, "a1", "db")
    await build(ann, "a2", "DB.example.org")
    await build(bob, "b1", "db")
    await build(bob, "b2", "db.cloud.internal")
    await build(bob, "b3", "metadata.google.internal")
    await build(bob, "b4", "web")
    assert await host_names(cloud) == {"a1": "db", "a2": "db.example.org", "b1": "", "b2": "", "b3": "", "b4": "web"}

    def rename(conn: Any) -> bool:
        return ports.rename(conn, "b4", bob.project_id or "", "db.evil.example", cloud.clock.now())

    assert await cloud.db.write(rename)
    assert (await host_names(cloud))["b4"] == ""
    for server in ("a1", "a2"):
        await cloud.db.write(lambda conn: ports.release(conn, server, cloud.clock.now()))  # noqa: B023
    await build(bob, "b5", "db")
    assert (await host_names(cloud))["b5"] == "db"


async def test_a_project_names_servers_of_its_own_network_as_it_likes(cloud: Cloud, callers: Callers) -> None:
    ann = callers["ann"]
    await a_network(cloud, ann)
    for server in ("gateway", "metadata"):
        await bound(cloud, ann, await planned(cloud, ann), server)
    assert await host_names(cloud) == {"gateway": "gateway", "metadata": "metadata"}


async def test_no_guest_stands_on_an_external_network(cloud: Cloud, callers: dict[str, Context]) -> None:
    """Guests get out by a router; an administrator's may be there itself."""
    ann = callers["ann"]
    root = replace(ann, roles=ann.roles | {"admin"})
    (outside,) = await networks.create(cloud, root, [{"name": "outside", "external": True, "project_id": "0" * 32}])
    await subnets.create(cloud, root, [{"network_id": outside.id, "cidr": "203.0.113.0/24", "dhcp": False}])
    (port,) = await ports.create(cloud, ann, [{"network_id": outside.id}])
    for asked in ({"uuid": outside.id}, {"port": port.id}):
        with pytest.raises(Forbidden, match=f"interface on external network {outside.id}"):
            await planned(cloud, ann, [asked])
        assert (await planned(cloud, root, [asked]))[0].network_id == outside.id


async def test_a_host_hears_of_all_that_a_router_leads_to(
    cloud: Cloud, callers: dict[str, Context], nudges: list[str]
) -> None:
    """Its guests are on one network; the router brings the others, and the outside, along."""
    ann, root = callers["ann"], callers["root"]
    here = await a_network(cloud, ann)
    there = await a_network(cloud, ann, "10.2.0.0/24")
    (outside,) = await networks.create(cloud, root, [{"name": "outside", "external": True}])
    asked = {"network_id": outside.id, "cidr": "203.0.113.0/24", "pools": [("203.0.113.9", "203.0.113.99")]}
    (external,) = await subnets.create(cloud, root, [{**asked, "dhcp": False}])
    (port,), _ = await bound(cloud, ann, await planned(cloud, ann, [{"uuid": here}]))
    (router,) = await routers.create(cloud, ann, [{"gateway": Gateway(network_id=outside.id)}])
    below = {}
    for network_id in (here, there):
        below[network_id] = (await networks.show(cloud, ann, network_id)).subnet_ids[0]
        joined = await router_interfaces.add(cloud, ann, router.id, {"subnet_id": below[network_id]})

    async def told(what: Callable[[], Any]) -> HostNetwork:
        whole = await cloud.db.read(lambda conn: host_networks.whole(conn, "h1", "cloud.internal"))
        await cloud.db.write(lambda conn: host_networks.applied(conn, "h1", whole, whole.generation))
        nudges.clear()
        await what()
        await cloud.bus.idle()  # type: ignore[attr-defined]
        assert nudges == ["network"]
        assert await stale(cloud) == ["h1"]
        return await cloud.db.read(lambda conn: host_networks.whole(conn, "h1", "cloud.internal"))

    def segment(whole: HostNetwork, network_id: str) -> Any:
        return next(each for each in whole.segments if each.network_id == network_id)

    whole = await told(lambda: networks.update(cloud, ann, there, {"mtu": 1300}))
    assert segment(whole, there).mtu == 1300
    whole = await told(lambda: subnets.update(cloud, ann, below[there], {"nameservers": ["192.0.2.1"]}))
    assert segment(whole, there).subnets[0].nameservers == ("192.0.2.1",)
    whole = await told(lambda: subnets.update(cloud, root, external.id, {"gateway": "203.0.113.2"}))
    assert whole.routers[0].next_hop == "203.0.113.2"
    whole = await told(lambda: ports.update(cloud, ann, joined.port_id, {"up": False}))
    assert [leg.up for leg in whole.routers[0].interfaces if leg.port_id == joined.port_id] == [False]
    made: list[Any] = []

    async def lead() -> None:
        made.extend(await floating_ips.create(cloud, ann, [{"network_id": outside.id, "port_id": port.port_id}]))

    whole = await told(lead)
    assert [each.address for each in whole.routers[0].floating] == [made[0].address]
    whole = await told(lambda: floating_ips.delete(cloud, ann, made[0].id))
    assert whole.routers[0].floating == ()
    whole = await told(lambda: router_interfaces.remove(cloud, ann, router.id, {"subnet_id": below[here]}))
    assert (whole.routers, [each.network_id for each in whole.segments]) == ((), [here])
