"""Hosts: what each offers, what is taken of it, and when it was last heard of."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import msgspec
import sqlalchemy as sa

from floe.core.hosts import Host
from floe.core.resources import Inventory, Resources
from floe.store import functions
from floe.store.engine import Connection
from floe.store.prepared import Prepared
from floe.store.schema import Json, Moment, known_moment, metadata

hosts = sa.Table(
    "hosts",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("hypervisor_type", sa.String(64), nullable=False),
    sa.Column("hypervisor_version", sa.BigInteger, nullable=False),
    sa.Column("inventories", Json, nullable=False),
    sa.Column("traits", Json, nullable=False),
    sa.Column("cpu_info", Json, nullable=False),
    sa.Column("address", sa.String(255), nullable=False),
    sa.Column("availability_zone", sa.String(255), nullable=False),
    sa.Column("aggregates", Json, nullable=False, default=(), server_default="[]"),
    sa.Column("aggregate_zone", sa.String(255)),
    sa.Column("enabled", sa.Boolean, nullable=False, default=True),
    sa.Column("disabled_reason", sa.String(255)),
    sa.Column("forced_down", sa.Boolean, nullable=False, default=False),
    sa.Column("connected", sa.Boolean, nullable=False, default=True),
    sa.Column("vcpus_capacity", sa.BigInteger, nullable=False),
    sa.Column("memory_capacity", sa.BigInteger, nullable=False),
    sa.Column("disk_capacity", sa.BigInteger, nullable=False),
    sa.Column("vcpus_used", sa.BigInteger, nullable=False, default=0),
    sa.Column("memory_used", sa.BigInteger, nullable=False, default=0),
    sa.Column("disk_used", sa.BigInteger, nullable=False, default=0),
    sa.Column("generation", sa.BigInteger, nullable=False, default=0),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("last_seen", Moment, nullable=False),
    sa.Index("ix_hosts_updated", "updated_at"),
)

SAID = (
    "hypervisor_type",
    "hypervisor_version",
    "inventories",
    "traits",
    "cpu_info",
    "address",
    "availability_zone",
)
"""The columns of what a host says of itself."""


def zone(table: sa.FromClause) -> sa.ColumnElement[str]:
    """Return the availability zone that a host is in, given the table or an alias of it."""
    return sa.func.coalesce(table.c.aggregate_zone, table.c.availability_zone)


ZONE = zone(hosts)
_COLUMNS = [column for column in hosts.c if not column.name.endswith("_capacity")]
"""Those that `_host` takes apart; the others are made of the inventories, for conditions."""
_EACH = sa.select(*_COLUMNS).order_by(hosts.c.number)
_BEHIND = _EACH.where(hosts.c.number > sa.bindparam("after")).limit(sa.bindparam("most"))
_BY_NAME = Prepared(_EACH.where(hosts.c.name == sa.bindparam("ident")))
_ALL = Prepared(_EACH)
_CHANGED = Prepared(_EACH.where(hosts.c.updated_at >= sa.bindparam("since")))
_SOME = Prepared(_BEHIND)
_SOME_WITH = Prepared(_BEHIND.where(functions.place_in(hosts.c.name, sa.bindparam("part", type_=sa.String)) > 0))
# Values go beside the statements, not into them: to build one with so many costs more than to run it, and after a
# restart of a large cloud there is one for each host.
_INSERT = hosts.insert()
_OF_HOST = hosts.update().where(hosts.c.name == sa.bindparam("ident"))
_MOVED = _OF_HOST.values(generation=hosts.c.generation + 1)
_SEEN = Prepared(
    hosts.update()
    .where(
        functions.is_one_of(hosts.c.name, sa.bindparam("idents", type_=sa.String)),
        sa.case(
            (hosts.c.connected, hosts.c.last_seen < sa.bindparam("before")),
            else_=hosts.c.updated_at < sa.bindparam("when"),
        ),
    )
    .values(last_seen=sa.bindparam("when"), connected=True)
)
_BY_NAMES = Prepared(
    sa.select(*_COLUMNS).where(hosts.c.name > sa.bindparam("after")).order_by(hosts.c.name).limit(sa.bindparam("most"))
)
_COUNT = Prepared(sa.select(sa.func.count()).select_from(hosts))
_TICK = timedelta(microseconds=1)
_KINDS = 1024
"""Hosts are of few kinds: what says the same is taken apart once."""


def put(conn: Connection, host: Host) -> Host:
    """Write what a host says of itself; what operators set of it, and what is taken of it, stays.

    It started later than it did before, whatever the clock says: that tells what it says now from what it said then.
    """
    known = get(conn, host.name)
    said: dict[str, Any] = {
        **_said(host),
        "connected": True,
        "vcpus_capacity": host.inventory("VCPU").capacity,
        "memory_capacity": host.inventory("MEMORY_MB").capacity,
        "disk_capacity": host.inventory("DISK_GB").capacity,
        "updated_at": host.updated_at,
        "started_at": host.started_at if known is None else max(host.started_at, known.started_at + _TICK),
        "last_seen": host.last_seen,
    }
    if known is None:
        conn.execute(_INSERT, {**said, "name": host.name, "created_at": host.created_at})
    else:
        moved = known.inventories != host.inventories or known.traits != tuple(sorted(host.traits))
        conn.execute(_MOVED if moved else _OF_HOST, {**said, "ident": host.name})
    after = get(conn, host.name)
    assert after is not None
    return after


def is_known(conn: Connection, host: Host) -> bool:
    """Whether a host is there, connected, and its row has what it says of itself."""
    known = get(conn, host.name)
    return known is not None and known.connected and _said(known) == _said(host)


def _said(host: Host) -> dict[str, Any]:
    said = {name: getattr(host, name) for name in SAID}
    return said | {"traits": sorted(host.traits), "cpu_info": dict(host.cpu_info)}


def get(conn: Connection, name: str) -> Host | None:
    """Return a host."""
    found = _BY_NAME.plain(conn, ident=name)
    return _host(found[0]) if found else None


def every(conn: Connection, since: datetime | None = None) -> list[Host]:
    """Return all hosts, oldest first, or those whose row changed at or after a moment."""
    rows = _ALL.plain(conn) if since is None else _CHANGED.plain(conn, since=since)
    return [_host(row) for row in rows]


def find(conn: Connection, most: int, after: int = 0, part: str = "") -> list[Host]:
    """Return hosts with that part in their name, oldest first: at most so many, behind the one with number `after`."""
    rows = (
        _SOME_WITH.plain(conn, most=most, after=after, part=part) if part else _SOME.plain(conn, most=most, after=after)
    )
    return [_host(row) for row in rows]


def find_by_name(conn: Connection, after: str, most: int) -> list[Host]:
    """Return so many hosts at most, by name, those behind a name."""
    return [_host(row) for row in _BY_NAMES.plain(conn, after=after, most=most)]


def count(conn: Connection) -> int:
    """Return how many hosts there are."""
    ((found,),) = _COUNT.plain(conn)
    return int(found)


def change(conn: Connection, name: str, now: datetime, **values: Any) -> bool:
    """Set what an operator may set (`enabled`, `disabled_reason`, `forced_down`), or `connected`."""
    return conn.execute(_OF_HOST, {"ident": name, "updated_at": now, **values}).rowcount == 1


def remove(conn: Connection, name: str) -> bool:
    """Forget a host."""
    return conn.execute(hosts.delete().where(hosts.c.name == name)).rowcount == 1


def seen(conn: Connection, times: Mapping[str, datetime], fresh: timedelta = timedelta(0)) -> None:
    """Write when hosts were last heard of, by the second; they are connected if that was after they said otherwise.

    Where it is not much (`fresh`) later than what another conductor wrote, its word is enough.
    """
    together: dict[datetime, list[str]] = {}
    for name, heard in times.items():
        together.setdefault(heard.replace(microsecond=0), []).append(name)
    for when, names in together.items():
        _SEEN.write(conn, idents=functions.array_of(names), when=when, before=when - fresh)


def _host(row: tuple[Any, ...]) -> Host:
    """Make a host of a row as the driver has it, in the order of `_COLUMNS`."""
    number, name, kind, version, inventories, traits, cpu_info, address, zone, aggregates, *rest = row
    aggregate_zone, enabled, reason, forced_down, connected, vcpus_used, memory_used, disk_used, generation, *times = (
        rest
    )
    created_at, updated_at, started_at, last_seen = map(known_moment, times)
    return Host(
        name=name,
        number=number,
        hypervisor_type=kind,
        hypervisor_version=version,
        inventories=_inventories(inventories),
        traits=_traits(traits),
        cpu_info=_cpu_info(cpu_info),
        address=address,
        availability_zone=zone,
        aggregates=_numbers(aggregates),
        aggregate_zone=aggregate_zone,
        enabled=bool(enabled),
        disabled_reason=reason,
        forced_down=bool(forced_down),
        connected=bool(connected),
        used=Resources(vcpus_used, memory_used, disk_used),
        generation=generation,
        created_at=created_at,
        updated_at=updated_at,
        started_at=started_at,
        last_seen=last_seen,
    )


@functools.lru_cache(maxsize=_KINDS)
def _inventories(text: str) -> tuple[Inventory, ...]:
    return msgspec.json.decode(text, type=tuple[Inventory, ...])


@functools.lru_cache(maxsize=_KINDS)
def _traits(text: str) -> tuple[str, ...]:
    return tuple(msgspec.json.decode(text))


@functools.lru_cache(maxsize=_KINDS)
def _numbers(text: str) -> tuple[int, ...]:
    return msgspec.json.decode(text, type=tuple[int, ...])


@functools.lru_cache(maxsize=_KINDS)
def _cpu_info(text: str) -> Mapping[str, str]:
    return MappingProxyType(msgspec.json.decode(text))
