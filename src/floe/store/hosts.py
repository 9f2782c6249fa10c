"""Hosts: what each offers, what is taken of it, and when it was last heard of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from floe.core.hosts import Host
from floe.core.resources import Inventory, Resources
from floe.store.engine import Connection
from floe.store.prepared import Prepared
from floe.store.schema import Json, Moment, metadata

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

_BY_NAME = Prepared(sa.select(hosts).where(hosts.c.name == sa.bindparam("ident")))
_ALL = sa.select(hosts).order_by(hosts.c.number)
_COUNT = sa.select(sa.func.count()).select_from(hosts)
_CHANGED = sa.select(hosts).where(hosts.c.updated_at >= sa.bindparam("since")).order_by(hosts.c.number)


def put(conn: Connection, host: Host) -> Host:
    """Write what a host says of itself; what operators set of it, and what is taken of it, stays."""
    known = get(conn, host.name)
    said: dict[str, Any] = {
        **_said(host),
        "connected": True,
        "vcpus_capacity": host.inventory("VCPU").capacity,
        "memory_capacity": host.inventory("MEMORY_MB").capacity,
        "disk_capacity": host.inventory("DISK_GB").capacity,
        "updated_at": host.updated_at,
        "started_at": host.started_at,
        "last_seen": host.last_seen,
    }
    if known is None:
        said |= {"name": host.name, "created_at": host.created_at}
        conn.execute(hosts.insert().values(said))
    else:
        moved = known.inventories != host.inventories or known.traits != tuple(sorted(host.traits))
        said["generation"] = hosts.c.generation + (1 if moved else 0)
        conn.execute(hosts.update().where(hosts.c.name == host.name).values(said))
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
    row = _BY_NAME.first(conn, ident=name)
    return _host(row) if row else None


def every(conn: Connection, since: datetime | None = None) -> list[Host]:
    """Return all hosts, oldest first, or those whose row changed at or after a moment."""
    rows = conn.execute(_ALL) if since is None else conn.execute(_CHANGED, {"since": since})
    return [_host(row) for row in rows]


def find(conn: Connection, part: str = "", after: int = 0, limit: int | None = None) -> list[Host]:
    """Return hosts with that part in their name, oldest first: at most `limit`, behind the one with number `after`."""
    statement = _ALL.where(hosts.c.number > after).limit(limit)
    if part:
        statement = statement.where(sa.func.instr(hosts.c.name, part) > 0)
    return [_host(row) for row in conn.execute(statement)]


def count(conn: Connection) -> int:
    """Return how many hosts there are."""
    return int(conn.scalar(_COUNT) or 0)


def change(conn: Connection, name: str, now: datetime, **values: Any) -> bool:
    """Set what an operator may set (`enabled`, `disabled_reason`, `forced_down`), or `connected`."""
    statement = hosts.update().where(hosts.c.name == name).values(updated_at=now, **values)
    return conn.execute(statement).rowcount == 1


def remove(conn: Connection, name: str) -> bool:
    """Forget a host."""
    return conn.execute(hosts.delete().where(hosts.c.name == name)).rowcount == 1


def seen(conn: Connection, times: Mapping[str, datetime]) -> None:
    """Write when hosts were last heard of, several at once; they are connected, then."""
    statement = (
        hosts.update()
        .where(hosts.c.name == sa.bindparam("host"))
        .values(last_seen=sa.bindparam("when"), connected=True)
    )
    if times:
        conn.execute(statement, [{"host": name, "when": when} for name, when in times.items()])


def _host(row: sa.Row[Any]) -> Host:
    return Host(
        name=row.name,
        number=row.number,
        hypervisor_type=row.hypervisor_type,
        hypervisor_version=row.hypervisor_version,
        inventories=tuple(Inventory(**item) for item in row.inventories),
        traits=tuple(row.traits),
        cpu_info=row.cpu_info,
        address=row.address,
        availability_zone=row.availability_zone,
        enabled=row.enabled,
        disabled_reason=row.disabled_reason,
        forced_down=row.forced_down,
        connected=row.connected,
        used=Resources(row.vcpus_used, row.memory_used, row.disk_used),
        generation=row.generation,
        created_at=row.created_at,
        updated_at=row.updated_at,
        started_at=row.started_at,
        last_seen=row.last_seen,
    )
