"""Roles, and which imply which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.roles import Role
from floe.store import names
from floe.store.prepared import Prepared
from floe.store.schema import Ident, Json, metadata

roles = sa.Table(
    "roles",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("properties", Json, nullable=False, server_default="{}"),
    names.folded(),
)
_QUERY = sa.select(*names.shown(roles)).order_by(roles.c.id)
_ALL = Prepared(_QUERY)
_BY_ID = Prepared(_QUERY.where(roles.c.id == sa.bindparam("ident")))
implications = sa.Table(
    "role_implications",
    metadata,
    sa.Column("prior_id", Ident, primary_key=True),
    sa.Column("implied_id", Ident, primary_key=True),
)

_IMPLIED = Prepared(sa.select(implications))


def get(conn: Connection, role_id: str) -> Role | None:
    """Return a role by its id."""
    row = _BY_ID.first(conn, ident=role_id)
    return None if row is None else Role(**row._asdict())


def by_name(conn: Connection, name: str) -> Role | None:
    """Return a role by its name."""
    row = names.first_called(conn, _QUERY, roles, name)
    return None if row is None else Role(**row._mapping)


def find(conn: Connection) -> list[Role]:
    """Return all roles, by id."""
    return [Role(**row._asdict()) for row in _ALL.rows(conn)]


def insert(conn: Connection, role: Role) -> None:
    """Add a role."""
    conn.execute(sa.insert(roles).values(names.with_folded(asdict(role))))


def update(conn: Connection, role_id: str, changes: Mapping[str, Any]) -> None:
    """Set fields of a role."""
    if changes:
        conn.execute(sa.update(roles).where(roles.c.id == role_id).values(names.with_folded(changes)))


def delete(conn: Connection, role_id: str) -> None:
    """Remove a role and the implications it is part of."""
    part = (implications.c.prior_id == role_id) | (implications.c.implied_id == role_id)
    conn.execute(sa.delete(implications).where(part))
    conn.execute(sa.delete(roles).where(roles.c.id == role_id))


def implied(conn: Connection) -> dict[str, frozenset[str]]:
    """Return, by role id, the ids of the roles each implies directly."""
    found: dict[str, set[str]] = {}
    for prior_id, implied_id in _IMPLIED.rows(conn):
        found.setdefault(prior_id, set()).add(implied_id)
    return {prior_id: frozenset(ids) for prior_id, ids in found.items()}


def imply(conn: Connection, prior_id: str, implied_id: str) -> None:
    """Let one role imply another."""
    conn.execute(sa.insert(implications).values(prior_id=prior_id, implied_id=implied_id))


def stop_implying(conn: Connection, prior_id: str, implied_id: str) -> bool:
    """Undo `imply`; False if it was not so."""
    here = (implications.c.prior_id == prior_id) & (implications.c.implied_id == implied_id)
    return conn.execute(sa.delete(implications).where(here)).rowcount > 0
