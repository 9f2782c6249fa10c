"""What hosts' reports are compared with, in a few bytes each: whether any of those rows changed since the last time."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from floe.store import functions, group_members
from floe.store.engine import Connection
from floe.store.holdings import holdings
from floe.store.host_networks import host_networks
from floe.store.hosts import SAID, hosts
from floe.store.prepared import Prepared
from floe.store.schema import moment
from floe.store.servers import servers


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """Tells two states of a host's rows apart; `changed_at` is when a server on it changed last."""

    digest: bytes
    changed_at: datetime | None
    held: bool
    """Whether something of any server may be on the host."""


def _of_these(host: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    return functions.is_one_of(host, sa.bindparam("idents", type_=sa.String))


_HOSTS = Prepared(
    sa.select(
        hosts.c.name,
        *(hosts.c[name] for name in SAID),
        hosts.c.connected,
        hosts.c.aggregate_zone,
        host_networks.c.wanted,
        host_networks.c.members,
    )
    .select_from(hosts.outerjoin(host_networks, host_networks.c.host == hosts.c.name))
    .where(_of_these(hosts.c.name))
)
_SERVERS = Prepared(
    sa.select(
        servers.c.host,
        servers.c.updated_at,
        servers.c.id,
        servers.c.vm_state,
        servers.c.task_state,
        servers.c.power_state,
    ).where(_of_these(servers.c.host), servers.c.deleted_at.is_(None))
)
_HELD = Prepared(
    sa.select(holdings.c.host, sa.func.count(), sa.func.count(sa.case((holdings.c.owed, 1))))
    .where(_of_these(holdings.c.host))
    .group_by(holdings.c.host)
)
_ENCODER = msgspec.msgpack.Encoder()
_Rows = list[tuple[Any, ...]]


def stamps(conn: Connection, heard_of: Mapping[str, int]) -> dict[str, Stamp]:
    """Return the stamps of hosts' rows: their own, their networks', those of their servers, and how much they may hold.

    Of changes of groups' members, of which there are many, it matters only whether any is not there that its host has
    `heard_of`.
    """
    idents = functions.array_of(heard_of)
    there, held = (_by_host(statement.plain(conn, idents=idents)) for statement in (_SERVERS, _HELD))
    own, position = _by_host(_HOSTS.plain(conn, idents=idents)), group_members.position(conn)
    return {
        host: _stamp(own[host], position >= newest, held[host], sorted(there[host], key=lambda row: row[2]))
        for host, newest in heard_of.items()
    }


def _by_host(rows: Iterable[tuple[Any, ...]]) -> defaultdict[str, _Rows]:
    found = defaultdict[str, _Rows](list)
    for row in rows:
        found[row[0]].append(row)
    return found


def _stamp(own: _Rows, knows: bool, held: _Rows, there: _Rows) -> Stamp:
    newest = max((row[1] for row in there if row[1] is not None), default=None)
    digest = hashlib.blake2b(_ENCODER.encode((own, knows, held, there)), digest_size=16).digest()
    return Stamp(digest=digest, changed_at=moment(newest), held=bool(held and held[0][1]))
