"""Regions, services and endpoints."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from floe.api.identity.dialect import Keystone, each, shown, unseen
from floe.api.identity.filters import Filters, among, flag, region, text
from floe.api.identity.replies import Ident, ShortText, Text, with_properties
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import Policies
from floe.api.kit.resource import Fields, Resource, Use, Wire
from floe.api.kit.routing import Route
from floe.cloud import catalogue, identity
from floe.core.catalogue import INTERFACES, CatalogueService, Endpoint, Region, check_region_id
from floe.core.errors import Invalid

_RegionId = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^/]+\Z")]
_MaybeRegionId = Annotated[str, Meta(max_length=255, pattern=r"^[^/]*\Z")] | None
"""Of a region that is to be made: with none, or an empty one, an id is made too."""
_Word = Annotated[str, Meta(min_length=1, max_length=255)]
_Url = Annotated[str, Meta(max_length=225, pattern=r"^([a-zA-Z0-9+.-]+:.|%\(public_url\)s)")]

REGION: Resource[Region] = Resource(
    name="region",
    plural="regions",
    dialect=Keystone(
        filters=Filters(region("parent_region_id"), only=True),
        nullable=("id", "parent_region_id"),
        writes=identity.administers_cloud,
    ),
    fields=Fields(
        Wire("id", use=Use.CREATE, type=_MaybeRegionId),
        Wire("description", use=Use.WRITE, type=ShortText),
        Wire("parent_region_id", use=Use.WRITE, type=_RegionId | None),
    ),
    create=each(catalogue.REGIONS.create),
    find=catalogue.REGIONS.find,
    show=catalogue.REGIONS.show,
    update=unseen(catalogue.REGIONS.update),
    delete=unseen(catalogue.delete_region),
)
_NEW_REGION = REGION.fields.body("region", Use.CREATE, strict=False)


async def put_region(call: Call) -> Reply:
    """Make a region with the id in the path."""
    region_id = call.params["region_id"]
    fields = await with_properties(call, _NEW_REGION, "id", "parent_region_id")
    if fields.get("id") not in {None, region_id}:
        raise Invalid(f"id: the body says {fields['id']!r} and the path {region_id!r}; send one of them.")
    check_region_id(region_id)
    made = await catalogue.REGIONS.create(call.cloud, call.context, {**fields, "id": region_id})
    return Reply(201, {"region": shown(REGION, call, made)})


SERVICE: Resource[CatalogueService] = Resource(
    name="service",
    plural="services",
    dialect=Keystone(
        filters=Filters(text("type"), text("name")),
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
    create=each(catalogue.SERVICES.create),
    find=catalogue.SERVICES.find,
    show=catalogue.SERVICES.show,
    update=unseen(catalogue.SERVICES.update),
    delete=unseen(catalogue.delete_service),
)
ENDPOINT: Resource[Endpoint] = Resource(
    name="endpoint",
    plural="endpoints",
    dialect=Keystone(
        filters=Filters(
            among("interface", *INTERFACES), text("service_id"), text("region_id"), text("region"), flag("enabled")
        ),
        nullable=("region_id", "region"),
        writes=identity.administers_cloud,
        lists=identity.reads_cloud,
        gets=identity.reads_cloud,
    ),
    fields=Fields(
        Wire("id"),
        Wire("service_id", use=Use.WRITE, type=Ident, required=True),
        Wire("interface", use=Use.WRITE, type=Literal["public", "internal", "admin"], required=True),
        Wire("url", use=Use.WRITE, type=_Url, required=True),
        Wire("region_id", use=Use.WRITE, type=_RegionId | None),
        Wire("region", use=Use.WRITE, type=_RegionId | None, shown="region_id"),
        Wire("enabled", use=Use.WRITE, type=bool),
        # Kept among the attributes that clients keep with it, and shown with those.
        Wire("name", use=Use.WRITE, type=Annotated[str, Meta(max_length=255)], shown=False),
        Wire("description", use=Use.WRITE, type=Text, shown=False),
    ),
    create=each(catalogue.create_endpoint),
    find=catalogue.find_endpoints,
    show=catalogue.show_endpoint,
    update=unseen(catalogue.update_endpoint),
    delete=unseen(catalogue.ENDPOINTS.delete),
)


ROUTES = (
    *REGION.routes,
    Route("PUT", "/v3/regions/{region_id}", put_region, "identity:create_region"),
    *SERVICE.routes,
    *ENDPOINT.routes,
)
POLICIES: Policies = {**REGION.policies, **SERVICE.policies, **ENDPOINT.policies}
