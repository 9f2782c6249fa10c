"""Version discovery: which versions of the compute API are here."""

from __future__ import annotations

from typing import Any

from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import public
from floe.api.kit.query import OPEN_QUERY
from floe.api.kit.routing import Route
from floe.core.versions import version_text

LOWEST, HIGHEST = (2, 1), (2, 104)


async def index(call: Call) -> Reply:
    """GET /."""
    return Reply(200, {"versions": [_old_version(call), _version(call)]})


async def show(call: Call) -> Reply:
    """GET /v2.1."""
    described = {"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/api-ref/compute/"}
    # /v2 is 2.1 without microversions, and answered here too.
    old = call.request.scope["path"].rstrip("/").endswith("/v2")
    version = _old_version(call) if old else _version(call)
    version["links"].append(described)
    version["media-types"] = [
        {"base": "application/json", "type": f"application/vnd.openstack.compute+json;version={version['id'][1:]}"}
    ]
    return Reply(200, {"version": version})


def _version(call: Call) -> dict[str, Any]:
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": version_text(HIGHEST),
        "min_version": version_text(LOWEST),
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": call.url("/v2.1/")}],
    }


def _old_version(call: Call) -> dict[str, Any]:
    return {
        "id": "v2.0",
        "status": "SUPPORTED",
        "version": "",
        "min_version": "",
        "updated": "2011-01-21T11:33:21Z",
        "links": [{"rel": "self", "href": call.url("/v2/")}],
    }


ROUTES = (
    Route("GET", "/", index, "compute:versions", query=OPEN_QUERY),
    Route("GET", "/v2.1", show, "compute:versions", query=OPEN_QUERY),
)

POLICIES = {"compute:versions": public}
