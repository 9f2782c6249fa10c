"""Regions, services and endpoints."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from floe.api.identity.dialect import keystone, shown
from floe.api.identity.filters import Filters, among, flag, region, text
from floe.api.identity.replies import Ident, ShortText, Text, with_link, with_properties
from floe.api.kit.body import Body, Field
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import Policies
from floe.api.kit.resource import Fields, Resource, Use, Values, Wire
from floe.api.kit.routing import Route
from floe.cloud import catalogue, identity
from floe.cloud.cloud import Cloud
from floe.core.catalogue import INTERFACES, CatalogueService, Endpoint, Region, check_region_id
from floe.core.context import Context
from floe.core.errors import Invalid
from floe.core.listing import Listing

_RegionId = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^/]+\Z")]
_MaybeRegionId = Annotated[str, Meta(max_length=255, pattern=r"^[^/]*\Z")] | None
"""Of a region that is to be made: with none, or an empty one, an id is made too."""
_Word = Annotated[str, Meta(min_length=1, max_length=255)]
_Interface = Literal["public", "internal", "admin"]
_ENDPOINTS = Filters(
    among("interface", *INTERFACES), text("service_id"), text("region_id"), text("region"), flag("enabled")
)
_Url = Annotated[str, Meta(max_length=225, pattern=r"^([a-zA-Z0-9+.-]+:.|%\(public_url\)s)")]
_ENDPOINT_FIELDS = (
    Field("region_id", _RegionId | None),
    Field("region", _RegionId | None),
    Field("enabled", bool),
    Field("name", Annotated[str, Meta(max_length=255)]),
    Field("description", Text),
)
_ENDPOINT = Body(
    "endpoint",
    [
        Field("service_id", Ident, required=True),
        Field("interface", _Interface, required=True),
        Field("url", _Url, required=True),
        *_ENDPOINT_FIELDS,
    ],
    strict=False,
)
_ENDPOINT_UPDATE = Body(
    "endpoint",
    [Field("service_id", Ident), Field("interface", _Interface), Field("url", _Url), *_ENDPOINT_FIELDS],
    strict=False,
)


async def _create_regions(cloud: Cloud, _context: Context, asked: list[Values]) -> list[Region]:
    """Make regions; the id of one is the caller's choice."""
    new = [{**item, "id": item.get("id") or identity.new_id(cloud)} for item in asked]
    return [await catalogue.create_region(cloud, item) for item in new]


async def _find_regions(cloud: Cloud, _context: Context, _listing: Listing) -> list[Region]:
    return list((await catalogue.show(cloud)).regions.values())


async def _show_region(cloud: Cloud, _context: Context, ident: str) -> Region:
    return await catalogue.region(cloud, ident)


async def _update_region(cloud: Cloud, _context: Context, ident: str, asked: Values, _seen: int | None) -> Region:
    return await catalogue.update_region(cloud, ident, asked)


async def _delete_region(cloud: Cloud, _context: Context, ident: str, _seen: int | None) -> None:
    await catalogue.delete_region(cloud, ident)


REGION: Resource[Region] = Resource(
    name="region",
    plural="regions",
    dialect=keystone(
        Filters(region("parent_region_id"), only=True), "id", "parent_region_id", writes=identity.administers_cloud
    ),
    fields=Fields(
        Wire("id", use=Use.CREATE, type=_MaybeRegionId),
        Wire("description", use=Use.WRITE, type=ShortText),
        Wire("parent_region_id", use=Use.WRITE, type=_RegionId | None),
    ),
    create=_create_regions,
    find=_find_regions,
    show=_show_region,
    update=_update_region,
    delete=_delete_region,
)
_NEW_REGION = REGION.fields.body("region", Use.CREATE, strict=False)


async def put_region(call: Call) -> Reply:
    """Make a region with the id in the path."""
    region_id = call.params["region_id"]
    fields = await with_properties(call, _NEW_REGION, "id", "parent_region_id")
    if fields.get("id") not in {None, region_id}:
        raise Invalid(f"id: the body says {fields['id']!r} and the path {region_id!r}; send one of them.")
    check_region_id(region_id)
    made = await catalogue.create_region(call.cloud, {**fields, "id": region_id})
    return Reply(201, {"region": shown(REGION, call, made)})


async def _create_services(cloud: Cloud, _context: Context, asked: list[Values]) -> list[CatalogueService]:
    return [await catalogue.create_service(cloud, item) for item in asked]


async def _find_services(cloud: Cloud, _context: Context, _listing: Listing) -> list[CatalogueService]:
    return list((await catalogue.show(cloud)).services.values())


async def _show_service(cloud: Cloud, _context: Context, ident: str) -> CatalogueService:
    return await catalogue.service(cloud, ident)


