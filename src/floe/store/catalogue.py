"""Regions, services and endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.catalogue import CatalogueService, Endpoint, Region
from floe.store.schema import Ident, Json, metadata

regions = sa.Table(
    "regions",
    metadata,
    sa.Column("id", sa.String(255), primary_key=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("parent_region_id", sa.String(255)),
    sa.Column("properties", Json, nullable=False, server_default="{}"),
)
services = sa.Table(
    "catalogue_services",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("type", sa.String(255), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("properties", Json, nullable=False, server_default="{}"),
)
endpoints = sa.Table(
    "catalogue_endpoints",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("service_id", Ident, nullable=False, index=True),
    sa.Column("region_id", sa.String(255)),
    sa.Column("interface", sa.String(8), nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("properties", Json, nullable=False, server_default="{}"),
)


def find_regions(conn: Connection) -> list[Region]:
    """Return all regions, by id."""
    return [Region(**row._mapping) for row in conn.execute(sa.select(regions).order_by(regions.c.id))]


def find_services(conn: Connection) -> list[CatalogueService]:
    """Return all services, by type and id."""
    query = sa.select(services).order_by(services.c.type, services.c.id)
    return [CatalogueService(**row._mapping) for row in conn.execute(query)]


def find_endpoints(conn: Connection) -> list[Endpoint]:
    """Return all endpoints, by id."""
    return [Endpoint(**row._mapping) for row in conn.execute(sa.select(endpoints).order_by(endpoints.c.id))]


def insert_region(conn: Connection, region: Region) -> None:
    """Add a region."""
    conn.execute(sa.insert(regions).values(**asdict(region)))


def insert_service(conn: Connection, service: CatalogueService) -> None:
    """Add a service."""
    conn.execute(sa.insert(services).values(**asdict(service)))


def insert_endpoint(conn: Connection, endpoint: Endpoint) -> None:
    """Add an endpoint."""
    conn.execute(sa.insert(endpoints).values(**asdict(endpoint)))


def update_region(conn: Connection, region_id: str, changes: Mapping[str, Any]) -> None:
    """Set fields of a region."""
    if changes:
        conn.execute(sa.update(regions).where(regions.c.id == region_id).values(**changes))


def update_service(conn: Connection, service_id: str, changes: Mapping[str, Any]) -> None:
    """Set fields of a service."""
    if changes:
        conn.execute(sa.update(services).where(services.c.id == service_id).values(**changes))


def update_endpoint(conn: Connection, endpoint_id: str, changes: Mapping[str, Any]) -> None:
    """Set fields of an endpoint."""
    if changes:
        conn.execute(sa.update(endpoints).where(endpoints.c.id == endpoint_id).values(**changes))


def delete_region(conn: Connection, region_id: str) -> None:
    """Remove a region."""
    conn.execute(sa.delete(regions).where(regions.c.id == region_id))


def delete_service(conn: Connection, service_id: str) -> None:
    """Remove a service and its endpoints."""
    conn.execute(sa.delete(endpoints).where(endpoints.c.service_id == service_id))
    conn.execute(sa.delete(services).where(services.c.id == service_id))


def delete_endpoint(conn: Connection, endpoint_id: str) -> None:
    """Remove an endpoint."""
    conn.execute(sa.delete(endpoints).where(endpoints.c.id == endpoint_id))
