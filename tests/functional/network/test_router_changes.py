"""A change of a router reaches hosts as that router alone; their whole network goes out where anything else changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from floe.cloud import host_networks, router_interfaces, routers, subnets
from floe.cloud.cloud import Cloud
from floe.conductor.fleet import ConductorSettings, Fleet
from floe.conductor.network_change import NetworkChange
from floe.core.context import Context
from floe.core.errors import NotAcceptable
from floe.core.host_network import HostNetwork, RoutersChange
from floe.core.host_network_state import HostNetworkState
from floe.core.hosts import Host
from floe.core.messages import ApplyNetwork, ChangeRouters, Command, Failed, NetworkApplied, Result
from floe.store import host_networks as rows
from floe.store import subnets as subnet_rows

from .test_server_ports import Callers, a_network, bound, planned


@dataclass
class Agent:
    """A host that keeps its network; one that is `old` knows no changes of routers, one that is `away` says nothing."""

    state: HostNetworkState = field(default_factory=HostNetworkState)
    sent: list[HostNetwork | RoutersChange] = field(default_factory=list)
    old: bool = False
    away: bool = False

    async def handle(self, command: Command) -> Result:
        if self.away:
            return Failed(kind="host_failure", message="no")
        if isinstance(command, ApplyNetwork):
            self.sent.append(command.network)
            self.state.replace(command.network)
        else:
            assert isinstance(command, ChangeRouters)
            if self.old:
                return Failed(kind=NotAcceptable.kind, message="what is that?")
            self.sent.append(command.change)
            self.state.change_routers(command.change)
        return NetworkApplied(generation=self.state.generation)


@dataclass
class Site:
    """A host with a server on a network, and a router there."""

    cloud: Cloud
    who: Context
    networks: NetworkChange
    agent: Agent
    network: str
    router: str

    async def tell(self) -> list[HostNetwork | RoutersChange]:
        self.agent.sent.clear()
        self.networks.nudge()
        async with asyncio.timeout(30):
            await self.networks.idle()
        return list(self.agent.sent)

    async def route(self, hop: str) -> None:
        await routers.update(self.cloud, self.who, self.router, {"routes": [("192.0.2.0/24", hop)]})

    async def check(self) -> None:
        whole = await self.cloud.db.read(lambda conn: host_networks.whole(conn, "h1", "cloud.internal"))
        known = self.agent.state.snapshot()
        assert (known.routers, known.segments, known.ports) == (whole.routers, whole.segments, whole.ports)
        assert await self.cloud.db.read(host_networks.stale) == []


@pytest.fixture
async def site(cloud: Cloud, callers: Callers) -> AsyncIterator[Site]:
    who, now = callers["ann"], cloud.clock.now()
    fleet = Fleet(cloud.db, cloud.bus, cloud.clock, ConductorSettings(gather=0.0, answer=5.0))
    fleet.learn(Host(name="h1", created_at=now, updated_at=now, started_at=now, last_seen=now))
    network, agent = await a_network(cloud, who), Agent()
    await cloud.bus.serve("h1", agent.handle)
    (router,) = await routers.create(cloud, who, [{}])
    made = Site(cloud, who, NetworkChange(cloud, fleet), agent, network, router.id)
    await join(made, network)
    _, fragment = await bound(cloud, who, await planned(cloud, who), "s1", "h1")
    agent.state.merge(fragment)
    yield made
    await made.networks.stop()


async def join(site: Site, network_id: str, *, leave: bool = False) -> None:
    def read(conn: Any) -> str:
        return subnet_rows.of_networks(conn, [network_id])[0].id

    subnet = {"subnet_id": await site.cloud.db.read(read)}
    await (router_interfaces.remove if leave else router_interfaces.add)(site.cloud, site.who, site.router, subnet)


async def test_what_changes_of_a_router_is_sent_without_ports_and_other_networks(site: Site) -> None:
    await site.route("10.1.0.7")
    (change,) = await site.tell()
    assert isinstance(change, RoutersChange)
    assert [router.router_id for router in change.routers] == [site.router]
    assert [segment.network_id for segment in change.segments] == [site.network]
    await site.check()
    beyond = await a_network(site.cloud, site.who, "10.2.0.0/24")
    await join(site, beyond)
    await site.route("10.1.0.8")
    (change,) = await site.tell()
    assert isinstance(change, RoutersChange)
    assert {segment.network_id for segment in change.segments} == {site.network, beyond}
    await site.check()
    assert await site.tell() == []


async def test_a_router_that_leaves_the_host_s_networks_is_gone_there(site: Site) -> None:
    await join(site, site.network, leave=True)
    (change,) = await site.tell()
    assert isinstance(change, RoutersChange)
    assert (change.routers, change.gone) == ((), (site.router,))
    await site.check()


async def test_what_a_host_did_not_hear_comes_with_the_next_change(site: Site) -> None:
    site.agent.away = True
    await site.route("10.1.0.7")
    assert await site.tell() == []
    (other,) = await routers.create(site.cloud, site.who, [{}])
    beyond = await a_network(site.cloud, site.who, "10.2.0.0/24")
    await bound(site.cloud, site.who, await planned(site.cloud, site.who, [{"uuid": beyond}]), "s2", "h1")
    (subnet,) = await site.cloud.db.read(lambda conn: subnet_rows.of_networks(conn, [beyond]))
    await router_interfaces.add(site.cloud, site.who, other.id, {"subnet_id": subnet.id})
    site.agent.away = False
    (change,) = await site.tell()
    assert isinstance(change, RoutersChange)
    assert {router.router_id for router in change.routers} == {site.router, other.id}


async def test_where_anything_else_changed_too_the_whole_is_sent(site: Site) -> None:
    await site.route("10.1.0.7")
    (subnet,) = await site.cloud.db.read(lambda conn: subnet_rows.of_networks(conn, [site.network]))
    await subnets.update(site.cloud, site.who, subnet.id, {"nameservers": ["9.9.9.9"]})
    await site.route("10.1.0.8")
    (whole,) = await site.tell()
    assert isinstance(whole, HostNetwork)
    await site.check()


async def test_more_routers_than_are_listed_are_sent_with_the_whole(site: Site) -> None:
    (port,) = site.agent.state.ports

    def touch(conn: Any, count: int) -> int:
        for number in range(count):
            assert host_networks.touch_led_to(conn, port, f"{number % 20:036}")
        return len(rows.lacking(conn, "h1")[1])  # type: ignore[index]

    assert await site.cloud.db.write(lambda conn: touch(conn, 10)) == 10
    assert await site.cloud.db.write(lambda conn: touch(conn, 30)) == 0
    (whole,) = await site.tell()
    assert isinstance(whole, HostNetwork)
    await site.check()


async def test_a_host_of_the_release_before_is_sent_its_whole(site: Site) -> None:
    site.agent.old = True
    await site.route("10.1.0.7")
    (whole,) = await site.tell()
    assert isinstance(whole, HostNetwork)
    await site.check()
