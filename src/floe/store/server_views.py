"""Servers as their users see them: a row with its tags, its ports and the place of its host.

Every poll of a client comes through here. A server and all that is one of a kind with it are one row; ports come in a
statement of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from floe.core.ports import ServerPort
from floe.core.seen_servers import SeenServer
from floe.core.server_filters import ServerFilter
from floe.store import places, ports, server_lists
from floe.store.engine import Connection
from floe.store.prepared import Asked, Prepared
from floe.store.schema import Json, Moment
from floe.store.servers import server_tags, servers
from floe.store.shelved_servers import shelved_servers

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


def _as_kept(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """Return a column that is read as it is kept, which is how a SeenServer has it."""
    if isinstance(column.type, Moment | Json):
        return sa.type_coerce(column, column.type.impl_instance).label(column.name)
    return column


_ZONE_KEPT = sa.case(
    (
        servers.c.host.is_(None),
        sa.select(shelved_servers.c.zone)
        .where(shelved_servers.c.server_id == servers.c.id)
        .correlate(servers)
        .scalar_subquery(),
    ),
).label("zone_kept")
"""Of a server that was put away, the zone in which it was."""
_OWN = [_as_kept(servers.c[name]) for name in SeenServer.__struct_fields__ if name in servers.c]
_WIDTH = len(_OWN)
_QUERY = sa.select(*_OWN, _TAGS_AS_TEXT, _ZONE_KEPT, *places.COLUMNS).select_from(
    servers.outerjoin(places.hosts, places.hosts.c.name == servers.c.host)
)
_ONE = Prepared(_QUERY.where(servers.c.id == sa.bindparam("ident"), servers.c.deleted_at.is_(None)))
_PAGES = server_lists.Pages(_QUERY)


def get(conn: Connection, server_id: str, now: datetime) -> SeenServer | None:
    """Return a server that is not gone."""
    row = _ONE.first(conn, ident=server_id)
    return None if row is None else _seen(row, ports.seen_with_server(conn, server_id), now)


def asks(server_id: str) -> tuple[Asked, ...]:
    """Return what `get` asks."""
    return _ONE.asked(ident=server_id), ports.seen_with_server_asks(server_id)


def listed(
    conn: Connection,
    wanted: ServerFilter,
    now: datetime,
    *,
    sort: Sequence[tuple[str, bool]] = (),
    marker: str | None = None,
    limit: int = 1000,
) -> list[SeenServer]:
    """Return the servers that `server_lists.listed` does."""
    found = _PAGES.rows(conn, wanted, sort=sort, marker=marker, limit=limit)
    of_servers = ports.seen_with_servers(conn, [row[0] for row in found])
    return [_seen(row, of_servers[row[0]], now) for row in found]


def _seen(row: Sequence[Any], of_server: Sequence[ServerPort], now: datetime) -> SeenServer:
    tags, kept, host = row[_WIDTH], row[_WIDTH + 1], row[_WIDTH + 2 :]
    own = row[:_WIDTH]
    place = None if host[0] is None else places.place(host, now)
    rest: Sequence[Any] = (
        sorted(tags.split(_BETWEEN)) if tags else (),
        place.zone if place else (kept or own[_ZONE] or ""),
        (place.state if place else "UNKNOWN") if own[_HOST] else "",
        of_server,
    )
    return SeenServer(*own, *rest)


_HOST, _ZONE = (SeenServer.__struct_fields__.index(name) for name in ("host", "requested_zone"))
