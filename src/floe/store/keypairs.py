"""Keypairs of users."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.keypairs import Keypair
from floe.store.quota_usages import Counted, counted
from floe.store.schema import Ident, Moment, metadata
from floe.store.table import VIEWER, Rows, things

keypairs = sa.Table(
    "keypairs",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("user_id", Ident, nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("type", sa.String(16), nullable=False),
    sa.Column("fingerprint", sa.String(255), nullable=False),
    sa.Column("public_key", sa.Text, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.UniqueConstraint("user_id", "name"),
    info=counted(Counted(resource="key_pairs", owner="user_id")),
)

ROWS: Rows[Keypair] = Rows(keypairs, things(Keypair), seen=keypairs.c.user_id == VIEWER, key=keypairs.c.name)
find, insert, delete = ROWS.find, ROWS.insert, ROWS.delete


def get(conn: Connection, user_id: str, name: str) -> Keypair | None:
    """Return a user's keypair."""
    return ROWS.get(conn, name, user_id)


def forget_user(conn: Connection, user_id: str) -> None:
    """Remove all of a user's."""
    conn.execute(sa.delete(keypairs).where(keypairs.c.user_id == user_id))
