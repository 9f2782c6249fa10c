"""What serves networks on the hosts: each host's agent, once as its switch and once as its DHCP server."""

from __future__ import annotations

import uuid

import msgspec

from floe.cloud import hosts
from floe.cloud.cloud import Cloud
from floe.core.errors import NotFound
from floe.core.hosts import Host

L2, DHCP = "L2 agent", "DHCP agent"


class NetworkAgent(msgspec.Struct, frozen=True, kw_only=True):
    """One part that a host's agent plays."""

    id: str
    kind: str
    host: Host
    alive: bool


async def find(cloud: Cloud) -> list[NetworkAgent]:
    """Return all agents, by host."""
    return [
        NetworkAgent(id=_agent_id(each.host, kind), kind=kind, host=each.host, alive=each.up)
        async for each in cloud.turns.each(await hosts.listed(cloud))
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
