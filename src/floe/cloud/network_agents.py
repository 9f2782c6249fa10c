"""What serves networks on the hosts: each host's agent, as its switch, its DHCP server and its router.

Nobody schedules anything on them: a network and a router are on the hosts that have guests there.
"""

from __future__ import annotations

import uuid

import msgspec

from floe.cloud import hosts, network_room
from floe.cloud.cloud import Cloud
from floe.cloud.hosts import HostDetail
from floe.core.context import Context
from floe.core.errors import Conflict, NotFound
from floe.core.hosts import Host
from floe.core.networks import Network
from floe.core.routers import Router
from floe.store import network_hosts, networks, routers

L2, DHCP, L3 = "L2 agent", "DHCP agent", "L3 agent"
KINDS = (L2, DHCP, L3)


class NetworkAgent(msgspec.Struct, frozen=True, kw_only=True):
    """One part that a host's agent plays."""

    id: str
    kind: str
    host: Host
    alive: bool


async def find(cloud: Cloud) -> list[NetworkAgent]:
    """Return all agents, by host."""
    return [_agent(each, kind) async for each in cloud.turns.each(await hosts.listed(cloud)) for kind in KINDS]


async def show(cloud: Cloud, agent_id: str) -> NetworkAgent:
    """Return an agent. Raises NotFound."""
    for agent in await find(cloud):
        if agent.id == agent_id:
            return agent
    raise NotFound("agent", agent_id)


async def of_router(cloud: Cloud, context: Context, router_id: str) -> list[NetworkAgent]:
    """Return the agents of the hosts that a router is on. Raises NotFound."""
    scope = network_room.scope(context)
    if await cloud.db.read(lambda conn: routers.get(conn, router_id, scope)) is None:
        raise NotFound("router", router_id)
    return await _on(cloud, L3, await cloud.db.read(lambda conn: network_hosts.of_router(conn, router_id)))


async def of_network(cloud: Cloud, context: Context, network_id: str) -> list[NetworkAgent]:
    """Return the agents of the hosts that a network is on. Raises NotFound."""
    scope = network_room.scope(context)
    if await cloud.db.read(lambda conn: networks.get(conn, network_id, scope)) is None:
        raise NotFound("network", network_id)
    return await _on(cloud, DHCP, await cloud.db.read(lambda conn: network_hosts.of_network(conn, network_id)))


async def routers_of(cloud: Cloud, agent_id: str) -> list[Router]:
    """Return the routers on an agent's host, by id. Raises NotFound."""
    host = await _host(cloud, agent_id, L3)
    return await cloud.db.read(lambda conn: routers.ROWS.each(conn, network_hosts.routers(conn, host)))


async def networks_of(cloud: Cloud, agent_id: str) -> list[Network]:
    """Return the networks that guests of an agent's host are in, by id. Raises NotFound."""
    host = await _host(cloud, agent_id, DHCP)
    return await cloud.db.read(lambda conn: networks.ROWS.each(conn, network_hosts.networks(conn, host)))


async def refuse_placing(cloud: Cloud, agent_id: str) -> None:
    """Refuse to put a network or a router on an agent, or to take it off. Raises NotFound, Conflict."""
    agent = await show(cloud, agent_id)
    raise Conflict(
        f"Nothing is scheduled on agent {agent.id} of host {agent.host.name}: networks and routers are on the hosts"
        " that have guests there.",
        reason="agent_of_host",
    )


async def _on(cloud: Cloud, kind: str, names: set[str]) -> list[NetworkAgent]:
    return [_agent(each, kind) async for each in cloud.turns.each(await hosts.listed(cloud)) if each.host.name in names]


async def _host(cloud: Cloud, agent_id: str, kind: str) -> str:
    agent = await show(cloud, agent_id)
    if agent.kind != kind:
        raise Conflict(f"Agent {agent.id} is a {agent.kind}, not a {kind}.", reason="agent_of_another_kind")
    return agent.host.name


def _agent(each: HostDetail, kind: str) -> NetworkAgent:
    return NetworkAgent(id=_agent_id(each.host, kind), kind=kind, host=each.host, alive=each.up)


def _agent_id(host: Host, kind: str) -> str:
    return str(uuid.uuid5(uuid.UUID(host.id), kind))
