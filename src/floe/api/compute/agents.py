"""/os-agents: builds of an agent for guests of XenServer, which Nova removed at all microversions."""

from __future__ import annotations

from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import authenticated
from floe.api.kit.query import OPEN_QUERY
from floe.api.kit.routing import Route
from floe.core.errors import Gone


async def gone(_call: Call) -> Reply:
    """GET, POST, PUT and DELETE, in the words that Nova's client looks for."""
    raise Gone("This resource is no longer available. No forwarding address is given.")


_PATH = "/v2.1/os-agents"
_RULE = "os_compute_api:os-agents"

ROUTES = (
    Route("GET", _PATH, gone, _RULE, query=OPEN_QUERY),
    Route("POST", _PATH, gone, _RULE),
    Route("PUT", _PATH + "/{agent_id}", gone, _RULE),
    Route("DELETE", _PATH + "/{agent_id}", gone, _RULE),
)

POLICIES = {_RULE: authenticated}
