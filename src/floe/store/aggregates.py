"""Host aggregates and the hosts in them.

What a decision about a host needs of its aggregates, their ids and their zone, stands in the host's own row: every
change here writes it there in the same transaction, so that reading hosts costs what it did.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from floe.core.aggregates import RESOURCE, Aggregate
from floe.store import generations
from floe.store.allocations import allocations
from floe.store.engine import Connection
from floe.store.generations import changes
from floe.store.hosts import ZONE, hosts
from floe.store.listing import ByIds
from floe.store.prepared import Prepared
from floe.store.quota_usages import Counted, counted
from floe.store.schema import Ident, Json, Moment, metadata
from floe.store.table import Rows

aggregates = sa.Table(
    "aggregates",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("uuid", Ident, nullable=False, unique=True),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("zone", sa.String(255)),
    sa.Column("items", Json, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment),
    info=counted(Counted(resource=RESOURCE, owner=None)) | changes("zone", "items"),
    sqlite_autoincrement=True,  # the id of one that is gone is not given to another
)
members = sa.Table(
    "aggregate_hosts",
    metadata,
    sa.Column("aggregate_id", sa.Integer, sa.ForeignKey("aggregates.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("host", sa.String(255), sa.ForeignKey("hosts.name", ondelete="CASCADE"), primary_key=True, index=True),
)

_MEMBERS = ByIds(sa.select(members.c.aggregate_id, members.c.host).order_by(members.c.host), members.c.aggregate_id)
_OF_HOST = (
    sa.select(aggregates.c.id, aggregates.c.zone)
    .join(members)
    .where(members.c.host == sa.bindparam("ident"))
    .order_by(aggregates.c.id)
)
_THERE = sa.select(members.c.host).where(members.c.aggregate_id == sa.bindparam("ident"))
_OTHER_ZONES = (
    sa.select(aggregates.c.zone)
    .distinct()
    .join(members)
    .where(
        members.c.host.in_(_THERE),
        aggregates.c.id != sa.bindparam("ident"),
        aggregates.c.zone != sa.bindparam("zone", type_=sa.String),
    )
    .order_by(aggregates.c.zone)
)
_MOVED = (
    sa.select(sa.func.count(allocations.c.server_id.distinct()))
    .join(hosts, hosts.c.name == allocations.c.host)
    .where(hosts.c.name.in_(_THERE), sa.bindparam("zone", type_=sa.String) != ZONE)
)

_EVERY_MEMBER = Prepared(
    sa.select(members.c.host, aggregates.c.id, aggregates.c.zone).join(aggregates).order_by(aggregates.c.id)
)
_TOLD = Prepared(
    sa.select(hosts.c.name, hosts.c.aggregates, hosts.c.aggregate_zone).where(
        sa.or_(hosts.c.aggregates != sa.literal((), Json), hosts.c.aggregate_zone.is_not(None))
    )
)


def _read(conn: Connection, rows: Sequence[Any]) -> list[Aggregate]:
    there: dict[int, list[str]] = {row.id: [] for row in rows}
    for aggregate_id, host in _MEMBERS.rows(conn, there):
        there[aggregate_id].append(host)
    return [Aggregate(**row._asdict(), hosts=tuple(there[row.id])) for row in rows]


ROWS: Rows[Aggregate] = Rows(aggregates, _read)


def named(conn: Connection, name: str) -> int | None:
    """Return the id of the aggregate of a name."""
    return conn.scalar(sa.select(aggregates.c.id).where(aggregates.c.name == name))


def uuids(conn: Connection) -> dict[str, int]:
    """Return the ids of all aggregates, by UUID."""
    return {row.uuid: row.id for row in conn.execute(sa.select(aggregates.c.uuid, aggregates.c.id))}


def described(conn: Connection) -> Iterator[Aggregate]:
    """Give all aggregates without their hosts: what flavors may ask for. It is much, where they have much metadata."""
    return (Aggregate(**row._asdict()) for row in conn.execute(sa.select(aggregates)))


def generation(conn: Connection) -> int:
    """Return a number that is another one as soon as `described` gives anything else."""
    return generations.get(conn, aggregates.name)


def add(conn: Connection, aggregate_id: int, host: str, now: datetime) -> None:
    """Put a host that is there into an aggregate that it is not in."""
    conn.execute(members.insert(), {"aggregate_id": aggregate_id, "host": host})
    _tell(conn, host, now)


def remove(conn: Connection, aggregate_id: int, host: str, now: datetime) -> None:
    """Take a host out of an aggregate."""
    conn.execute(members.delete().where(members.c.aggregate_id == aggregate_id, members.c.host == host))
    _tell(conn, host, now)


def tell_zone(conn: Connection, aggregate_id: int, zone: str, now: datetime) -> None:
    """Note with all hosts of an aggregate that they are in its zone."""
    told = hosts.update().where(hosts.c.name.in_(_THERE)).values(aggregate_zone=zone, **_noticed(now))
    conn.execute(told, {"ident": aggregate_id})


def zone_of(conn: Connection, host: str, *, but: int) -> str | None:
    """Return the zone that the aggregates of a host give it, one of them left out."""
    return next((row.zone for row in conn.execute(_OF_HOST, {"ident": host}) if row.zone and row.id != but), None)


def other_zones(conn: Connection, aggregate_id: int, zone: str) -> list[str]:
    """Return the zones but this one that other aggregates give to hosts of an aggregate."""
    return list(conn.scalars(_OTHER_ZONES, {"ident": aggregate_id, "zone": zone}))


def would_move(conn: Connection, aggregate_id: int, zone: str) -> int:
    """Return how many servers have a place on hosts of an aggregate that are in another zone than this."""
    return int(conn.scalar(_MOVED, {"ident": aggregate_id, "zone": zone}) or 0)


def untold(conn: Connection) -> list[str]:
    """Return the hosts whose own row says other than the aggregates that they are in."""
    right: dict[str, tuple[list[int], set[str]]] = {}
    for host, ident, zone in _EVERY_MEMBER.tuples(conn):
        idents, zones = right.setdefault(host, ([], set()))
        idents.append(ident)
        zones |= {zone} - {None}
    told = {name: (list(idents), {zone} - {None}) for name, idents, zone in _TOLD.tuples(conn)}
    return sorted(name for name in right.keys() | told.keys() if right.get(name) != told.get(name))


def _tell(conn: Connection, host: str, now: datetime) -> None:
    there = conn.execute(_OF_HOST, {"ident": host}).all()
    zone = next((row.zone for row in there if row.zone is not None), None)
    values = {"aggregates": [row.id for row in there], "aggregate_zone": zone}
    conn.execute(hosts.update().where(hosts.c.name == host).values(**values, **_noticed(now)))


def _noticed(now: datetime) -> dict[str, Any]:
    """Return what makes all who keep hosts in memory read them again."""
    return {"generation": hosts.c.generation + 1, "updated_at": now}