async def _update_service(
    cloud: Cloud, _context: Context, ident: str, asked: Values, _seen: int | None
) -> CatalogueService:
    return await catalogue.update_service(cloud, ident, asked)


async def _delete_service(cloud: Cloud, _context: Context, ident: str, _seen: int | None) -> None:
    """Remove a service with its endpoints."""
    await catalogue.delete_service(cloud, ident)


SERVICE: Resource[CatalogueService] = Resource(
    name="service",
    plural="services",
    dialect=keystone(
        Filters(text("type"), text("name")),
        writes=identity.administers_cloud,
        lists=identity.reads_cloud,
        gets=identity.reads_cloud,
    ),
    fields=Fields(
        Wire("id"),
        Wire("type", use=Use.WRITE, type=_Word, required=True),
        Wire("name", use=Use.WRITE, type=_Word),
        Wire("description", use=Use.WRITE, type=Text),
        Wire("enabled", use=Use.WRITE, type=bool),
    ),
    create=_create_services,
    find=_find_services,
    show=_show_service,
    update=_update_service,
    delete=_delete_service,
)


def _endpoint(call: Call, endpoint: Endpoint) -> dict[str, Any]:
    fields = {
        **endpoint.properties,
        "id": endpoint.id,
        "service_id": endpoint.service_id,
        "region_id": endpoint.region_id,
        "region": endpoint.region_id,
        "interface": endpoint.interface,
        "url": catalogue.url_of(call.cloud, endpoint),
        "enabled": endpoint.enabled,
    }
    return with_link(call, f"/v3/endpoints/{endpoint.id}", fields)


async def list_endpoints(call: Call) -> Reply:
    """List endpoints by service, interface, region and whether they are enabled."""
    found = (await catalogue.show(call.cloud)).endpoints.values()
    return await _ENDPOINTS.listed(call, "endpoints", "/v3/endpoints", (_endpoint(call, item) for item in found))


async def show_endpoint(call: Call) -> Reply:
    """Show an endpoint."""
    found = await catalogue.endpoint(call.cloud, call.params["endpoint_id"])
    return Reply(200, {"endpoint": _endpoint(call, found)})


async def create_endpoint(call: Call) -> Reply:
    """Add an endpoint."""
    fields, make_region = _endpoint_fields(await with_properties(call, _ENDPOINT, "region_id", "region"))
    fields.setdefault("region_id", None)
    made = await catalogue.create_endpoint(call.cloud, fields, make_region=make_region)
    return Reply(201, {"endpoint": _endpoint(call, made)})


async def update_endpoint(call: Call) -> Reply:
    """Change an endpoint."""
    endpoint_id = call.params["endpoint_id"]
    read = await with_properties(call, _ENDPOINT_UPDATE, "region_id", "region", own_id=endpoint_id)
    fields, make_region = _endpoint_fields(read)
    found = await catalogue.update_endpoint(call.cloud, endpoint_id, fields, make_region=make_region)
    return Reply(200, {"endpoint": _endpoint(call, found)})


async def delete_endpoint(call: Call) -> Reply:
    """Remove an endpoint."""
    await catalogue.delete_endpoint(call.cloud, call.params["endpoint_id"])
    return Reply(204)


def _endpoint_fields(fields: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return the fields of an endpoint, and whether its region is to be made if it is not there.

    An endpoint that names its region the old way, `region`, makes it, as before regions were resources.
    """
    old_way = "region" in fields and "region_id" not in fields
    region = fields.pop("region", None)
    if old_way:
        fields["region_id"] = region
    named = {name: fields.pop(name) for name in ("name", "description") if name in fields}
    if named:
        fields["properties"] = {**fields.get("properties", {}), **named}
    return fields, old_way


_MANY, _ONE = "/v3/endpoints", "/v3/endpoints/{endpoint_id}"
ROUTES = (
    *REGION.routes,
    Route("PUT", "/v3/regions/{region_id}", put_region, "identity:create_region"),
    *SERVICE.routes,
    Route("GET", _MANY, list_endpoints, "identity:list_endpoints"),
    Route("GET", _ONE, show_endpoint, "identity:get_endpoint"),
    Route("POST", _MANY, create_endpoint, "identity:create_endpoint"),
    Route("PATCH", _ONE, update_endpoint, "identity:update_endpoint"),
    Route("DELETE", _ONE, delete_endpoint, "identity:delete_endpoint"),
)
POLICIES: Policies = {
    **REGION.policies,
    **SERVICE.policies,
    **{f"identity:{verb}": identity.reads_cloud for verb in ("list_endpoints", "get_endpoint")},
    **{f"identity:{verb}_endpoint": identity.administers_cloud for verb in ("create", "update", "delete")},
}
