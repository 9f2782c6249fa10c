"""What this image service is: its versions, its one store, and that there is no import besides upload."""

from __future__ import annotations

from typing import Any

from floe.api.kit.call import Call, Reply
from floe.api.kit.routing import Route
from floe.cloud import image_quotas

VERSIONS = ("2.7", "2.6", "2.5", "2.4", "2.3", "2.2", "2.1", "2.0")
"""The first is the current one: 2.7 knows hidden images and multihash; what follows is several stores."""


def _versions(call: Call) -> dict[str, Any]:
    links = [{"rel": "self", "href": call.url("/v2/")}]
    return {
        "versions": [
            {"id": f"v{version}", "status": "CURRENT" if version == VERSIONS[0] else "SUPPORTED", "links": links}
            for version in VERSIONS
        ]
    }


async def choices(call: Call) -> Reply:
    """GET /"""
    return Reply(300, _versions(call))


async def versions(call: Call) -> Reply:
    """GET /versions"""
    return Reply(200, _versions(call))


async def stores(_call: Call) -> Reply:
    """GET /v2/info/stores"""
    return Reply(200, {"stores": [{"id": "default", "description": "The image store", "default": "true"}]})


async def import_methods(_call: Call) -> Reply:
    """GET /v2/info/import"""
    about = {"description": "Import methods available.", "type": "array", "value": []}
    return Reply(200, {"import-methods": about})


async def usage(call: Call) -> Reply:
    """GET /v2/info/usage: sizes are in MiB, of which one that is begun counts."""
    found = await image_quotas.usage(call.cloud, call.context)
    return Reply(200, {"usage": {name: {"limit": limit, "usage": used} for name, (limit, used) in found.items()}})


ROUTES: tuple[Route, ...] = (
    Route("GET", "/", choices, "versions"),
    Route("GET", "/v2", choices, "versions"),
    Route("GET", "/versions", versions, "versions"),
    Route("GET", "/v2/info/stores", stores, "stores_info"),
    Route("GET", "/v2/info/import", import_methods, "import_info"),
    Route("GET", "/v2/info/usage", usage, "get_usage"),
)
