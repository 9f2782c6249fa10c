"""/os-aggregates: there are none; clients that show a hypervisor or a host look here first.

Only reading is served. A POST is answered 405 with the methods that are: nothing can be wrong with its body.
"""

from __future__ import annotations

from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import admin
from floe.api.kit.query import OPEN_QUERY
from floe.api.kit.routing import Route
from floe.core.errors import NotFound


async def index(_call: Call) -> Reply:
    """GET."""
    return Reply(200, {"aggregates": []})


async def show(call: Call) -> Reply:
    """GET {aggregate_id}."""
    ident = call.params["aggregate_id"]
    raise NotFound("aggregate", ident, message=f"Aggregate {ident} could not be found: there are none here.")


_LIST, _SHOW = "os_compute_api:os-aggregates:index", "os_compute_api:os-aggregates:show"

ROUTES = (
    Route("GET", "/v2.1/os-aggregates", index, _LIST, query=OPEN_QUERY),
    Route("GET", "/v2.1/os-aggregates/{aggregate_id}", show, _SHOW, query=OPEN_QUERY),
)

POLICIES = {_LIST: admin, _SHOW: admin}
