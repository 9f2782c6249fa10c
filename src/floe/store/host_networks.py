"""Up to which generation each host's network is wanted, and up to which it has been made so."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core import ahead
from floe.store import listing as lists
from floe.store.prepared import Prepared
from floe.store.schema import HostName, metadata

host_networks = sa.Table(
    "host_networks",
    metadata,
    sa.Column("host", HostName, primary_key=True),
    sa.Column("wanted", sa.BigInteger, nullable=False),
    sa.Column("applied", sa.BigInteger, nullable=False),
    sa.Column("members", sa.BigInteger, nullable=False, default=0, server_default="0"),
    sa.Column("routers", sa.String(400), nullable=False, default="", server_default=""),
)
"""`members` is the position (see `store.group_members`) up to which it was told who is in security groups.

While more is wanted than was applied, `routers` are the ids of the routers that are all that changed since then; empty
where anything else did, or too many.
"""

_ROOM = 400 - 64 - 1
"""How long the list of routers may be for one more to be added."""


_LEAST = sa.bindparam("least", type_=sa.BigInteger)
_NEXT = sa.case((host_networks.c.wanted >= _LEAST, host_networks.c.wanted + 1), else_=_LEAST)
_FOLLOWS = sa.case((host_networks.c.applied == host_networks.c.wanted, _NEXT), else_=host_networks.c.applied)
_ADVANCE = Prepared(
    sa.update(host_networks)
    .where(host_networks.c.host == sa.bindparam("this"))
    .values(wanted=_NEXT, applied=_FOLLOWS)
    .returning(host_networks.c.wanted)
)
_FRESH = lists.new(host_networks)
_STATE = Prepared(
    sa.select(host_networks.c.wanted, host_networks.c.members).where(host_networks.c.host == sa.bindparam("this"))
)
_STALE = Prepared(
    sa.select(host_networks.c.host)
    .where(host_networks.c.wanted > host_networks.c.applied)
    .order_by(host_networks.c.host)
)

_ROUTER = sa.bindparam("router", type_=sa.String())
_ALSO = sa.case(
    (host_networks.c.applied == host_networks.c.wanted, _ROUTER),
    (host_networks.c.routers == "", ""),
    (host_networks.c.routers.contains(_ROUTER), host_networks.c.routers),
    (sa.func.length(host_networks.c.routers) > _ROOM, ""),
    else_=host_networks.c.routers + " " + _ROUTER,
)
_LACKING = Prepared(
    sa.select(host_networks.c.wanted, host_networks.c.routers).where(
        host_networks.c.host == sa.bindparam("this"), host_networks.c.wanted > host_networks.c.applied
    )
)
_ALL = {"wanted": host_networks.c.wanted + 1, "routers": ""}
_APPLIED = Prepared(
    sa.update(host_networks)
    .where(host_networks.c.host == sa.bindparam("this"), host_networks.c.applied < sa.bindparam("to"))
    .values(applied=sa.bindparam("to"))
)


def advance(conn: Connection, host: str, now: datetime, members: Callable[[Connection], int] = lambda _conn: 0) -> int:
    """Count a host's generation up for a change that travels with a command, and return it.

    A host that was up to date stays so: the command brings it all that it lacks. It is `ahead` of the clock, for by no
    answer of the host it would be noticed that it had that one already. One that has had nothing yet begins at the
    position that `members` reads.
    """
    least = ahead.of_clock(now)
    found = _ADVANCE.first(conn, this=host, least=least)
    if found is None:
        _FRESH.write(conn, host=host, wanted=0, applied=0, members=members(conn), routers="")
        found = _ADVANCE.first(conn, this=host, least=least)
    return int(found.wanted)


def want(conn: Connection, hosts: Iterable[str]) -> None:
    """Count the generation of hosts up: each has to be sent its whole network."""
    for host in sorted(set(hosts)):
        conn.execute(
            lists.insert(conn, host_networks)
            .values(host=host, wanted=1, applied=0)
            .on_conflict_do_update(index_elements=[host_networks.c.host], set_=_ALL)
        )


def want_where(conn: Connection, hosts: sa.Select[tuple[str | None]], named: Mapping[str, Any]) -> int:
    """Do the same for the hosts that a query names; return how many they were.

    `hosts` is one of the queries of `store.ports`, and `named` its parameters.
    """
    return conn.execute(_want(hosts), dict(named)).rowcount


@functools.cache
def _want(hosts: sa.Select[tuple[str | None]]) -> sa.Update:
    return sa.update(host_networks).where(host_networks.c.host.in_(hosts)).values(_ALL)


def want_router(conn: Connection, hosts: sa.Select[tuple[str | None]], ident: str, router_id: str) -> int:
    """Do the same where it is about a router alone, of which these hosts need not be sent more; `ident` names them."""
    return conn.execute(_want_router(hosts), {"ident": ident, "router": router_id}).rowcount


@functools.cache
def _want_router(hosts: sa.Select[tuple[str | None]]) -> sa.Update:
    changes = {"wanted": host_networks.c.wanted + 1, "routers": _ALSO}
    return sa.update(host_networks).where(host_networks.c.host.in_(hosts)).values(changes)


def lacking(conn: Connection, host: str) -> tuple[int, list[str]] | None:
    """Return what generation is wanted of a host that is not up to date, and which routers are all it lacks, if any."""
    found = _LACKING.first(conn, this=host)
    return None if found is None else (found.wanted, found.routers.split())


def wanted(conn: Connection, host: str) -> int:
    """Return the generation a host should be at; 0 for one that has never had a port."""
    return state(conn, host)[0]


def state(conn: Connection, host: str) -> tuple[int, int]:
    """Return the generation a host should be at, and the position up to which it was told of members of groups."""
    found = _STATE.first(conn, this=host)
    return (0, 0) if found is None else (found.wanted, found.members)


def catch_up(conn: Connection, host: str, generation: int) -> None:
    """Go ahead of a generation that a host has heard of; it has to be sent its whole network."""
    if generation >= ahead.BELIEVABLE:
        return
    conn.execute(
        lists.insert(conn, host_networks)
        .values(host=host, wanted=generation + 1, applied=generation)
        .on_conflict_do_update(index_elements=[host_networks.c.host], set_={"wanted": generation + 1, "routers": ""})
    )


def remove(conn: Connection, host: str) -> None:
    """Forget a host."""
    conn.execute(host_networks.delete().where(host_networks.c.host == host))


def stale(conn: Connection) -> list[str]:
    """Return the hosts that are not up to date."""
    return [row.host for row in _STALE.rows(conn)]


def applied(conn: Connection, host: str, generation: int) -> None:
    """Record that a host is at a generation, or further."""
    _APPLIED.write_later(conn, {"this": host, "to": generation})
