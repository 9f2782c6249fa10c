"""Keypairs of users."""

from __future__ import annotations

import sqlalchemy as sa

from floe.core.keypairs import Keypair
from floe.store.engine import Connection
from floe.store.quota_usages import Counted, counted
from floe.store.schema import Ident, Moment, metadata

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

_BY_NAME = sa.select(keypairs).where(
    keypairs.c.user_id == sa.bindparam("user"), keypairs.c.name == sa.bindparam("label")
)


def add(conn: Connection, keypair: Keypair) -> None:
    """Insert a keypair; the `id` it came with is ignored."""
    conn.execute(keypairs.insert(), {name: getattr(keypair, name) for name in Keypair.__slots__ if name != "id"})


def get(conn: Connection, user_id: str, name: str) -> Keypair | None:
    """Return a user's keypair."""
    row = conn.execute(_BY_NAME, {"user": user_id, "label": name}).one_or_none()
    return Keypair(**row._mapping) if row else None


def listed(conn: Connection, user_id: str, *, after: str | None = None, limit: int = 1000) -> list[Keypair]:
    """Return a user's keypairs by name, those behind `after`."""
    statement = sa.select(keypairs).where(keypairs.c.user_id == user_id)
    if after is not None:
        statement = statement.where(keypairs.c.name > after)
    return [Keypair(**row._mapping) for row in conn.execute(statement.order_by(keypairs.c.name).limit(limit))]


def delete(conn: Connection, user_id: str, name: str) -> bool:
    """Remove a keypair; servers keep their own copy. False if there was none."""
    statement = keypairs.delete().where(keypairs.c.user_id == user_id, keypairs.c.name == name)
    return conn.execute(statement).rowcount == 1
