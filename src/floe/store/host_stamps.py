"""What a host's reports are compared with, in a few bytes: whether any of those rows changed since the last time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

import msgspec
import sqlalchemy as sa

from floe.store import group_members
from floe.store.engine import Connection
from floe.store.holdings import holdings
from floe.store.host_networks import host_networks
from floe.store.hosts import SAID, hosts
from floe.store.prepared import Prepared
from floe.store.schema import moment
from floe.store.servers import servers


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Tells two states of a host's rows apart; `changed_at` is when a server on it changed last."""

    digest: bytes
    changed_at: datetime | None
    held: bool
    """Whether something of any server may be on the host."""


_HOST = Prepared(
    sa.select(
        *(hosts.c[name] for name in SAID),
        hosts.c.connected,
        hosts.c.aggregate_zone,
        host_networks.c.wanted,
        host_networks.c.members,
    )
    .select_from(hosts.outerjoin(host_networks, host_networks.c.host == hosts.c.name))
    .where(hosts.c.name == sa.bindparam("ident"))
)
_SERVERS = Prepared(
    sa.select(
        servers.c.updated_at, servers.c.id, servers.c.vm_state, servers.c.task_state, servers.c.power_state
    ).where(servers.c.host == sa.bindparam("ident"), servers.c.deleted_at.is_(None))
)
_ON_HOST = holdings.c.host == sa.bindparam("ident")
_HELD = Prepared(sa.select(sa.func.count(), sa.func.count(sa.case((holdings.c.owed, 1)))).where(_ON_HOST))
_ENCODER = msgspec.msgpack.Encoder()


def stamp(conn: Connection, host: str, heard_of: int) -> Stamp:
    """Return the stamp of a host's rows: its own, its network's, those of its servers, and how much may be on it.

    Of changes of groups' members, of which there are many, it matters only whether any is `heard_of` and not there.
    """
    there = sorted(_SERVERS.plain(conn, ident=host), key=lambda row: row[1])
    held = _HELD.plain(conn, ident=host)
    rows = (_HOST.plain(conn, ident=host), group_members.position(conn) >= heard_of, held, there)
    newest = max((row[0] for row in there if row[0] is not None), default=None)
    digest = hashlib.blake2b(_ENCODER.encode(rows), digest_size=16).digest()
    return Stamp(digest=digest, changed_at=moment(newest), held=held[0][0] > 0)
