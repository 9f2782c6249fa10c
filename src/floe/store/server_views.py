"""Servers as their users see them: a row with its tags and the place of its host.

Every poll of a client comes through here. For one server all is one statement, since of what a statement for one row
costs, running it is the least part; for a list each kind of row is read once.
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
from floe.store.listing import ByIds
from floe.store.places import Place
from floe.store.prepared import Prepared
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
_TAGS_AS_TEXT = (
    sa.select(sa.func.aggregate_strings(server_tags.c.tag, _SEPARATOR))
    .where(server_tags.c.server_id == servers.c.id)
    .correlate(servers)
    .scalar_subquery()
)
_ONE = Prepared(
    sa.select(*servers.c, _TAGS_AS_TEXT, *places.COLUMNS)
    .select_from(servers.outerjoin(places.hosts, places.hosts.c.name == servers.c.host))
    .where(servers.c.id == sa.bindparam("ident"), servers.c.deleted_at.is_(None))
)
_TAGS = ByIds(sa.select(server_tags).order_by(server_tags.c.tag), server_tags.c.server_id)
_WIDTH = len(servers.c)


def get(conn: Connection, server_id: str, now: datetime) -> ServerView | None:
    """Return a server that is not gone."""
    row = _ONE.first(conn, ident=server_id)
    if row is None:
        return None
    tags, host = row[_WIDTH], row[_WIDTH + 1 :]
    return ServerView(
        from_row(row[:_WIDTH]),
        sorted(tags.split(_BETWEEN)) if tags else (),
        None if host[0] is None else places.place(host, now),
    )


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
    found = server_lists.listed(conn, wanted, sort=sort, marker=marker, limit=limit)
    if not found:
        return []
    tags: dict[str, list[str]] = {}
    for server_id, tag in _TAGS.rows(conn, [server.id for server in found]):
        tags.setdefault(server_id, []).append(tag)
    where = places.of(conn, {server.host for server in found if server.host}, now)
    return [ServerView(server, tags.get(server.id, ()), where.get(server.host or "")) for server in found]
