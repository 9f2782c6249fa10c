"""/images: what servers are made from, as the compute API told of it."""

from __future__ import annotations

from typing import Any

from floe.api.compute.proxies.window import UNTIL
from floe.api.kit.call import Call, Reply, quoted
from floe.api.kit.paging import linked, window, window_of
from floe.api.kit.policy import project_member, project_reader
from floe.api.kit.query import OPEN_QUERY, Param, Query
from floe.api.kit.routing import Route
from floe.api.kit.values import moment, whole
from floe.cloud import images as cloud
from floe.cloud.images import Wanted
from floe.core.clock import iso
from floe.core.errors import NotFound
from floe.core.images import ACTIVE, QUEUED, SAVING, Image

_STATUS = {ACTIVE: "ACTIVE", QUEUED: "SAVING", SAVING: "SAVING"}
_PROGRESS = {QUEUED: 25, SAVING: 50, ACTIVE: 100}
_PROPERTY = "property-"
_SERVER, _TYPE = "instance_uuid", "image_type"
"""Properties that say which server an image was made of, and what kind it is."""
_DISK_CONFIG = "auto_disk_config"


async def index(call: Call) -> Reply:
    """GET: names."""
    return await _list(call, _ALL, _basic)


async def detail(call: Call) -> Reply:
    """GET detail: all of each."""
    return await _list(call, _ALL + "/detail", _shown)


async def show(call: Call) -> Reply:
    """GET {image_id}."""
    return Reply(200, {"image": _shown(call, await of_path(call))})


async def delete(call: Call) -> Reply:
    """DELETE {image_id}."""
    try:
        await cloud.delete(call.cloud, call.context, call.params["image_id"])
    except NotFound as error:
        raise _not_found() from error
    return Reply(204)


async def of_path(call: Call) -> Image:
    """Return the image that a path names. Raises NotFound."""
    try:
        return await cloud.show(call.cloud, call.context, call.params["image_id"])
    except NotFound as error:
        raise _not_found() from error


def _not_found() -> NotFound:
    return NotFound("image", message="Image not found.")


async def _list(call: Call, path: str, show: Any) -> Reply:
    page = window_of(call)
    wanted = Wanted(
        project_id=None,
        conditions=(("hidden", "eq", False), *_conditions(call)),
        properties=_properties(call),
        sort=(("created_at", False), ("id", False)),
        limit=page.limit,
    )
    found, _cut = await cloud.find(call.cloud, call.context, wanted, page.marker)
    more = linked(call, path, page, "images_links", [image.id for image in found])
    return Reply(200, {"images": (show(call, image) for image in found)}, more=more)


def _conditions(call: Call) -> list[tuple[str, str, Any]]:
    found: list[tuple[str, str, Any]] = []
    for name, text in call.query:
        if name == "name":
            found.append(("name", "eq", text))
        elif name == "status":
            found.append(("status", "eq", text.lower()))
        elif name in _SIZES:
            found.append((_SIZES[name], "eq", whole(text, name)))
        elif name == "changes-since":
            found.append(("updated_at", "gte", moment(text, name)))
    return found


def _properties(call: Call) -> dict[str, str]:
    found = {name.removeprefix(_PROPERTY): text for name, text in call.query if name.startswith(_PROPERTY)}
    if (server := call.one("server")) is not None:
        found[_SERVER] = server.rpartition("/")[2]  # an id, or a link to a server
    if (kind := call.one("type")) is not None:
        found[_TYPE] = kind
    return found


def _basic(call: Call, image: Image) -> dict[str, Any]:
    return {"id": image.id, "name": image.name, "links": _links(call, image.id)}


def _shown(call: Call, image: Image) -> dict[str, Any]:
    shown = {
        **_basic(call, image),
        "minRam": image.min_ram,
        "minDisk": image.min_disk,
        "metadata": dict(image.properties),
        "created": iso(image.created_at),
        "updated": iso(image.updated_at),
        "status": _STATUS.get(image.status, "UNKNOWN"),
        "progress": _PROGRESS.get(image.status, 0),
        "OS-EXT-IMG-SIZE:size": image.size or 0,
    }
    if _DISK_CONFIG in image.properties:
        automatic = image.properties[_DISK_CONFIG].lower() in {"true", "1", "yes", "on"}
        shown["OS-DCF:diskConfig"] = "AUTO" if automatic else "MANUAL"
    if server_id := image.properties.get(_SERVER):
        name = quoted(server_id)
        links = (("self", call.url("/v2.1/servers/") + name), ("bookmark", call.url("/servers/") + name))
        shown["server"] = {"id": server_id, "links": [{"rel": rel, "href": href} for rel, href in links]}
    return shown


def _links(call: Call, image_id: str) -> list[dict[str, str]]:
    other = call.prefix.removesuffix("/compute") + f"/image/images/{image_id}"
    return [
        {"rel": "self", "href": call.url(f"/v2.1/images/{image_id}")},
        {"rel": "bookmark", "href": call.url(f"/images/{image_id}")},
        {"rel": "alternate", "type": "application/vnd.openstack.image", "href": other},
    ]


_SIZES = {"minRam": "min_ram", "minDisk": "min_disk"}
_ALL = "/v2.1/images"
_ONE = _ALL + "/{image_id}"
_RULE = "os_compute_api:images"
_QUERY = Query(
    *(Param(name, many=True) for name in ("name", "status", "changes-since", "server", "type", *_SIZES)),
    Param(_PROPERTY, many=True, suffix=".{1,255}"),
    *window(),
    closed=None,
)

ROUTES = (
    Route("GET", _ALL, index, f"{_RULE}:index", until=UNTIL, query=_QUERY),
    Route("GET", _ALL + "/detail", detail, f"{_RULE}:detail", until=UNTIL, query=_QUERY),
    Route("GET", _ONE, show, f"{_RULE}:show", until=UNTIL, query=OPEN_QUERY),
    Route("DELETE", _ONE, delete, f"{_RULE}:delete", until=UNTIL),
)

POLICIES = {
    f"{_RULE}:index": project_reader,
    f"{_RULE}:detail": project_reader,
    f"{_RULE}:show": project_reader,
    f"{_RULE}:delete": project_member,
}
