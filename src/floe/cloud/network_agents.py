"""What serves networks on the hosts: each host's agent, once as its switch and once as its DHCP server."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from floe.cloud.cloud import Cloud
from floe.core.errors import NotFound
from floe.core.hosts import Host
from floe.store import hosts

L2, DHCP = "L2 agent", "DHCP agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkAgent:
    """One part that a host's agent plays."""

    id: str
    kind: str
    host: Host
    alive: bool


async def find(cloud: Cloud) -> list[NetworkAgent]:
    """Return all agents, by host."""
    now = cloud.clock.now()
    known = await cloud.db.read(hosts.every)
    return [
        NetworkAgent(id=_agent_id(host, kind), kind=kind, host=host, alive=host.is_up(now))
        async for host in cloud.turns.each(known)
        for kind in (L2, DHCP)
    ]


async def show(cloud: Cloud, agent_id: str) -> NetworkAgent:
    """Return an agent. Raises NotFound."""
    for agent in await find(cloud):
        if agent.id == agent_id:
            return agent
    raise NotFound("agent", agent_id)


def _agent_id(host: Host, kind: str) -> str:
    return str(uuid.uuid5(uuid.UUID(host.id), kind))
