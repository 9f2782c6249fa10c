"""Revoked tokens, and the number that counts the changes of identity."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.store.prepared import Prepared
from floe.store.schema import Moment, metadata

revoked = sa.Table(
    "revoked_tokens",
    metadata,
    sa.Column("audit_id", sa.String(32), primary_key=True),
    sa.Column("expires_at", Moment, nullable=False, index=True),
)
generations = sa.Table(
    "identity_generation",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
)

_REVOKED = Prepared(sa.select(revoked.c.audit_id).where(revoked.c.audit_id == sa.bindparam("ident")))
_GENERATION = Prepared(sa.select(generations.c.number).where(generations.c.id == 1))


def revoke(conn: Connection, audit_id: str, expires_at: datetime) -> None:
    """Remember a token as revoked; when it would have expired anyway, that is history."""
    if not is_revoked(conn, [audit_id]):
        conn.execute(sa.insert(revoked).values(audit_id=audit_id, expires_at=expires_at))


def is_revoked(conn: Connection, audit_ids: Iterable[str]) -> bool:
    """Say whether one of these audit ids was revoked."""
    return any(_REVOKED.first(conn, ident=audit_id) is not None for audit_id in audit_ids)


def generation(conn: Connection) -> int:
    """Return how often identity has changed: what was read at another number may be out of date."""
    row = _GENERATION.first(conn)
    return 0 if row is None else int(row.number)


def next_generation(conn: Connection) -> int:
    """Count one change."""
    changed = conn.execute(sa.update(generations).where(generations.c.id == 1).values(number=generations.c.number + 1))
    if changed.rowcount == 0:
        conn.execute(sa.insert(generations).values(id=1, number=1))
    return generation(conn)
