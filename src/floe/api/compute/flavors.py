"""Flavors: the sizes on offer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any

from msgspec import Meta

from floe.api.compute.fields import Flag, flag, multiline, printable
from floe.api.kit.body import Body, Field, Name, either
from floe.api.kit.call import Call, Reply
from floe.api.kit.paging import Page, linked, page_of, window
from floe.api.kit.policy import admin, authenticated, in_project, project_reader
from floe.api.kit.query import OPEN_QUERY, Param, Query
from floe.api.kit.routing import Route
from floe.api.kit.shape import Shape, Shown
from floe.api.kit.values import MOST, Count, Digits, whole
from floe.cloud import flavors as cloud
from floe.cloud.flavors import SORT_KEYS, FlavorFilter
from floe.core.errors import Invalid
from floe.core.servers import ServerFlavor

_Id = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9_.-]([a-zA-Z0-9_. -]*[a-zA-Z0-9_.-])?\Z")]
_Description = Annotated[str, Meta(max_length=65535)] | None

CREATE = Body(
    "flavor",
    (
        Field("name", Name, required=True),
        Field("id", _Id | int | float | None),
        Field("ram", Count, required=True),
        Field("vcpus", Count, required=True),
        Field("disk", Count, required=True),
        Field("OS-FLV-EXT-DATA:ephemeral", Count),
        Field("swap", int | either(Digits, "")),
        Field("rxtx_factor", float | Annotated[str, Meta(pattern=r"^[0-9]+(\.[0-9]+)?\Z", max_length=20)]),
        Field("os-flavor-access:is_public", Flag),
        Field("description", _Description, since=(2, 55)),
    ),
)
UPDATE = Body("flavor", (Field("description", _Description, required=True),))

SHAPE: Shape[ServerFlavor] = Shape(
    (
        Shown("id", lambda f: f.flavor_id),
        Shown("name", lambda f: f.name),
        Shown("ram", lambda f: f.memory_mib),
        Shown("vcpus", lambda f: f.vcpus),
        Shown("disk", lambda f: f.root_gib),
        Shown("swap", lambda f: f.swap_mib or "", until=(2, 74)),
        Shown("swap", lambda f: f.swap_mib, since=(2, 75)),
        Shown("OS-FLV-EXT-DATA:ephemeral", lambda f: f.ephemeral_gib),
        Shown("OS-FLV-DISABLED:disabled", lambda f: f.disabled),
        Shown("os-flavor-access:is_public", lambda f: f.public),
        Shown("rxtx_factor", lambda f: f.rxtx_factor),
        Shown("description", lambda f: f.description, since=(2, 55)),
        Shown("extra_specs", lambda f: f.extra_specs, since=(2, 61), only="specs"),
    )
)

_WITH_SPECS = frozenset({"specs"})
_reads_specs = in_project(project_reader)

_QUERY = Query(
    *window(),
    *(Param(name, many=True) for name in ("is_public", "minDisk", "minRam", "sort_key", "sort_dir")),
    closed=(2, 75),
)


async def create(call: Call) -> Reply:
    """POST /flavors."""
    body = CREATE.read(await call.raw(), call.version)
    ident = body.get("id")
    description = body.get("description")
    flavor = ServerFlavor(
        flavor_id="" if ident in {None, "auto"} else str(ident),
        name=printable(body["name"], "name"),
        vcpus=whole(body["vcpus"], "vcpus", 1),
        memory_mib=whole(body["ram"], "ram", 1),
        root_gib=whole(body["disk"], "disk"),
        ephemeral_gib=whole(body.get("OS-FLV-EXT-DATA:ephemeral", 0), "OS-FLV-EXT-DATA:ephemeral"),
        swap_mib=whole(body.get("swap") or 0, "swap"),
        rxtx_factor=_factor(body.get("rxtx_factor", 1.0)),
        description=multiline(description, "description") if description is not None else None,
        public=flag(body.get("os-flavor-access:is_public", True), "os-flavor-access:is_public"),
    )
    return Reply(200, {"flavor": view(call, await cloud.create(call.cloud, flavor))})


async def index(call: Call) -> Reply:
    """GET /flavors."""
    page, found = await _find(call)

    def show(flavor: ServerFlavor) -> dict[str, Any]:
        shown: dict[str, Any] = {"id": flavor.flavor_id, "name": flavor.name, "links": links(call, flavor.flavor_id)}
        return shown if call.version < (2, 55) else {**shown, "description": flavor.description}

    return _page(call, "/v2.1/flavors", page, found, show)


async def detail(call: Call) -> Reply:
    """GET /flavors/detail."""
    page, found = await _find(call)
    return _page(call, "/v2.1/flavors/detail", page, found, partial(view, call))


async def show(call: Call) -> Reply:
    """GET /flavors/{flavor_id}."""
    return Reply(200, {"flavor": view(call, await cloud.get(call.cloud, call.context, call.params["flavor_id"]))})


async def update(call: Call) -> Reply:
    """PUT /flavors/{flavor_id}: its description."""
    text = UPDATE.read(await call.raw(), call.version)["description"]
    description = multiline(text, "description") if text is not None else None
    flavor = await cloud.describe(call.cloud, call.context, call.params["flavor_id"], description)
    return Reply(200, {"flavor": view(call, flavor)})


async def delete(call: Call) -> Reply:
    """DELETE /flavors/{flavor_id}."""
    await cloud.delete(call.cloud, call.context, call.params["flavor_id"])
    return Reply(202)


def links(call: Call, flavor_id: str) -> list[dict[str, str]]:
    """Return a flavor's links."""
    return [
        {"rel": "self", "href": call.url(f"/v2.1/flavors/{flavor_id}")},
        {"rel": "bookmark", "href": call.url(f"/flavors/{flavor_id}")},
    ]


