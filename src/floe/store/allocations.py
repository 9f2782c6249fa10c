"""Allocations: what each server takes of a host, and what for, claimed so that no race can take more than there is.

What is taken of a host stands in columns of its row, and one conditional UPDATE both checks and takes; the
allocation's row is written in the same transaction, and so is every release. Sum and columns cannot drift.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from floe.core.hosts import FORMER, RUNNING, Allocation, HostSeen
from floe.core.resources import Resources
from floe.core.server_groups import AFFINITY, ANTI_AFFINITY, ServerGroup
from floe.store.engine import Connection
from floe.store.hosts import ZONE, hosts
from floe.store.prepared import Prepared
from floe.store.schema import Ident, Json, Moment, metadata

allocations = sa.Table(
    "allocations",
    metadata,
    sa.Column("server_id", Ident, primary_key=True),
    sa.Column("host", sa.String(255), primary_key=True),
    sa.Column("purpose", sa.String(32), primary_key=True, server_default=RUNNING),
    sa.Column("project_id", Ident, nullable=False),
    sa.Column("user_id", Ident, nullable=False),
    sa.Column("group_id", Ident),
    sa.Column("vcpus", sa.BigInteger, nullable=False),
    sa.Column("memory_mib", sa.BigInteger, nullable=False),
    sa.Column("disk_gib", sa.BigInteger, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Index("ix_allocations_host", "host"),
    sa.Index("ix_allocations_group", "group_id"),
    sa.Index("ix_allocations_project", "project_id", "user_id"),
)

_h = hosts.c
_TAKE = Prepared(
    hosts.update()
    .where(
        _h.name == sa.bindparam("host"),
        _h.vcpus_used + sa.bindparam("v", type_=sa.BigInteger) <= _h.vcpus_capacity,
        _h.memory_used + sa.bindparam("m", type_=sa.BigInteger) <= _h.memory_capacity,
        _h.disk_used + sa.bindparam("d", type_=sa.BigInteger) <= _h.disk_capacity,
        _h.forced_down.is_(False),
        sa.or_(_h.enabled.is_(True), sa.bindparam("forced", type_=sa.Boolean)),
        sa.or_(
            sa.bindparam("anywhere", type_=sa.Boolean),
            sa.and_(
                sa.bindparam("known_zone", type_=sa.String) == ZONE,
                _h.aggregates == sa.bindparam("known_aggregates", type_=Json),
                _h.started_at == sa.bindparam("known_start", type_=Moment),
            ),
        ),
    )
    .values(
        vcpus_used=_h.vcpus_used + sa.bindparam("v", type_=sa.BigInteger),
        memory_used=_h.memory_used + sa.bindparam("m", type_=sa.BigInteger),
        disk_used=_h.disk_used + sa.bindparam("d", type_=sa.BigInteger),
        generation=_h.generation + 1,
        updated_at=sa.bindparam("now", type_=Moment),
    )
)
_GIVE = Prepared(
    hosts.update()
    .where(_h.name == sa.bindparam("host"))
    .values(
        vcpus_used=_h.vcpus_used - sa.bindparam("v", type_=sa.BigInteger),
        memory_used=_h.memory_used - sa.bindparam("m", type_=sa.BigInteger),
        disk_used=_h.disk_used - sa.bindparam("d", type_=sa.BigInteger),
        generation=_h.generation + 1,
        updated_at=sa.bindparam("now", type_=Moment),
    )
)
_ADD = Prepared(allocations.insert())
_OF_SERVER = Prepared(sa.select(allocations).where(allocations.c.server_id == sa.bindparam("ident")))
_OF_HOST = sa.select(allocations).where(allocations.c.host == sa.bindparam("ident"))
_REMOVE = Prepared(
    allocations.delete()
    .where(
        allocations.c.server_id == sa.bindparam("ident"),
        sa.or_(sa.bindparam("anywhere", type_=sa.Boolean), allocations.c.host == sa.bindparam("place")),
        sa.or_(sa.bindparam("whatever", type_=sa.Boolean), allocations.c.purpose == sa.bindparam("why")),
    )
    .returning(*allocations.c)
)
_REPURPOSE = Prepared(
    allocations.update()
    .where(allocations.c.server_id == sa.bindparam("ident"), allocations.c.purpose == sa.bindparam("old"))
    .values(purpose=sa.bindparam("new"))
)
_HALF = (allocations.c.host == sa.bindparam("there"), allocations.c.purpose == sa.literal(FORMER))
_HALVES = Prepared(sa.select(allocations.c.server_id).where(*_HALF))
_COUNT = sa.select(sa.func.count(allocations.c.server_id.distinct())).where(
    allocations.c.host == sa.bindparam("there", type_=sa.String)
)
_IS_HALF = Prepared(sa.select(allocations.c.server_id).where(allocations.c.server_id == sa.bindparam("ident"), *_HALF))
_MEMBERS = Prepared(
    sa.select(allocations.c.host, sa.func.count(allocations.c.server_id.distinct()))
    .where(allocations.c.group_id == sa.bindparam("ident"), allocations.c.server_id != sa.bindparam("me"))
    .group_by(allocations.c.host)
)


class NotClaimed(Exception):
    """The host has no room (any more), or the server group's policy forbids it; nothing was written."""


