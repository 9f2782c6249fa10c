"""Groups, and who is in them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.groups import Group
from floe.store import names
from floe.store.schema import Ident, Json, metadata
from floe.store.table import Rows, things

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
memberships = sa.Table(
    "group_memberships",
    metadata,
    sa.Column("user_id", Ident, primary_key=True),
    sa.Column("group_id", Ident, primary_key=True, index=True),
)

ROWS: Rows[Group] = Rows(
    groups,
    things(Group),
    also={
        "of_user": lambda ident: groups.c.id.in_(
            sa.select(memberships.c.group_id).where(memberships.c.user_id == ident)
        )
    },
)
get, find = ROWS.get, ROWS.those


def empty(conn: Connection, group_id: str) -> None:
    """Take all users out of a group."""
    conn.execute(sa.delete(memberships).where(memberships.c.group_id == group_id))


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
