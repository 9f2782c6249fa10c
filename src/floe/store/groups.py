"""Groups, and who is in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.groups import Group
from floe.store import names
from floe.store.schema import Ident, Json, metadata

groups = sa.Table(
    "groups",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("domain_id", Ident, nullable=False),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("properties", Json, nullable=False),
    names.folded(),
    sa.UniqueConstraint("domain_id", "name"),
)
_QUERY = sa.select(*names.shown(groups)).order_by(groups.c.id)
memberships = sa.Table(
    "group_memberships",
    metadata,
    sa.Column("user_id", Ident, primary_key=True),
    sa.Column("group_id", Ident, primary_key=True, index=True),
)


def get(conn: Connection, group_id: str) -> Group | None:
    """Return a group by its id."""
    row = conn.execute(_QUERY.where(groups.c.id == group_id)).first()
    return None if row is None else Group(**row._mapping)


def by_name(conn: Connection, domain_id: str, name: str) -> Group | None:
    """Return a group by its name in a domain."""
    row = names.first_called(conn, _QUERY.where(groups.c.domain_id == domain_id), groups, name)
    return None if row is None else Group(**row._mapping)


def find(
    conn: Connection,
    *,
    of_user: str | None = None,
    domain_id: str | None = None,
    name: str | None = None,
) -> list[Group]:
    """Return the groups that fit every condition given, by id; `of_user` is the id of a member."""
    query = _QUERY
    if of_user is not None:
        query = query.where(groups.c.id.in_(sa.select(memberships.c.group_id).where(memberships.c.user_id == of_user)))
    if domain_id is not None:
        query = query.where(groups.c.domain_id == domain_id)
    if name is not None:
        query = query.where(names.called(groups, name))
    return [Group(**row._mapping) for row in conn.execute(query)]


def insert(conn: Connection, group: Group) -> None:
    """Add a group."""
    conn.execute(sa.insert(groups).values(names.with_folded(asdict(group))))


def update(conn: Connection, group_id: str, changes: Mapping[str, Any]) -> None:
    """Set fields of a group."""
    if changes:
        conn.execute(sa.update(groups).where(groups.c.id == group_id).values(names.with_folded(changes)))


def delete(conn: Connection, group_id: str) -> None:
    """Remove a group and its memberships."""
    conn.execute(sa.delete(memberships).where(memberships.c.group_id == group_id))
    conn.execute(sa.delete(groups).where(groups.c.id == group_id))


def members(conn: Connection, group_id: str) -> list[str]:
    """Return the ids of the users in a group."""
    return list(conn.scalars(sa.select(memberships.c.user_id).where(memberships.c.group_id == group_id)))


def of_user(conn: Connection, user_id: str) -> list[str]:
    """Return the ids of the groups a user is in."""
    return list(conn.scalars(sa.select(memberships.c.group_id).where(memberships.c.user_id == user_id)))


def join(conn: Connection, group_id: str, user_id: str) -> None:
    """Put a user into a group; it may be in it already."""
    if group_id not in of_user(conn, user_id):
        conn.execute(sa.insert(memberships).values(group_id=group_id, user_id=user_id))


def leave(conn: Connection, group_id: str, user_id: str) -> bool:
    """Take a user out of a group; False if it was not in it."""
    here = (memberships.c.group_id == group_id) & (memberships.c.user_id == user_id)
    return conn.execute(sa.delete(memberships).where(here)).rowcount > 0


def leave_all(conn: Connection, user_id: str) -> None:
    """Take a user out of all groups."""
    conn.execute(sa.delete(memberships).where(memberships.c.user_id == user_id))
