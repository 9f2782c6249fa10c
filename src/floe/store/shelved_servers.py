"""Servers that are shelved: the image that each is kept in, and since when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from floe.core.servers import SHELVED
from floe.store.engine import Connection
from floe.store.listing import new
from floe.store.prepared import Prepared
from floe.store.schema import Ident, Moment, metadata
from floe.store.servers import servers

shelved_servers = sa.Table(
    "shelved_servers",
    metadata,
    sa.Column("server_id", Ident, sa.ForeignKey("servers.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("image_id", Ident, nullable=False),
    sa.Column("zone", sa.String(255), nullable=False),
    sa.Column("shelved_at", Moment, nullable=False),
    sa.Index("ix_shelved_servers_shelved_at", "shelved_at"),
)


class ShelvedServer(msgspec.Struct, frozen=True, kw_only=True):
    """A server that is shelved; `zone` is that of the host which it had then."""

    server_id: str
    image_id: str
    zone: str
    shelved_at: datetime


_s = shelved_servers.c
_IT = _s.server_id == sa.bindparam("ident")
_INSERT = new(shelved_servers)
_GET = Prepared(sa.select(shelved_servers).where(_IT))
_DELETE = Prepared(shelved_servers.delete().where(_IT))
_DUE = Prepared(
    sa.select(_s.server_id)
    .join(servers, servers.c.id == _s.server_id)
    .where(
        _s.shelved_at <= sa.bindparam("before", type_=Moment),
        servers.c.vm_state == SHELVED,
        servers.c.task_state.is_(None),
        servers.c.deleted_at.is_(None),
    )
    .order_by(_s.shelved_at, _s.server_id)
    .limit(sa.bindparam("most"))
)


def insert(conn: Connection, shelved: ShelvedServer) -> None:
    """Note that a server is shelved."""
    _INSERT.write_later(conn, msgspec.structs.asdict(shelved))


def get(conn: Connection, server_id: str) -> ShelvedServer | None:
    """Return what is known of a shelved server, None for one that is not."""
    row = _GET.first(conn, ident=server_id)
    return None if row is None else ShelvedServer(**row._asdict())


def delete(conn: Connection, server_id: str) -> None:
    """Note that a server is shelved no more."""
    _DELETE.write_later(conn, {"ident": server_id})


def due(conn: Connection, before: datetime, most: int) -> Sequence[str]:
    """Return servers that are on their hosts still, and were shelved before a moment: the first of them."""
    return [row.server_id for row in _DUE.rows(conn, before=before, most=most)]
