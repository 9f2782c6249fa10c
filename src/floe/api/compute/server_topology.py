"""/servers/{server_id}/topology: guests have no NUMA nodes of their own, nor pages of a size they asked for."""

from __future__ import annotations

from floe.api.compute.dialect import ONCE_OPEN
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import project_reader
from floe.api.kit.routing import Route
from floe.cloud import servers


async def show(call: Call) -> Reply:
    """GET: what Nova answers for a server without a NUMA topology."""
    await servers.find(call.cloud, call.context, call.params["server_id"])
    return Reply(200, {"nodes": [], "pagesize_kb": None})


_RULE = "compute:server:topology:index"

ROUTES = (Route("GET", "/v2.1/servers/{server_id}/topology", show, _RULE, since=(2, 78), query=ONCE_OPEN),)

POLICIES = {_RULE: project_reader}
