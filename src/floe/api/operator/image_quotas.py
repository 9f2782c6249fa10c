"""/v1/image-quotas: limits of images, of all projects and of single ones; the image API only shows them.

Elsewhere they are Keystone's unified limits, by the same names and in the same units.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from floe.api.kit.body import Body, Field
from floe.api.kit.call import Call, Reply, Route
from floe.api.kit.policy import operator
from floe.cloud import image_quotas
from floe.core.quotas import IMAGE

_LIMIT = Annotated[int, Meta(ge=-1, le=2**31 - 1)]
"""-1 means no limit."""
_BODY = Body("image_quota", [Field(name, _LIMIT) for name in IMAGE])
_PATH, _POLICY = "/v1/image-quotas", "floe:image-quotas"


async def defaults(call: Call) -> Reply:
    """GET: what holds for a project for which nothing was set."""
    return _reply(await image_quotas.defaults(call.cloud))


async def change_defaults(call: Call) -> Reply:
    """PUT: change what holds for a project for which nothing was set; limits not named stay."""
    return _reply(await image_quotas.change_defaults(call.cloud, _BODY.read(await call.raw())))


async def show(call: Call) -> Reply:
    """GET {project_id}."""
    return _reply(await image_quotas.show(call.cloud, call.params["project_id"]))


async def change(call: Call) -> Reply:
    """PUT {project_id}: set limits of a project; those not named stay. What it has already stays too."""
    limits = _BODY.read(await call.raw())
    return _reply(await image_quotas.change(call.cloud, call.params["project_id"], limits))


async def reset(call: Call) -> Reply:
    """DELETE {project_id}: back to the defaults."""
    await image_quotas.reset(call.cloud, call.params["project_id"])
    return Reply(204)


def _reply(limits: Any) -> Reply:
    return Reply(200, {"image_quota": limits})


ROUTES = (
    Route("GET", _PATH, defaults, f"{_POLICY}:show"),
    Route("PUT", _PATH, change_defaults, f"{_POLICY}:update"),
    Route("GET", _PATH + "/{project_id}", show, f"{_POLICY}:show"),
    Route("PUT", _PATH + "/{project_id}", change, f"{_POLICY}:update"),
    Route("DELETE", _PATH + "/{project_id}", reset, f"{_POLICY}:delete"),
)
POLICIES = {route.policy: operator for route in ROUTES}
