"""Regions, services and endpoints."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from floe.api.identity.filters import Filters, among, flag, region, text
from floe.api.identity.replies import Ident, ShortText, Text, with_link, with_properties
from floe.api.kit.body import Body, Field
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import Policies, authenticated
from floe.api.kit.routing import Route
from floe.cloud import catalogue, identity
from floe.core.catalogue import INTERFACES, CatalogueService, Endpoint, Region, check_region_id
from floe.core.errors import Invalid

_RegionId = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^/]+\Z")]
_MaybeRegionId = Annotated[str, Meta(max_length=255, pattern=r"^[^/]*\Z")] | None
"""Of a region that is to be made: with none, or an empty one, an id is made too."""
_REGION_FIELDS = (Field("description", ShortText), Field("parent_region_id", _RegionId | None))
_REGION = Body("region", [Field("id", _MaybeRegionId), *_REGION_FIELDS], strict=False)
_REGION_UPDATE = Body("region", _REGION_FIELDS, strict=False)
_Word = Annotated[str, Meta(min_length=1, max_length=255)]
_SERVICE_FIELDS = (Field("name", _Word), Field("description", Text), Field("enabled", bool))
_SERVICE = Body("service", [Field("type", _Word, required=True), *_SERVICE_FIELDS], strict=False)
_SERVICE_UPDATE = Body("service", [Field("type", _Word), *_SERVICE_FIELDS], strict=False)
_Interface = Literal["public", "internal", "admin"]
_REGIONS = Filters(region("parent_region_id"), only=True)
_SERVICES = Filters(text("type"), text("name"))
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


def _region(call: Call, region: Region) -> dict[str, Any]:
    fields = {
        **region.properties,
        "id": region.id,
        "description": region.description,
        "parent_region_id": region.parent_region_id,
    }
    return with_link(call, f"/v3/regions/{region.id}", fields)


def _service(call: Call, service: CatalogueService) -> dict[str, Any]:
    fields = {
        **service.properties,
        "id": service.id,
        "type": service.type,
        "name": service.name,
        "description": service.description,
        "enabled": service.enabled,
    }
    return with_link(call, f"/v3/services/{service.id}", fields)


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


async def list_regions(call: Call) -> Reply:
    """List regions by parent."""
    found = (await catalogue.show(call.cloud)).regions.values()
    return await _REGIONS.listed(call, "regions", "/v3/regions", (_region(call, item) for item in found))


async def show_region(call: Call) -> Reply:
    """Show a region."""
    return Reply(200, {"region": _region(call, await catalogue.region(call.cloud, call.params["region_id"]))})


async def create_region(call: Call) -> Reply:
    """Make a region; its id is the caller's choice."""
    fields = await with_properties(call, _REGION, "id", "parent_region_id")
    fields["id"] = fields.get("id") or identity.new_id(call.cloud)
    return Reply(201, {"region": _region(call, await catalogue.create_region(call.cloud, fields))})


async def put_region(call: Call) -> Reply:
    """Make a region with the id in the path."""
    region_id = call.params["region_id"]
    fields = await with_properties(call, _REGION, "id", "parent_region_id")
    if fields.get("id") not in {None, region_id}:
        raise Invalid(f"id: the body says {fields['id']!r} and the path {region_id!r}; send one of them.")
    check_region_id(region_id)
    made = await catalogue.create_region(call.cloud, {**fields, "id": region_id})
    return Reply(201, {"region": _region(call, made)})


async def update_region(call: Call) -> Reply:
    """Change a region."""
    region_id = call.params["region_id"]
    fields = await with_properties(call, _REGION_UPDATE, "parent_region_id", own_id=region_id)
    found = await catalogue.update_region(call.cloud, region_id, fields)
    return Reply(200, {"region": _region(call, found)})


async def delete_region(call: Call) -> Reply:
    """Remove a region."""
    await catalogue.delete_region(call.cloud, call.params["region_id"])
    return Reply(204)


async def list_services(call: Call) -> Reply:
    """List services by type and name."""
    found = (await catalogue.show(call.cloud)).services.values()
    return await _SERVICES.listed(call, "services", "/v3/services", (_service(call, item) for item in found))


async def show_service(call: Call) -> Reply:
    """Show a service."""
    return Reply(200, {"service": _service(call, await catalogue.service(call.cloud, call.params["service_id"]))})


async def create_service(call: Call) -> Reply:
    """Add a service."""
    fields = await with_properties(call, _SERVICE)
    return Reply(201, {"service": _service(call, await catalogue.create_service(call.cloud, fields))})


async def update_service(call: Call) -> Reply:
    """Change a service."""
    service_id = call.params["service_id"]
    fields = await with_properties(call, _SERVICE_UPDATE, own_id=service_id)
    found = await catalogue.update_service(call.cloud, service_id, fields)
    return Reply(200, {"service": _service(call, found)})


async def delete_service(call: Call) -> Reply:
    """Remove a service with its endpoints."""
    await catalogue.delete_service(call.cloud, call.params["service_id"])
    return Reply(204)


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


def _crud(plural: str, *handlers: Any) -> list[Route]:
    noun = plural.removesuffix("s")
    many, one = f"/v3/{plural}", f"/v3/{plural}/{{{noun}_id}}"
    return [
        Route("GET", many, handlers[0], f"identity:list_{plural}"),
        Route("GET", one, handlers[1], f"identity:get_{noun}"),
        Route("POST", many, handlers[2], f"identity:create_{noun}"),
        Route("PATCH", one, handlers[3], f"identity:update_{noun}"),
        Route("DELETE", one, handlers[4], f"identity:delete_{noun}"),
    ]


ROUTES = (
    *_crud("regions", list_regions, show_region, create_region, update_region, delete_region),
    Route("PUT", "/v3/regions/{region_id}", put_region, "identity:create_region"),
    *_crud("services", list_services, show_service, create_service, update_service, delete_service),
    *_crud("endpoints", list_endpoints, show_endpoint, create_endpoint, update_endpoint, delete_endpoint),
)
POLICIES: Policies = {
    "identity:list_regions": authenticated,
    "identity:get_region": authenticated,
    **{
        f"identity:{rule}": identity.reads_cloud
        for rule in ("list_services", "get_service", "list_endpoints", "get_endpoint")
    },
    **{
        f"identity:{verb}_{noun}": identity.administers_cloud
        for noun in ("region", "service", "endpoint")
        for verb in ("create", "update", "delete")
    },
}
