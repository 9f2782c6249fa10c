"""Domains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.domains import Domain
from floe.store import names
from floe.store.prepared import Prepared
from floe.store.schema import Ident, Json, metadata

domains = sa.Table(
    "domains",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("name", sa.String(64), nullable=False, unique=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("tags", Json, nullable=False, server_default="[]"),
    sa.Column("properties", Json, nullable=False, server_default="{}"),
    names.folded(),
)
_QUERY = sa.select(*names.shown(domains)).order_by(domains.c.id)
_BY_ID = Prepared(_QUERY.where(domains.c.id == sa.bindparam("ident")))


def _domain(row: Any) -> Domain:
    fields = dict(row)
    fields["tags"] = tuple(fields["tags"])
    return Domain(**fields)


def get(conn: Connection, domain_id: str) -> Domain | None:
    """Return a domain by its id."""
    row = _BY_ID.first(conn, ident=domain_id)
    return None if row is None else _domain(row._asdict())


def by_name(conn: Connection, name: str) -> Domain | None:
    """Return a domain by its name."""
    row = names.first_called(conn, _QUERY, domains, name)
    return None if row is None else _domain(row._mapping)


def find(conn: Connection) -> list[Domain]:
    """Return all domains, by id."""
    return [_domain(row) for row in conn.execute(_QUERY).mappings()]


def insert(conn: Connection, domain: Domain) -> None:
    """Add a domain."""
    conn.execute(sa.insert(domains).values(names.with_folded(asdict(domain))))


def update(conn: Connection, domain_id: str, changes: Mapping[str, Any]) -> None:
    """Set fields of a domain."""
    if changes:
        conn.execute(sa.update(domains).where(domains.c.id == domain_id).values(names.with_folded(changes)))


def delete(conn: Connection, domain_id: str) -> None:
    """Remove a domain alone; what is in it is removed before."""
    conn.execute(sa.delete(domains).where(domains.c.id == domain_id))
