"""A request that may be sent again: what it was answered is kept in the transaction that did it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from floe.cloud import sealing
from floe.cloud.cloud import Cloud
from floe.core.errors import Conflict
from floe.core.idempotency import KEPT, Once
from floe.store import idempotency as rows
from floe.store.engine import Connection
from floe.store.idempotency import Answered


def earlier(conn: Connection, cloud: Cloud, project_id: str, once: Once, now: datetime) -> Any:
    """Return what the same request was answered before, None if it is new. Raises Conflict for another body."""
    rows.forget(conn, project_id, once.key, now - KEPT)
    found = rows.get(conn, project_id, once.key)
    if found is None:
        return None
    if found.fingerprint != once.fingerprint:
        raise Conflict(
            f"Idempotency-Key {once.key!r} was used for a request with another body in the last day; "
            "send that body again, or choose a new key."
        )
    try:
        return sealing.unseal(cloud, found.answer)
    except Conflict as error:
        raise Conflict(
            f"Idempotency-Key {once.key!r} was used before, but the keys that its answer was sealed with are gone; "
            "list your servers to see what it made."
        ) from error


def keep(conn: Connection, cloud: Cloud, project_id: str, once: Once, answer: Any, now: datetime) -> None:
    """Remember the answer (JSON). It is sealed: an answer may hold a password."""
    sealed = sealing.seal(cloud, answer)
    rows.add(conn, project_id, once.key, Answered(once.fingerprint, sealed), now)
