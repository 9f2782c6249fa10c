"""What the cloud does with its catalogue: regions, services and endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from floe.cloud import identity, token_cache
from floe.cloud.cloud import Cloud
from floe.core.catalogue import CatalogueService, Endpoint, Region, check_url, fill
from floe.core.errors import Conflict, Invalid, NotFound
from floe.store import catalogue as rows
from floe.store.engine import Connection

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All regions, services and endpoints, by id."""

    regions: dict[str, Region]
    services: dict[str, CatalogueService]
    endpoints: dict[str, Endpoint]


def load(conn: Connection) -> Catalogue:
    """Read the whole catalogue."""
    return Catalogue(
        regions={region.id: region for region in rows.REGIONS.those(conn)},
        services={service.id: service for service in rows.find_services(conn)},
        endpoints={endpoint.id: endpoint for endpoint in rows.ENDPOINTS.those(conn)},
    )


async def show(cloud: Cloud) -> Catalogue:
    """Return the whole catalogue."""
    return await cloud.db.read(load)


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


def url_of(cloud: Cloud, endpoint: Endpoint) -> str:
    """Return an endpoint's URL with this cloud's own address in it."""
    return endpoint.url.replace("%(public_url)s", cloud.settings.public_url)


async def create_region(cloud: Cloud, fields: Mapping[str, Any]) -> Region:
    """Make a region; `fields` holds at least `id`. Raises Conflict for one that is taken, NotFound for the parent."""
    region = Region(**identity.merged({}, fields))

    def run(conn: Connection) -> Region:
        if region.id in load(conn).regions:
            raise Conflict(f"There is a region {region.id!r} already.")
        _demand_parent(conn, region)
        rows.REGIONS.insert(conn, region)
        return region

    return await identity.change(cloud, run)


async def update_region(cloud: Cloud, region_id: str, fields: Mapping[str, Any]) -> Region:
    """Change a region."""

    def run(conn: Connection) -> Region:
        region = _one(load(conn).regions, "region", region_id)
        wanted = identity.merged(region.properties, fields)
        region = replace(region, **wanted)
        _demand_parent(conn, region)
        rows.REGIONS.update(conn, region_id, wanted)
        return region

    return await identity.change(cloud, run)


async def delete_region(cloud: Cloud, region_id: str) -> None:
    """Remove a region. Raises Conflict while endpoints or regions are in it."""

    def run(conn: Connection) -> None:
        known = load(conn)
        _one(known.regions, "region", region_id)
        used = any(endpoint.region_id == region_id for endpoint in known.endpoints.values())
        if used or any(region.parent_region_id == region_id for region in known.regions.values()):
            raise Conflict(f"Region {region_id!r} has endpoints or regions in it; delete those first.")
        rows.REGIONS.delete(conn, region_id)

    await identity.change(cloud, run)


async def create_service(cloud: Cloud, fields: Mapping[str, Any]) -> CatalogueService:
    """Add a service."""
    service = CatalogueService(id=identity.new_id(cloud), **identity.merged({}, fields))
    await identity.change(cloud, lambda conn: rows.SERVICES.insert(conn, service))
    return service


async def update_service(cloud: Cloud, service_id: str, fields: Mapping[str, Any]) -> CatalogueService:
    """Change a service."""

    def run(conn: Connection) -> CatalogueService:
        service = _one(load(conn).services, "service", service_id)
        wanted = identity.merged(service.properties, fields)
        service = replace(service, **wanted)
        rows.SERVICES.update(conn, service_id, wanted)
        return service

    return await identity.change(cloud, run)


async def delete_service(cloud: Cloud, service_id: str) -> None:
    """Remove a service with its endpoints."""

    def run(conn: Connection) -> None:
        _one(load(conn).services, "service", service_id)
        rows.delete_service(conn, service_id)

    await identity.change(cloud, run)


async def create_endpoint(cloud: Cloud, fields: Mapping[str, Any], *, make_region: bool = False) -> Endpoint:
    """Add an endpoint, and with `make_region` its region if that is missing.

    Raises Invalid for a service or region that is not, or a URL that cannot be filled in.
    """
    endpoint = Endpoint(id=identity.new_id(cloud), **identity.merged({}, fields))

    def run(conn: Connection) -> Endpoint:
        _check_endpoint(conn, endpoint, make_region=make_region)
        rows.ENDPOINTS.insert(conn, endpoint)
        return endpoint

    return await identity.change(cloud, run)


async def update_endpoint(
    cloud: Cloud, endpoint_id: str, fields: Mapping[str, Any], *, make_region: bool = False
) -> Endpoint:
    """Change an endpoint, and with `make_region` make its region if that is missing."""

    def run(conn: Connection) -> Endpoint:
        endpoint = _one(load(conn).endpoints, "endpoint", endpoint_id)
        wanted = identity.merged(endpoint.properties, fields)
        endpoint = replace(endpoint, **wanted)
        _check_endpoint(conn, endpoint, make_region=make_region)
        rows.ENDPOINTS.update(conn, endpoint_id, wanted)
        return endpoint

    return await identity.change(cloud, run)


async def delete_endpoint(cloud: Cloud, endpoint_id: str) -> None:
    """Remove an endpoint."""

    def run(conn: Connection) -> None:
        _one(load(conn).endpoints, "endpoint", endpoint_id)
        rows.ENDPOINTS.delete(conn, endpoint_id)

    await identity.change(cloud, run)


async def region(cloud: Cloud, region_id: str) -> Region:
    """Return a region. Raises NotFound."""
    return _one((await show(cloud)).regions, "region", region_id)


async def service(cloud: Cloud, service_id: str) -> CatalogueService:
    """Return a service. Raises NotFound."""
    return _one((await show(cloud)).services, "service", service_id)


async def endpoint(cloud: Cloud, endpoint_id: str) -> Endpoint:
    """Return an endpoint. Raises NotFound."""
    return _one((await show(cloud)).endpoints, "endpoint", endpoint_id)


def _one(known: Mapping[str, T], what: str, ident: str) -> T:
    if ident not in known:
        raise NotFound(what, ident)
    return known[ident]


def _check_endpoint(conn: Connection, endpoint: Endpoint, *, make_region: bool) -> None:
    check_url(endpoint.url)
    known = load(conn)
    if endpoint.service_id not in known.services:
        raise Invalid(f"service_id: there is no service {endpoint.service_id!r}.")
    if make_region and endpoint.region_id is not None and endpoint.region_id not in known.regions:
        rows.REGIONS.insert(conn, Region(id=endpoint.region_id))
    _demand_region(conn, "region_id", endpoint.region_id)


def _demand_region(conn: Connection, field: str, region_id: str | None) -> None:
    if region_id is not None and region_id not in load(conn).regions:
        raise Invalid(f"{field}: there is no region {region_id!r}.")


def _demand_parent(conn: Connection, region: Region) -> None:
    """Raise NotFound for a parent that is not there, Invalid for one that is below the region itself."""
    known, parent = load(conn).regions, region.parent_region_id
    seen = {region.id}
    while parent is not None:
        if parent in seen:
            raise Invalid(f"parent_region_id: region {region.id!r} would be its own parent.")
        seen.add(parent)
        parent = _one(known, "region", parent).parent_region_id
