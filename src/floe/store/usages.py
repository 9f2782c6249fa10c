"""What projects used: servers that are there, that are gone, and those of which little more than that is kept."""

from __future__ import annotations

import heapq
from datetime import datetime
from itertools import islice
from operator import attrgetter
from typing import Any

import sqlalchemy as sa

from floe.core.usages import UsedServer
from floe.store import past_servers
from floe.store.engine import Connection
from floe.store.servers import servers

_s = servers.c
_COLUMNS = (
    _s.number,
    _s.id,
    _s.project_id,
    _s.name,
    _s.flavor,
    _s.vcpus,
    _s.memory_mib,
    _s.launched_at,
    _s.terminated_at,
    _s.vm_state,
)
USED = sa.select(*_COLUMNS)
"""Servers with what `used` needs."""


def between(
    conn: Connection, project_id: str | None, start: datetime, stop: datetime, *, after: str | None, limit: int
) -> list[UsedServer]:
    """Return the servers, gone or not, that were there at some time of a span, by id; None means of all projects.

    A negative limit is none.
    """
    statement = USED.where(_s.launched_at <= stop, sa.or_(_s.terminated_at.is_(None), _s.terminated_at >= start))
    if project_id is not None:
        statement = statement.where(_s.project_id == project_id)
    if after is not None:
        statement = statement.where(_s.id > after)
    most = limit if limit >= 0 else None
    known = [used(row) for row in conn.execute(statement.order_by(_s.id).limit(most))]
    past = past_servers.between(conn, project_id, start, stop, after=after, most=most)
    return list(islice(heapq.merge(known, past, key=attrgetter("id")), most))


def used(row: Any) -> UsedServer:
    """Return what a row of `USED` says."""
    return UsedServer(
        id=row.id,
        project_id=row.project_id,
        name=row.name,
        flavor_name=row.flavor["name"],
        vcpus=row.vcpus,
        memory_mib=row.memory_mib,
        disk_gib=row.flavor["root_gib"] + row.flavor["ephemeral_gib"],
        launched_at=row.launched_at,
        terminated_at=row.terminated_at,
        vm_state=row.vm_state,
    )