def claim(
    conn: Connection,
    wanted: Allocation,
    *,
    group: ServerGroup | None = None,
    forced: bool = False,
    seen: HostSeen | None = None,
) -> None:
    """Take what a server needs of a host; the truth that the scheduler's guess has to meet.

    `forced` takes it of a disabled host, too. `seen` is the host as it was when it was chosen, where it was: it has to
    be so still. Raises NotClaimed, after which the transaction may go on with another host.
    """
    if group is not None:
        refusal = group_refusal(group, members(conn, group.id, but=wanted.server_id), wanted.host)
        if refusal:
            raise NotClaimed(refusal)
    place = {
        "anywhere": seen is None,
        "known_zone": seen and seen.zone,
        "known_aggregates": seen and seen.aggregates,
        "known_start": seen and seen.started_at,
    }
    values = {"host": wanted.host, "forced": forced, "now": wanted.created_at, **place}
    if _TAKE.write(conn, **_amounts(wanted.resources), **values) != 1:
        raise NotClaimed("the host has no room for it, takes no servers now, or is not what it was when it was chosen")
    taken = {
        "server_id": wanted.server_id,
        "host": wanted.host,
        "purpose": wanted.purpose,
        "project_id": wanted.project_id,
        "user_id": wanted.user_id,
        "group_id": wanted.group_id,
        "vcpus": wanted.resources.vcpus,
        "memory_mib": wanted.resources.memory_mib,
        "disk_gib": wanted.resources.disk_gib,
        "created_at": wanted.created_at,
    }
    _ADD.write_later(conn, taken)


def release(
    conn: Connection, server_id: str, now: datetime, *, host: str | None = None, purpose: str | None = None
) -> list[Allocation]:
    """Give back what a server takes, and return what it was; nothing where there is nothing.

    That is all, or only what it takes of one host, or for one purpose, or both.
    """
    which = {"anywhere": host is None, "place": host, "whatever": purpose is None, "why": purpose}
    held = [_allocation(row) for row in _REMOVE.rows(conn, ident=server_id, **which)]
    for item in held:
        _GIVE.write_later(conn, _amounts(item.resources) | {"host": item.host, "now": now})
    return held


def repurpose(conn: Connection, server_id: str, old: str, new: str) -> None:
    """Have what a server takes for one purpose be taken for another."""
    _REPURPOSE.write_later(conn, {"ident": server_id, "old": old, "new": new})


def group_refusal(group: ServerGroup, hosts_of_members: dict[str, int], host: str) -> str:
    """Return why a group's policy forbids a host, given how many members each host has; empty if it does not."""
    limit = group.limit_per_host
    there = hosts_of_members.get(host, 0)
    if group.policy == ANTI_AFFINITY and there >= limit:
        return f"anti-affinity: {there} of the server group are there, at most {limit} may be"
    if group.policy == AFFINITY and any(other != host for other in hosts_of_members):
        return "affinity: the server group is on another host"
    return ""


def members(conn: Connection, group_id: str, *, but: str = "") -> dict[str, int]:
    """Return how many servers of a group each host holds, one server left out.

    One that holds something of two hosts is on both: it may end on either.
    """
    return {row[0]: row[1] for row in _MEMBERS.rows(conn, ident=group_id, me=but)}


def of_server(conn: Connection, server_id: str) -> list[Allocation]:
    """Return what a server takes."""
    return [_allocation(row) for row in _OF_SERVER.rows(conn, ident=server_id)]


def of_host(conn: Connection, host: str) -> list[Allocation]:
    """Return what is taken of a host."""
    return [_allocation(row) for row in conn.execute(_OF_HOST, {"ident": host})]


def halves(conn: Connection, host: str) -> set[str]:
    """Return the servers of which a host keeps what they were before they moved, or were resized."""
    return {row.server_id for row in _HALVES.rows(conn, there=host)}


def is_half(conn: Connection, server_id: str, host: str) -> bool:
    """Say whether a host keeps what a server was before it moved, or was resized."""
    return _IS_HALF.first(conn, ident=server_id, there=host) is not None


def count(conn: Connection, host: str) -> int:
    """Return how many servers have a place on a host: they are there, come there, or may go back there."""
    return int(conn.scalar(_COUNT, {"there": host}) or 0)


def hosts_of(conn: Connection, server_ids: Iterable[str]) -> dict[str, str]:
    """Return the hosts on which the guests of servers are, by server id; those without one are left out."""
    rows = conn.execute(
        sa.select(allocations.c.server_id, allocations.c.host).where(
            allocations.c.server_id.in_(list(server_ids)), allocations.c.purpose == RUNNING
        )
    )
    return {row[0]: row[1] for row in rows}


def usage(conn: Connection, project_id: str, user_id: str | None = None) -> tuple[Resources, int]:
    """Return what the servers of a project (or of one user in it) take of all hosts, and how many they are."""
    chosen = [allocations.c.project_id == project_id]
    if user_id is not None:
        chosen.append(allocations.c.user_id == user_id)
    columns = (allocations.c.vcpus, allocations.c.memory_mib, allocations.c.disk_gib)
    count = sa.func.count(allocations.c.server_id.distinct())
    row = conn.execute(sa.select(*(sa.func.sum(column) for column in columns), count).where(*chosen)).one()
    return Resources(int(row[0] or 0), int(row[1] or 0), int(row[2] or 0)), int(row[3])


def _amounts(resources: Resources) -> dict[str, int]:
    return {"v": resources.vcpus, "m": resources.memory_mib, "d": resources.disk_gib}


def _allocation(row: Any) -> Allocation:
    return Allocation(
        server_id=row.server_id,
        host=row.host,
        purpose=row.purpose,
        project_id=row.project_id,
        user_id=row.user_id,
        group_id=row.group_id,
        resources=Resources(row.vcpus, row.memory_mib, row.disk_gib),
        created_at=row.created_at,
    )
