"""Domains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.domains import Domain
from floe.store.schema import Ident, metadata

domains = sa.Table(
    "domains",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("name", sa.String(64), nullable=False, unique=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
)


def get(conn: Connection, domain_id: str) -> Domain | None:
    """Return a domain by its id."""
    row = conn.execute(sa.select(domains).where(domains.c.id == domain_id)).first()
    return None if row is None else Domain(**row._mapping)


def by_name(conn: Connection, name: str) -> Domain | None:
    """Return a domain by its name."""
    row = conn.execute(sa.select(domains).where(domains.c.name == name)).first()
    return None if row is None else Domain(**row._mapping)


def find(conn: Connection) -> list[Domain]:
    """Return all domains, by id."""
    return [Domain(**row._mapping) for row in conn.execute(sa.select(domains).order_by(domains.c.id))]


def insert(conn: Connection, domain: Domain) -> None:
    """Add a domain."""
    conn.execute(
        sa.insert(domains).values(
            id=domain.id, name=domain.name, description=domain.description, enabled=domain.enabled
        )
    )


def update(conn: Connection, domain_id: str, changes: Mapping[str, Any]) -> None:
    """Set fields of a domain."""
    if changes:
        conn.execute(sa.update(domains).where(domains.c.id == domain_id).values(**changes))


def delete(conn: Connection, domain_id: str) -> None:
    """Remove a domain alone; what is in it is removed before."""
    conn.execute(sa.delete(domains).where(domains.c.id == domain_id))
