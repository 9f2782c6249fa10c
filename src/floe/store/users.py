"""Users."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.users import User
from floe.store import names
from floe.store.groups import memberships
from floe.store.schema import Ident, Json, Moment, metadata
from floe.store.table import Rows, things

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
ROWS: Rows[User] = Rows(
    users,
    things(User),
    also={
        "in_group": lambda ident: users.c.id.in_(
            sa.select(memberships.c.user_id).where(memberships.c.group_id == ident)
        )
    },
)
get, find, called, insert, update = ROWS.get, ROWS.those, ROWS.called, ROWS.insert, ROWS.update
delete = ROWS.delete
"""Removes a user alone; what says something about it is removed with `cloud.departures`."""


def forget_default_project(conn: Connection, project_id: str) -> None:
    """Take a project that goes away from the users that had it as their default."""
    conn.execute(sa.update(users).where(users.c.default_project_id == project_id).values(default_project_id=None))
