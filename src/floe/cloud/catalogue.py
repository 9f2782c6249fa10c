"""What the cloud does with its catalogue: regions, services and endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from floe.cloud import token_cache
from floe.cloud.cloud import Cloud
from floe.cloud.identity_room import Do, Kept, nothing
from floe.core.catalogue import CatalogueService, Endpoint, Region, check_url, fill
from floe.core.context import Context
from floe.core.errors import Conflict, Invalid
from floe.core.listing import Listing
from floe.store import catalogue as rows
from floe.store.engine import Connection

_NO_FIELDS = frozenset({"region", "name", "description"})
"""What may be said of an endpoint that is no column of its row."""


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """All regions, services and endpoints, by id."""

    regions: dict[str, Region]
    services: dict[str, CatalogueService]
    endpoints: dict[str, Endpoint]


def load(conn: Connection) -> Catalogue:
    """Read the whole catalogue."""
    return Catalogue(
        regions={region.id: region for region in rows.REGIONS.those(conn)},
        services={service.id: service for service in rows.SERVICES.those(conn)},
        endpoints={endpoint.id: endpoint for endpoint in rows.ENDPOINTS.those(conn)},
    )


Offered = list[tuple[CatalogueService, list[tuple[Endpoint, str]]]]
"""Services with their endpoints and those endpoints' URLs."""


async def for_token(cloud: Cloud, project_id: str | None, user_id: str, write: Callable[[Offered], bytes]) -> bytes:
    """Return the enabled services with the endpoints' URLs for that project and user, as `write` writes them.

    It is always the same `write`: what it gave is kept until something about identity or the catalogue changes.
    """
    seen = await token_cache.current(cloud)
    text = seen.catalogues.get((project_id, user_id))
    if text is None:
        generation, known = await token_cache.read(cloud, load)
        text = write(await _offered(cloud, known, project_id, user_id))
        seen.keep(seen.catalogues, (project_id, user_id), text, generation, token_cache.MAX_CATALOGUES)
    return text


async def _offered(cloud: Cloud, known: Catalogue, project_id: str | None, user_id: str) -> Offered:
    urls: dict[str, list[tuple[Endpoint, str]]] = {}
    async for endpoint in cloud.turns.each(known.endpoints.values()):
        url = fill(endpoint.url, cloud.settings.public_url, project_id, user_id) if endpoint.enabled else None
        if url is not None:
            urls.setdefault(endpoint.service_id, []).append((endpoint, url))
    return [(service, urls.get(service.id, [])) for service in known.services.values() if service.enabled]


async def delete_region(cloud: Cloud, context: Context, region_id: str) -> None:
    """Remove a region. Raises Conflict while endpoints or regions are in it."""

    def empty(conn: Connection, region: Region) -> None:
        if rows.ENDPOINTS.those(conn, region_id=region.id) or rows.REGIONS.those(conn, parent_region_id=region.id):
            raise Conflict(f"Region {region_id!r} has endpoints or regions in it; delete those first.")

    await REGIONS.delete(cloud, context, region_id, empty)


async def delete_service(cloud: Cloud, context: Context, service_id: str) -> None:
    """Remove a service with its endpoints."""
    await SERVICES.delete(cloud, context, service_id, lambda conn, service: rows.delete_endpoints(conn, service.id))


async def find_endpoints(cloud: Cloud, context: Context, listing: Listing) -> list[Endpoint]:
    """Return all endpoints, with this cloud's own address in their URLs."""
    found = await ENDPOINTS.find(cloud, context, listing)
    return [endpoint async for endpoint in cloud.turns.each(_reached(cloud, endpoint) for endpoint in found)]


async def show_endpoint(cloud: Cloud, context: Context, endpoint_id: str) -> Endpoint:
    """Return an endpoint in the same way. Raises NotFound."""
    return _reached(cloud, await ENDPOINTS.show(cloud, context, endpoint_id))


async def create_endpoint(cloud: Cloud, context: Context, asked: Mapping[str, Any]) -> Endpoint:
    """Add an endpoint. Raises Invalid for a service or region that is not, or a URL that cannot be filled in."""
    fields, first = _located(asked)
    return _reached(cloud, await ENDPOINTS.create(cloud, context, {"region_id": None, **fields}, first))


async def update_endpoint(cloud: Cloud, context: Context, endpoint_id: str, asked: Mapping[str, Any]) -> Endpoint:
    """Change an endpoint. Raises NotFound, Invalid."""
    fields, first = _located(asked)
    return _reached(cloud, await ENDPOINTS.update(cloud, context, endpoint_id, fields, first=first))


def _located(asked: Mapping[str, Any]) -> tuple[dict[str, Any], Do[Endpoint]]:
    """Return the fields of an endpoint, and what is done before it is kept.

    One that names its region the old way, `region`, makes it, as before regions were resources.
    """
    fields = {name: value for name, value in asked.items() if name not in _NO_FIELDS}
    named = {name: asked[name] for name in ("name", "description") if name in asked}
    if named:
        fields["properties"] = {**fields.get("properties", {}), **named}
    if "region" not in asked or "region_id" in asked:
        return fields, nothing
    return {**fields, "region_id": asked["region"]}, _make_region


def _make_region(conn: Connection, endpoint: Endpoint) -> None:
    if endpoint.region_id is not None and rows.REGIONS.get(conn, endpoint.region_id) is None:
        rows.REGIONS.insert(conn, Region(id=endpoint.region_id))


def _reached(cloud: Cloud, endpoint: Endpoint) -> Endpoint:
    return replace(endpoint, url=endpoint.url.replace("%(public_url)s", cloud.settings.public_url))


def _check_region(conn: Connection, region: Region) -> None:
    """Raise NotFound for a parent that is not there, Invalid for one that is below the region itself."""
    seen, parent = {region.id}, region.parent_region_id
    while parent is not None:
        if parent in seen:
            raise Invalid(f"parent_region_id: region {region.id!r} would be its own parent.")
        seen.add(parent)
        parent = REGIONS.demand(conn, parent).parent_region_id


def _check_endpoint(conn: Connection, endpoint: Endpoint) -> None:
    check_url(endpoint.url)
    if rows.SERVICES.get(conn, endpoint.service_id) is None:
        raise Invalid(f"service_id: there is no service {endpoint.service_id!r}.")
    if endpoint.region_id is not None and rows.REGIONS.get(conn, endpoint.region_id) is None:
        raise Invalid(f"region_id: there is no region {endpoint.region_id!r}.")


REGIONS = Kept("region", rows.REGIONS, Region, _check_region)
SERVICES = Kept("service", rows.SERVICES, CatalogueService)
ENDPOINTS = Kept("endpoint", rows.ENDPOINTS, Endpoint, _check_endpoint)
