"""Version discovery."""

from __future__ import annotations

from typing import Any

from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import Policies, public
from floe.api.kit.routing import Route


def _version(call: Call) -> dict[str, Any]:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": call.url("/v3/")}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }


async def index(call: Call) -> Reply:
    """List the versions: v3 alone."""
    return Reply(300, {"versions": {"values": [_version(call)]}}, {"location": call.url("/v3/")})


async def show(call: Call) -> Reply:
    """Show v3."""
    return Reply(200, {"version": _version(call)})


ROUTES = (
    Route("GET", "/", index, "identity:get_versions"),
    Route("GET", "/v3", show, "identity:get_versions"),
)
POLICIES: Policies = {"identity:get_versions": public}
