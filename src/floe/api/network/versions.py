"""Version discovery: `/` and `/v2.0`."""

from __future__ import annotations

from typing import Any

from floe.api.kit import policy
from floe.api.kit.call import Call, Reply
from floe.api.kit.routing import Route
from floe.api.network.nouns import NOUNS

RESOURCES = (
    *((noun.name, noun.plural.replace("_", "-")) for noun in NOUNS),
    ("quota", "quotas"),
    ("agent", "agents"),
    ("extension", "extensions"),
    ("network_ip_availability", "network-ip-availabilities"),
)


async def index(call: Call) -> Reply:
    """List the versions of the API: there is one."""
    links = [{"href": call.url("/v2.0/"), "rel": "self"}]
    return Reply(body={"versions": [{"id": "v2.0", "status": "CURRENT", "links": links}]})


async def show(call: Call) -> Reply:
    """List what the version has."""
    return Reply(body={"resources": [_resource(call, name, path) for name, path in RESOURCES]})


def _resource(call: Call, name: str, path: str) -> dict[str, Any]:
    links = [{"rel": "self", "href": call.url(f"/v2.0/{path}")}]
    return {"name": name, "collection": path.replace("-", "_"), "links": links}


ROUTES = (
    Route("GET", "/", index, "get_versions"),
    Route("GET", "/v2.0", show, "get_versions"),
)
POLICIES: policy.Policies = {"get_versions": policy.public}
