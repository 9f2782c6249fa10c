"""Application credentials."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.application_credentials import ApplicationCredential
from floe.store.schema import Ident, Json, Moment, metadata

credentials = sa.Table(
    "application_credentials",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("user_id", Ident, nullable=False),
    sa.Column("project_id", Ident, nullable=False, index=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("secret_hash", sa.String(255), nullable=False),
    sa.Column("unrestricted", sa.Boolean, nullable=False),
    sa.Column("expires_at", Moment),
    sa.Column("role_ids", Json, nullable=False),
    sa.UniqueConstraint("user_id", "name"),
)


def _credential(row: sa.Row[Any]) -> ApplicationCredential:
    fields = dict(row._mapping)
    fields["role_ids"] = tuple(fields["role_ids"])
    return ApplicationCredential(**fields)


def get(conn: Connection, credential_id: str) -> ApplicationCredential | None:
    """Return an application credential by its id."""
    row = conn.execute(sa.select(credentials).where(credentials.c.id == credential_id)).first()
    return None if row is None else _credential(row)


def by_name(conn: Connection, user_id: str, name: str) -> ApplicationCredential | None:
    """Return an application credential by its name, which is unique for a user."""
    query = sa.select(credentials).where(credentials.c.user_id == user_id, credentials.c.name == name)
    row = conn.execute(query).first()
    return None if row is None else _credential(row)


def of_user(conn: Connection, user_id: str) -> list[ApplicationCredential]:
    """Return a user's application credentials, by id."""
    query = sa.select(credentials).where(credentials.c.user_id == user_id).order_by(credentials.c.id)
    return [_credential(row) for row in conn.execute(query)]


def count(conn: Connection, user_id: str) -> int:
    """Return how many a user has."""
    query = sa.select(sa.func.count()).where(credentials.c.user_id == user_id)
    return int(conn.scalar(query) or 0)


def insert(conn: Connection, credential: ApplicationCredential) -> None:
    """Add an application credential."""
    conn.execute(sa.insert(credentials).values(**asdict(credential)))


def delete(conn: Connection, credential_id: str) -> None:
    """Remove an application credential."""
    conn.execute(sa.delete(credentials).where(credentials.c.id == credential_id))


def forget_user(conn: Connection, user_id: str) -> None:
    """Remove all of a user's."""
    conn.execute(sa.delete(credentials).where(credentials.c.user_id == user_id))


def forget_project(conn: Connection, project_id: str) -> None:
    """Remove all that act in a project."""
    conn.execute(sa.delete(credentials).where(credentials.c.project_id == project_id))
