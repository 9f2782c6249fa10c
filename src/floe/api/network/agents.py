"""`/v2.0/agents`."""

from __future__ import annotations

from datetime import datetime
from operator import itemgetter
from typing import Any

from floe.api.kit import policy
from floe.api.kit.call import Call, Reply
from floe.api.kit.resource import Fields, Use, Wire, constant
from floe.api.kit.routing import Route
from floe.api.network.converters import flag
from floe.api.network.dialect import read_change, sent_object
from floe.api.network.lists import chosen, cut, list_reply, listing_of, narrowed
from floe.api.network.rules import admin
from floe.cloud import network_agents
from floe.cloud.network_agents import NetworkAgent
from floe.core.errors import Conflict, Invalid, NotFound


def _up(value: bool, name: str) -> bool:
    if not value:
        raise Invalid(
            f"Invalid input for {name}: an agent is up as its host is; disable the host's compute service instead."
        )
    return value


def _none(value: Any, name: str) -> None:
    if value:
        raise Invalid(f"Invalid input for {name}: descriptions of agents are not kept; leave it out, or null.")


def _kind(value: str, _name: str) -> str:
    """Read a kind of agent in whatever case: so do the databases of most clouds, and clients rely on it."""
    return next((kind for kind in network_agents.KINDS if kind.lower() == value.lower()), value)


AGENT: Fields[NetworkAgent] = Fields(
    Wire("id", use=Use.LIST),
    Wire("agent_type", use=Use.LIST, filtered=_kind, shown=lambda agent: agent.kind),
    constant("binary", "floe-agent", Use.LIST),
    constant("topic", "N/A", Use.LIST),
    Wire("host", use=Use.LIST, shown=lambda agent: agent.host.name),
    Wire("availability_zone", use=Use.LIST, shown=lambda agent: agent.host.zone),
    constant("admin_state_up", True, Use.UPDATE | Use.LIST, convert=flag, check=_up),
    Wire("alive", use=Use.LIST, convert=flag),
    Wire("created_at", shown=lambda agent: _time(agent.host.created_at)),
    Wire("started_at", shown=lambda agent: _time(agent.host.started_at)),
    Wire("heartbeat_timestamp", shown=lambda agent: _time(agent.host.last_seen)),
    constant("description", None, Use.UPDATE, check=_none),
    constant("configurations", {}),
    constant("resource_versions", {}),
    constant("resources_synced", None),
)


async def index(call: Call) -> Reply:
    """List agents; to those who may not see one, there are none."""
    listing = listing_of(call, AGENT)
    seen = await network_agents.find(call.cloud) if admin(call.context) and listing is not None else []
    found = [item async for item in call.cloud.turns.each(AGENT.shape.show(agent) for agent in seen)]
    page = narrowed(found, listing) if listing is not None else []
    return list_reply(
        call,
        "agents",
        page,
        lambda agents, names: (cut(agent, names) for agent in agents),
        listing,
        ident=itemgetter("id"),
    )


async def show(call: Call) -> Reply:
    """Show an agent."""
    if not admin(call.context):
        raise NotFound("agent", call.params["agent_id"])
    agent = await network_agents.show(call.cloud, call.params["agent_id"])
    return Reply(body={"agent": chosen(call, AGENT.shape.show(agent))})


async def update(call: Call) -> Reply:
    """Change nothing of an agent, which is as its host is; what would be a change is refused."""
    read_change(AGENT, await sent_object(call, "agent"))
    return await show(call)


async def delete(call: Call) -> Reply:
    """Refuse to remove an agent."""
    agent = await network_agents.show(call.cloud, call.params["agent_id"])
    raise Conflict(
        f"Agent {agent.id} goes with its host {agent.host.name}; delete the host's compute service instead.",
        reason="agent_of_host",
    )


def _time(value: datetime) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%S")


ROUTES = (
    Route("GET", "/v2.0/agents", index, "get_agent"),
    Route("GET", "/v2.0/agents/{agent_id}", show, "get_agent"),
    Route("PUT", "/v2.0/agents/{agent_id}", update, "update_agent"),
    Route("DELETE", "/v2.0/agents/{agent_id}", delete, "delete_agent"),
)
POLICIES: policy.Policies = {"get_agent": policy.authenticated, "update_agent": admin, "delete_agent": admin}
