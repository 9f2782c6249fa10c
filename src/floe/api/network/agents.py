"""`/v2.0/agents`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from floe.api.kit import policy
from floe.api.kit.call import Call, Reply
from floe.api.kit.routing import Route
from floe.api.network.lists import chosen, flag
from floe.cloud import network_agents
from floe.cloud.network_agents import NetworkAgent
from floe.core.errors import Invalid

_FILTERS = {"id", "agent_type", "alive", "binary", "host", "availability_zone", "admin_state_up"}


async def index(call: Call) -> Reply:
    """List agents; to those who may not see one, there are none."""
    seen = await network_agents.find(call.cloud) if policy.admin(call.context) else []
    found = [_show(agent) for agent in seen]
    for name, text in call.query:
        if name == "fields":
            continue
        if name not in _FILTERS:
            raise Invalid(f"Invalid input for operation: {name!r} is not a filter here; use {sorted(_FILTERS)}.")
        found = [agent for agent in found if _matches(agent[name], name, text)]
    return Reply(body={"agents": [chosen(call, agent) for agent in found]})


async def show(call: Call) -> Reply:
    """Show an agent."""
    agent = await network_agents.show(call.cloud, call.params["agent_id"])
    return Reply(body={"agent": chosen(call, _show(agent))})


def _matches(value: Any, name: str, text: str) -> bool:
    if not isinstance(value, bool):
        return bool(value == text)
    try:
        return value is flag(text)
    except ValueError as error:
        raise Invalid(f"Invalid input for {name}: {text!r} is not {error}.") from None


def _show(agent: NetworkAgent) -> dict[str, Any]:
    host = agent.host
    return {
        "id": agent.id,
        "agent_type": agent.kind,
        "binary": "floe-agent",
        "topic": "N/A",
        "host": host.name,
        "availability_zone": host.availability_zone,
        "admin_state_up": True,
        "alive": agent.alive,
        "created_at": _time(host.created_at),
        "started_at": _time(host.started_at),
        "heartbeat_timestamp": _time(host.last_seen),
        "description": None,
        "configurations": {},
        "resource_versions": {},
        "resources_synced": None,
    }


def _time(value: datetime) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%S")


ROUTES = (
    Route("GET", "/v2.0/agents", index, "get_agents"),
    Route("GET", "/v2.0/agents/{agent_id}", show, "get_agent"),
)
POLICIES: policy.Policies = {"get_agents": policy.authenticated, "get_agent": policy.admin}
