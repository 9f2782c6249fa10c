"""Which agents have a router or a network, and what an agent has: where the guests are, and nobody chooses."""

from __future__ import annotations

from typing import Any

from floe.api.kit import policy
from floe.api.kit.call import Call, Reply
from floe.api.kit.routing import Route
from floe.api.network.agents import AGENT
from floe.api.network.dialect import show_to
from floe.api.network.networks import NETWORK
from floe.api.network.routers import ROUTER
from floe.api.network.rules import admin
from floe.cloud import hosts, network_agents
from floe.cloud.network_agents import NetworkAgent


async def of_router(call: Call) -> Reply:
    """List the agents that a router is on."""
    return _agents(await network_agents.of_router(call.cloud, call.context, call.params["router_id"]), ha_state=None)


async def of_network(call: Call) -> Reply:
    """List the agents that a network is on."""
    return _agents(await network_agents.of_network(call.cloud, call.context, call.params["network_id"]))


async def routers(call: Call) -> Reply:
    """List the routers on an agent."""
    found = await network_agents.routers_of(call.cloud, call.params["agent_id"])
    return Reply(body={"routers": [show_to(ROUTER, call)(router) for router in found]})


async def networks(call: Call) -> Reply:
    """List the networks on an agent."""
    found = await network_agents.networks_of(call.cloud, call.params["agent_id"])
    return Reply(body={"networks": [show_to(NETWORK, call)(network) for network in found]})


async def refuse(call: Call) -> Reply:
    """Refuse to choose for it what it has."""
    await network_agents.refuse_placing(call.cloud, call.params["agent_id"])
    raise AssertionError("that refuses")


async def zones(call: Call) -> Reply:
    """List the availability zones, for each kind of thing that is served in them."""
    return Reply(
        body={
            "availability_zones": [
                {"name": zone.name, "resource": kind, "state": "available" if zone.available else "unavailable"}
                for zone in await hosts.zones(call.cloud)
                for kind in ("network", "router")
            ]
        }
    )


def _agents(found: list[NetworkAgent], **more: Any) -> Reply:
    return Reply(body={"agents": [{**AGENT.shape.show(agent), **more} for agent in found]})


_READ, _PLACE = "get_l3-agents", "create_l3-router"
ROUTES = (
    Route("GET", "/v2.0/routers/{router_id}/l3-agents", of_router, _READ),
    Route("GET", "/v2.0/networks/{network_id}/dhcp-agents", of_network, _READ),
    Route("GET", "/v2.0/agents/{agent_id}/l3-routers", routers, _READ),
    Route("POST", "/v2.0/agents/{agent_id}/l3-routers", refuse, _PLACE),
    Route("DELETE", "/v2.0/agents/{agent_id}/l3-routers/{router_id}", refuse, _PLACE),
    Route("GET", "/v2.0/agents/{agent_id}/dhcp-networks", networks, _READ),
    Route("POST", "/v2.0/agents/{agent_id}/dhcp-networks", refuse, _PLACE),
    Route("DELETE", "/v2.0/agents/{agent_id}/dhcp-networks/{network_id}", refuse, _PLACE),
    Route("GET", "/v2.0/availability_zones", zones, "get_availability_zone"),
)
POLICIES: policy.Policies = {_READ: admin, _PLACE: admin, "get_availability_zone": policy.authenticated}
