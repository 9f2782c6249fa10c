"""Users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.users import User
from floe.store import names
from floe.store.groups import memberships
from floe.store.prepared import Prepared
from floe.store.schema import Ident, Json, Moment, metadata

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("domain_id", Ident, nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("email", sa.String(255)),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("default_project_id", Ident),
    sa.Column("password_hash", sa.String(255)),
    sa.Column("password_changed_at", Moment),
    sa.Column("properties", Json, nullable=False),
    sa.Column("stamp", sa.Integer, nullable=False),
    names.folded(),
    sa.UniqueConstraint("domain_id", "name"),
)
_QUERY = sa.select(*names.shown(users)).order_by(users.c.id)
_BY_ID = Prepared(_QUERY.where(users.c.id == sa.bindparam("ident")))


def get(conn: Connection, user_id: str) -> User | None:
    """Return a user by its id."""
    row = _BY_ID.first(conn, ident=user_id)
    return None if row is None else User(**row._asdict())


def by_name(conn: Connection, domain_id: str, name: str) -> User | None:
    """Return a user by its name in a domain."""
    row = names.first_called(conn, _QUERY.where(users.c.domain_id == domain_id), users, name)
    return None if row is None else User(**row._mapping)


def find(
    conn: Connection,
    *,
    in_group: str | None = None,
    domain_id: str | None = None,
    name: str | None = None,
) -> list[User]:
    """Return the users that fit every condition given, by id; `in_group` is a group's id."""
    query = _QUERY
    if in_group is not None:
        query = query.where(users.c.id.in_(sa.select(memberships.c.user_id).where(memberships.c.group_id == in_group)))
    if domain_id is not None:
        query = query.where(users.c.domain_id == domain_id)
    if name is not None:
        query = query.where(names.called(users, name))
    return [User(**row._mapping) for row in conn.execute(query)]


def insert(conn: Connection, user: User) -> None:
    """Add a user."""
    conn.execute(sa.insert(users).values(names.with_folded(asdict(user))))


def update(conn: Connection, user_id: str, changes: Mapping[str, Any]) -> None:
    """Set fields of a user."""
    if changes:
        conn.execute(sa.update(users).where(users.c.id == user_id).values(names.with_folded(changes)))


def forget_default_project(conn: Connection, project_id: str) -> None:
    """Take a project that goes away from the users that had it as their default."""
    conn.execute(sa.update(users).where(users.c.default_project_id == project_id).values(default_project_id=None))


def delete(conn: Connection, user_id: str) -> None:
    """Remove a user alone."""
    conn.execute(sa.delete(users).where(users.c.id == user_id))
