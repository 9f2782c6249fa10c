"""Version discovery: `/`."""

from __future__ import annotations

from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import public
from floe.api.kit.query import OPEN_QUERY
from floe.api.kit.routing import Route
from floe.core.versions import version_text

LOWEST, HIGHEST = (1, 0), (1, 39)


async def index(call: Call) -> Reply:
    """GET /."""
    version = {
        "id": "v1.0",
        "min_version": version_text(LOWEST),
        "max_version": version_text(HIGHEST),
        "status": "CURRENT",
        "links": [{"rel": "self", "href": call.url("/")}],
    }
    return Reply(200, {"versions": [version]})


ROUTES = (Route("GET", "/", index, "placement:versions", query=OPEN_QUERY),)
POLICIES = {"placement:versions": public}
