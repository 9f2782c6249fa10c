"""Servers as their users see them: a row with its tags and the place of its host, all in one statement.

Every poll of a client comes through here, and of what a statement for one row costs, running it is the least part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from floe.core.server_filters import ServerFilter
from floe.core.servers import Server
from floe.store import places, server_lists
from floe.store.engine import Connection
from floe.store.places import Place
from floe.store.servers import from_row, server_tags, servers


@dataclass(frozen=True, slots=True)
class ServerView:
    """A server, its tags (sorted) and the place of its host, if it has one that is known."""

    server: Server
    tags: Sequence[str]
    place: Place | None


_BETWEEN = ","
"""What stands between tags that are read as one text; no tag has it in it."""
_SEPARATOR: Any = sa.literal_column(f"'{_BETWEEN}'")
"""As a piece of SQL: a string would be written out into the statement at every run."""
_TAGS = (
    sa.select(sa.func.aggregate_strings(server_tags.c.tag, _SEPARATOR))
    .where(server_tags.c.server_id == servers.c.id)
    .correlate(servers)
    .scalar_subquery()
)
_ALL = sa.select(*servers.c, _TAGS, *places.COLUMNS).select_from(
    servers.outerjoin(places.hosts, places.hosts.c.name == servers.c.host)
)
_ONE = _ALL.where(servers.c.id == sa.bindparam("ident"), servers.c.deleted_at.is_(None))
_WIDTH = len(servers.c)


def get(conn: Connection, server_id: str, now: datetime) -> ServerView | None:
    """Return a server that is not gone."""
    row = conn.execute(_ONE, {"ident": server_id}).one_or_none()
    return None if row is None else _view(row, now)


def listed(
    conn: Connection,
    wanted: ServerFilter,
    now: datetime,
    *,
    sort: Sequence[tuple[str, bool]] = (),
    marker: str | None = None,
    limit: int = 1000,
) -> list[ServerView]:
    """Return what `server_lists.listed` does, each with its tags and place."""
    statement = server_lists.window(conn, _ALL, wanted, sort=sort, marker=marker, limit=limit)
    return [_view(row, now) for row in conn.execute(statement).all()]


def _view(row: Sequence[Any], now: datetime) -> ServerView:
    tags, host = row[_WIDTH], row[_WIDTH + 1 :]
    return ServerView(
        from_row(row[:_WIDTH]),
        sorted(tags.split(_BETWEEN)) if tags else (),
        None if host[0] is None else places.place(host, now),
    )
