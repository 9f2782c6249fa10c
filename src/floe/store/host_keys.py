"""Keys of hosts, and the tokens that they are bound by."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from floe.core.host_keys import HostKey
from floe.store.engine import Connection
from floe.store.generations import changes
from floe.store.prepared import Prepared
from floe.store.schema import HostName, Moment, metadata
from floe.store.table import Rows, things

host_keys = sa.Table(
    "host_keys",
    metadata,
    sa.Column("host", HostName, primary_key=True),
    sa.Column("public_key", sa.String(64), nullable=False, index=True),
    sa.Column("token_hash", sa.String(64), nullable=False),
    sa.Column("token_expires_at", Moment, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("joined_at", Moment),
    info=changes("public_key"),
)

_made_of = things(HostKey)
ROWS: Rows[HostKey] = Rows(host_keys, _made_of)
insert_new, get, update, delete = ROWS.insert_new, ROWS.get, ROWS.update, ROWS.delete
_OPEN = host_keys.c.public_key == ""
_OF_KEY = sa.select(host_keys.c.host).where(host_keys.c.public_key == sa.bindparam("key"))
_NEXT = Prepared(
    sa.select(host_keys)
    .where(host_keys.c.host > sa.bindparam("after"))
    .order_by(host_keys.c.host)
    .limit(sa.bindparam("most"))
)


def find(conn: Connection, after: str, most: int) -> list[HostKey]:
    """Return so many at most, by name, those behind a name."""
    return _made_of(conn, _NEXT.rows(conn, after=after, most=most))


def hosts_of(conn: Connection, public_key: str) -> list[str]:
    """Return the names that are bound to a key."""
    return list(conn.scalars(_OF_KEY, {"key": public_key}))


def count_open(conn: Connection) -> int:
    """Return how many tokens wait to be redeemed."""
    return int(conn.scalar(sa.select(sa.func.count()).select_from(host_keys).where(_OPEN)) or 0)


def forget_expired(conn: Connection, now: datetime) -> None:
    """Forget tokens that nobody redeemed in time."""
    conn.execute(sa.delete(host_keys).where(_OPEN, host_keys.c.token_expires_at <= now))


def put(conn: Connection, key: HostKey) -> None:
    """Write a token for a host in the place of whatever its name was bound to."""
    if not insert_new(conn, key):
        values: dict[str, Any] = ROWS.values(key)
        update(conn, key.host, values)