def view(call: Call, flavor: ServerFlavor) -> dict[str, Any]:
    """Return a flavor with all its fields; extra specs are for those who may read them by their own call too."""
    holds = _WITH_SPECS if _reads_specs(call.context) else frozenset[str]()
    return {**SHAPE.show(flavor, call.version, holds), "links": links(call, flavor.flavor_id)}


async def _find(call: Call) -> tuple[Page, Sequence[ServerFlavor]]:
    page = page_of(call, SORT_KEYS)
    wanted = FlavorFilter(
        public=_public(call.one("is_public")) if call.context.is_admin else True,
        min_disk_gib=_least(call, "minDisk"),
        min_memory_mib=_least(call, "minRam"),
    )
    found = await cloud.listed(call.cloud, call.context, wanted, sort=page.sort, marker=page.marker, limit=page.limit)
    return page, found


def _public(text: str | None) -> bool | None:
    if text is None:
        return True
    return None if text.lower() == "none" else flag(text, "is_public")


def _least(call: Call, name: str) -> int:
    text = call.one(name)
    return 0 if text is None else whole(text, name, -MOST, cut=True)


def _factor(value: float | str) -> float:
    try:
        factor = float(value)
    except ValueError:
        factor = 0.0
    if not 0 < factor < 3.4e38:
        raise Invalid(f"Invalid input for field/attribute rxtx_factor: {value!r} is no number greater than 0.")
    return factor


def _page(
    call: Call, path: str, page: Page, found: Sequence[ServerFlavor], show: Callable[[ServerFlavor], dict[str, Any]]
) -> Reply:
    more = linked(call, path, page, "flavors_links", [flavor.flavor_id for flavor in found])
    return Reply(200, {"flavors": (show(flavor) for flavor in found)}, more=more)


ROUTES = (
    Route("GET", "/v2.1/flavors", index, "os_compute_api:flavors", query=_QUERY),
    Route("GET", "/v2.1/flavors/detail", detail, "os_compute_api:flavors", query=_QUERY),
    Route("POST", "/v2.1/flavors", create, "os_compute_api:os-flavor-manage:create"),
    Route("GET", "/v2.1/flavors/{flavor_id}", show, "os_compute_api:flavors", query=OPEN_QUERY),
    Route("PUT", "/v2.1/flavors/{flavor_id}", update, "os_compute_api:os-flavor-manage:update", since=(2, 55)),
    Route("DELETE", "/v2.1/flavors/{flavor_id}", delete, "os_compute_api:os-flavor-manage:delete"),
)

POLICIES = {
    "os_compute_api:flavors": authenticated,
    "os_compute_api:os-flavor-manage:create": admin,
    "os_compute_api:os-flavor-manage:update": admin,
    "os_compute_api:os-flavor-manage:delete": admin,
}
