"""Application credentials."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.application_credentials import RESOURCE, ApplicationCredential
from floe.store.quota_usages import Counted, counted
from floe.store.schema import Ident, JsonOf, Moment, metadata
from floe.store.table import Rows, things

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
    sa.Column("role_ids", JsonOf(tuple[str, ...]), nullable=False),
    sa.UniqueConstraint("user_id", "name"),
    info=counted(Counted(resource=RESOURCE, owner="user_id")),
)
ROWS: Rows[ApplicationCredential] = Rows(credentials, things(ApplicationCredential))
get, find, called, insert, delete = ROWS.get, ROWS.those, ROWS.called, ROWS.insert, ROWS.delete


def forget_user(conn: Connection, user_id: str) -> None:
    """Remove all of a user's."""
    conn.execute(sa.delete(credentials).where(credentials.c.user_id == user_id))


def forget_project(conn: Connection, project_id: str) -> None:
    """Remove all that act in a project."""
    conn.execute(sa.delete(credentials).where(credentials.c.project_id == project_id))
