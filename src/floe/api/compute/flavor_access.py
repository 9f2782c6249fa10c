"""Which projects may use a flavor that is not public."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from floe.api.kit.body import Body, Field
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import admin
from floe.api.kit.query import OPEN_QUERY
from floe.api.kit.routing import Route
from floe.cloud import flavors as cloud

_Project = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9-]+\Z")]
_ADD = Body("addTenantAccess", (Field("tenant", _Project, required=True),))
_REMOVE = Body("removeTenantAccess", (Field("tenant", _Project, required=True),))


async def index(call: Call) -> Reply:
    """GET os-flavor-access."""
    ident = call.params["flavor_id"]
    return _reply(ident, await cloud.access(call.cloud, call.context, ident))


async def add(call: Call) -> Reply:
    """Give a project access."""
    project = _ADD.read(await call.raw(), call.version)["tenant"]
    ident = call.params["flavor_id"]
    return _reply(ident, await cloud.grant(call.cloud, call.context, ident, project))


async def remove(call: Call) -> Reply:
    """Take it back."""
    project = _REMOVE.read(await call.raw(), call.version)["tenant"]
    ident = call.params["flavor_id"]
    return _reply(ident, await cloud.revoke(call.cloud, call.context, ident, project))


def _reply(flavor_id: str, projects: list[str]) -> Reply:
    return Reply(200, {"flavor_access": ({"flavor_id": flavor_id, "tenant_id": project} for project in projects)})


_ACTION = "/v2.1/flavors/{flavor_id}/action"

ROUTES = (
    Route(
        "GET", "/v2.1/flavors/{flavor_id}/os-flavor-access", index, "os_compute_api:os-flavor-access", query=OPEN_QUERY
    ),
    Route("POST", _ACTION, add, "os_compute_api:os-flavor-access:add_tenant_access", action="addTenantAccess"),
    Route("POST", _ACTION, remove, "os_compute_api:os-flavor-access:remove_tenant_access", action="removeTenantAccess"),
)

POLICIES = {
    "os_compute_api:os-flavor-access": admin,
    "os_compute_api:os-flavor-access:add_tenant_access": admin,
    "os_compute_api:os-flavor-access:remove_tenant_access": admin,
}
