"""Regions, services and endpoints."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.catalogue import CatalogueService, Endpoint, Region
from floe.store.schema import Ident, Json, metadata
from floe.store.table import Rows, things

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

REGIONS: Rows[Region] = Rows(regions, things(Region))
SERVICES: Rows[CatalogueService] = Rows(services, things(CatalogueService), order=(("type", True),))
ENDPOINTS: Rows[Endpoint] = Rows(endpoints, things(Endpoint))


def delete_endpoints(conn: Connection, service_id: str) -> None:
    """Remove the endpoints of a service."""
    conn.execute(sa.delete(endpoints).where(endpoints.c.service_id == service_id))
