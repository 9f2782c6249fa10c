"""Roles, and which imply which."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.roles import Role
from floe.store import names
from floe.store.prepared import Prepared
from floe.store.schema import Ident, Json, metadata
from floe.store.table import Rows, things

roles = sa.Table(
    "roles",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("properties", Json, nullable=False, server_default="{}"),
    names.folded(),
)
implications = sa.Table(
    "role_implications",
    metadata,
    sa.Column("prior_id", Ident, primary_key=True),
    sa.Column("implied_id", Ident, primary_key=True),
)

ROWS: Rows[Role] = Rows(roles, things(Role))
get, find, called, insert, update = ROWS.get, ROWS.those, ROWS.called, ROWS.insert, ROWS.update
_IMPLIED = Prepared(sa.select(implications))


def forget(conn: Connection, role_id: str) -> None:
    """Remove the implications that a role is part of."""
    part = (implications.c.prior_id == role_id) | (implications.c.implied_id == role_id)
    conn.execute(sa.delete(implications).where(part))


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
