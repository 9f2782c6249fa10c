"""Members of security groups reach the hosts as differences; whole networks only where something was missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from floe.cloud import group_members, host_networks, server_ports
from floe.cloud.cloud import Cloud
from floe.conductor.fleet import ConductorSettings, Fleet
from floe.conductor.group_members import CHANGES, GAPS
from floe.conductor.network_change import NetworkChange
from floe.core.context import Context
from floe.core.host_network_state import HostNetworkState
from floe.core.hosts import Host
from floe.core.messages import ApplyNetwork, ChangeMembers, Command, MembersChanged, NetworkApplied, Result
from floe.store.schema import metadata

from .test_server_ports import Callers, a_network, bound, planned


@dataclass
class Agent:
    """A host that keeps its network; it may lose messages, or take its time."""

    state: HostNetworkState = field(default_factory=HostNetworkState)
    commands: list[type[Command]] = field(default_factory=list)
    slow: asyncio.Event | None = None

    async def handle(self, command: Command) -> Result:
        self.commands.append(type(command))
        if isinstance(command, ApplyNetwork):
            self.state.replace(command.network)
            return NetworkApplied(generation=self.state.generation)
        assert isinstance(command, ChangeMembers)
        if self.slow is not None:
            await self.slow.wait()
        before, taken = self.state.members_at, self.state.takes(command.change)
        self.state.change_members(command.change)
        return MembersChanged(taken=taken, at=before)

    def members(self) -> set[str]:
        return {address for group in self.state.groups.values() for address in group.remote_members}


@dataclass
class Site:
    """Hosts, and the part of a conductor that tells them of their networks."""

    cloud: Cloud
    who: Context
    fleet: Fleet
    networks: NetworkChange
    agents: dict[str, Agent] = field(default_factory=dict)

    async def add_host(self, name: str) -> Agent:
        """Add a host with one server in the default group."""
        now = self.cloud.clock.now()
        self.fleet.learn(Host(name=name, created_at=now, updated_at=now, started_at=now, last_seen=now))
        agent = self.agents[name] = Agent()
        await self.cloud.bus.serve(name, agent.handle)
        _, fragment = await bound(self.cloud, self.who, await planned(self.cloud, self.who), f"first-{name}", name)
        agent.state.merge(fragment)
        return agent

    async def bind(self, server: str, host: str) -> str:
        (port,), fragment = await bound(self.cloud, self.who, await planned(self.cloud, self.who), server, host)
        self.agents[host].state.merge(fragment)
        return port.addresses[0].address

    async def unbind(self, server: str) -> None:
        def write(conn: Any) -> Mapping[str, int]:
            now = self.cloud.clock.now()
            found = server_ports.unplug(conn, server, now)
            server_ports.release(conn, server, now)
            return found.generations

        for host, generation in (await self.cloud.db.write(write)).items():
            gone = [ident for ident, port in self.agents[host].state.ports.items() if port.server_id == server]
            self.agents[host].state.remove_ports(tuple(gone), generation)

    async def tell(self, *, members: bool = False) -> None:
        self.networks.nudge(members=members)
        async with asyncio.timeout(30):
            await self.networks.idle()

    def check(self) -> None:
        """See that all hosts have what their whole network would bring."""
        for name, agent in self.agents.items():
            whole = self.cloud.db.read_now(lambda conn: host_networks.whole(conn, name, "cloud.internal"))  # noqa: B023
            assert agent.state.snapshot().groups == whole.groups, name


@pytest.fixture
async def site(cloud: Cloud, callers: Callers) -> AsyncIterator[Site]:
    fleet = Fleet(cloud.db, cloud.bus, cloud.clock, ConductorSettings(gather=0.0, answer=5.0))
    made = Site(cloud, callers["ann"], fleet, NetworkChange(cloud, fleet))
    await a_network(cloud, callers["ann"])
    for name in ("h1", "h2", "h3"):
        await made.add_host(name)
    await made.tell()
    made.check()
    for agent in made.agents.values():
        agent.commands.clear()
    yield made
    await made.networks.stop()


@pytest.mark.parametrize("members", [False, True])
async def test_a_member_more_and_one_less_cost_the_others_one_small_message_each(site: Site, members: bool) -> None:
    address = await site.bind("s1", "h1")
    await site.tell(members=members)
    assert address in site.agents["h2"].members()
    site.check()
    assert [agent.commands for agent in site.agents.values()] == [[], [ChangeMembers], [ChangeMembers]]
    await site.unbind("s1")
    await site.tell(members=members)
    site.check()
    assert [len(agent.commands) for agent in site.agents.values()] == [0, 2, 2]
    assert site.cloud.counters.total(GAPS) == 0


async def test_many_changes_that_come_together_cost_a_host_one_message(site: Site) -> None:
    before = site.cloud.counters.total(CHANGES)
    for number in range(20):
        await site.bind(f"s{number}", "h1")
    for number in range(5):
        await site.unbind(f"s{number}")
    await site.tell()
    site.check()
    assert [agent.commands for agent in site.agents.values()] == [[], [ChangeMembers], [ChangeMembers]]
    assert site.cloud.counters.total(CHANGES) - before == 2


async def test_a_thousand_nudges_at_once_are_one_look(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def counted(conn: Any) -> tuple[list[str], int]:
        nonlocal looks
        looks += 1
        return behind(conn)

    behind = host_networks.behind
    monkeypatch.setattr(host_networks, "behind", counted)
    for _ in range(1000):
        site.networks.nudge()
    await site.tell()
    assert looks == 1
    told = group_members.news
    monkeypatch.setattr(group_members, "news", lambda *given: counted(given[0]) and told(*given))
    for _ in range(1000):
        site.networks.nudge(members=True)
    await site.tell(members=True)
    assert looks == 2, "and one about members alone looks at those alone"


async def test_a_host_that_is_slow_or_down_keeps_nobody_waiting_and_is_told_later(site: Site) -> None:
    slow, down = site.agents["h2"], site.agents["h3"]
    slow.slow = asyncio.Event()
    site.fleet.lost("h3")
    first = await site.bind("s1", "h1")
    site.networks.nudge()
    fresh = await site.add_host("h4")
    second = await site.bind("s2", "h1")
    async with asyncio.timeout(30):
        while second not in fresh.members() or first not in fresh.members():
            site.networks.nudge()
            await asyncio.sleep(0.01)
    assert first not in slow.members() | down.members()
    slow.slow.set()
    site.fleet.heard("h3")
    async with asyncio.timeout(30):
        while first not in slow.members() or first not in down.members():
            await site.tell()
    await site.tell()
    site.check()


async def test_a_host_that_missed_something_is_sent_its_whole_network(site: Site) -> None:
    agent = site.agents["h2"]
    await site.bind("s1", "h1")
    await site.tell()
    agent.state = HostNetworkState()  # its memory is gone, and nobody has noticed
    agent.commands.clear()
    address = await site.bind("s2", "h1")
    await site.tell()
    assert agent.commands == [ChangeMembers, ApplyNetwork]
    assert address in agent.members()
    site.check()
    assert site.cloud.counters.total(GAPS) == 1
    await site.bind("s3", "h1")
    await site.tell()
    assert agent.commands == [ChangeMembers, ApplyNetwork, ChangeMembers]
    site.check()


async def test_another_conductor_tells_what_one_that_died_had_not(site: Site) -> None:
    address = await site.bind("s1", "h1")  # and no nudge
    heir = NetworkChange(site.cloud, site.fleet)
    heir.nudge()
    async with asyncio.timeout(30):
        await heir.idle()
    assert address in site.agents["h2"].members()
    site.check()
    assert [agent.commands for agent in site.agents.values()] == [[], [ChangeMembers], [ChangeMembers]]


@pytest.mark.parametrize("by", [1, 2**53, 2**63])
async def test_a_host_that_is_always_ahead_is_not_asked_without_end(site: Site, by: int) -> None:
    agent = site.agents["h2"]

    async def handle(command: Command) -> Result:
        agent.commands.append(type(command))
        assert isinstance(command, ApplyNetwork)
        return NetworkApplied(generation=command.network.generation + by)

    await site.cloud.bus.withdraw("h2")
    await site.cloud.bus.serve("h2", handle)
    await site.cloud.db.write(lambda conn: host_networks.touch_hosts(conn, ["h2"]))
    await site.tell()
    assert agent.commands == [ApplyNetwork] * 2


_COUNTED = ("group_positions", "group_changes", "host_networks")


@pytest.mark.parametrize("kept", ["wholes", "no wholes"])
@pytest.mark.parametrize(("lost", "then"), [(1, 1), (2, 2), (3, 1), (1, 3)])
async def test_hosts_that_heard_what_an_older_copy_of_the_database_knows_nothing_of_have_what_it_says(
    site: Site, lost: int, then: int, kept: str
) -> None:
    """Positions and generations are given out again, some of them before any host has said what it heard of."""

    def counted(conn: Any) -> dict[str, list[Any]]:
        return {table: conn.execute(metadata.tables[table].select()).all() for table in _COUNTED}

    def put_back(conn: Any, rows: dict[str, list[Any]]) -> None:
        for table, found in rows.items():
            conn.execute(metadata.tables[table].delete())
            if found:
                conn.execute(metadata.tables[table].insert(), [row._asdict() for row in found])

    dump = await site.cloud.db.read(counted)
    for number in range(lost):
        await site.bind(f"lost-{number}", "h1")
        if kept == "wholes":
            await site.cloud.db.write(lambda conn: host_networks.touch_hosts(conn, ["h2", "h3"]))
    await site.tell()
    for number in range(lost):
        await site.unbind(f"lost-{number}")
    await site.cloud.db.write(lambda conn: put_back(conn, dump))
    addresses = {await site.bind(f"new-{number}", "h1") for number in range(then)}
    site.networks = NetworkChange(site.cloud, site.fleet)  # the conductors start anew with the database
    await site.tell()
    await site.tell()
    for name in ("h2", "h3"):
        whole = site.cloud.db.read_now(lambda conn: host_networks.whole(conn, name, "cloud.internal"))  # noqa: B023
        assert site.agents[name].state.snapshot().groups == whole.groups, name
        assert site.agents[name].members() >= addresses
