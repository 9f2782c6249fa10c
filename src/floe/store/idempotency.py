"""Keys of requests that may be sent again, and what each was answered."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from floe.store.engine import Connection
from floe.store.schema import Ident, Json, Moment, metadata

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("project_id", Ident, primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("answer", Json, nullable=False),
    sa.Column("created_at", Moment, nullable=False, index=True),
)


class Answered(NamedTuple):
    """What a key was used for, and the answer (JSON)."""

    fingerprint: str
    answer: Any


def get(conn: Connection, project_id: str, key: str) -> Answered | None:
    """Return what a project used a key for."""
    row = conn.execute(
        sa.select(idempotency_keys.c.fingerprint, idempotency_keys.c.answer).where(
            idempotency_keys.c.project_id == project_id, idempotency_keys.c.key == key
        )
    ).one_or_none()
    return Answered(row.fingerprint, row.answer) if row else None


def add(conn: Connection, project_id: str, key: str, answered: Answered, now: datetime) -> None:
    """Remember what a key was used for. A key that somebody else added meanwhile fails the transaction."""
    conn.execute(
        idempotency_keys.insert().values(
            project_id=project_id, key=key, created_at=now, fingerprint=answered.fingerprint, answer=answered.answer
        )
    )


def forget(conn: Connection, project_id: str, key: str, before: datetime) -> None:
    """Forget what a key was used for, if that was before a moment."""
    conn.execute(
        idempotency_keys.delete().where(
            idempotency_keys.c.project_id == project_id,
            idempotency_keys.c.key == key,
            idempotency_keys.c.created_at < before,
        )
    )
