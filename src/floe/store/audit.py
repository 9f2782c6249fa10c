"""What the audit reads: the rows that have to agree with each other and with the hosts, and what must never be.

`rows` reads all of it, for clouds that are small. A large one is read in portions that can be judged each by itself:
what no server has (`loose`), a number of servers (`slice_after`), and what should be on one host (`of_host`). Of the
servers the database itself leaves out those that are plainly in order, which in a sound cloud are nearly all.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import msgspec
import sqlalchemy as sa

from floe.core.actions import IMAGE, OPEN_STATES, SERVER
from floe.core.hosts import FORMER, RUNNING
from floe.core.ports import INACTIVE
from floe.core.server_groups import AFFINITY, ANTI_AFFINITY
from floe.core.server_states import BUILT
from floe.core.servers import ERROR, SHELVED, SOFT_DELETED
from floe.store import (
    aggregates,
    audit_quotas,
    audit_routers,
    functions,
    image_blobs,
    image_usage,
    quota_usages,
    travelling_images,
)
from floe.store.actions import actions
from floe.store.addresses import port_addresses
from floe.store.allocations import allocations
from floe.store.audit_quotas import told
from floe.store.engine import Connection
from floe.store.holdings import holdings
from floe.store.hosts import hosts
from floe.store.listing import ByIds
from floe.store.port_bindings import drifted, port_bindings
from floe.store.ports import ports
from floe.store.prepared import Prepared
from floe.store.schema import Moment
from floe.store.server_groups import server_groups
from floe.store.servers import servers
from floe.store.shelved_servers import shelved_servers

_MOST_BLOBS = 100_000
Row: TypeAlias = Any
"""A row with the columns of its statement below."""


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """A consistent view, of all or of a portion. `addresses` counts those of each port, or of each that is gone; `open`
    maps servers to kinds of open actions.
    """

    servers: dict[str, Row] = msgspec.field(default_factory=dict)
    """Those that are not gone, by id."""
    allocations: list[Row] = msgspec.field(default_factory=list)
    ports: list[Row] = msgspec.field(default_factory=list)
    addresses: dict[str, int] = msgspec.field(default_factory=dict)
    hosts: dict[str, Row] = msgspec.field(default_factory=dict)
    holdings: dict[str, set[str]] = msgspec.field(default_factory=dict)
    """The hosts on which something of each server may be."""
    open: dict[str, list[str]] = msgspec.field(default_factory=dict)
    broken: list[tuple[str, str, str]] = msgspec.field(default_factory=list)
    """What `instant` found."""
    image_data: dict[str, str] = msgspec.field(default_factory=dict)
    """The blob of each image that has data."""
    image_blobs: set[str] = msgspec.field(default_factory=set)
    """Blobs that are being written or removed."""
    stuck_images: list[str] = msgspec.field(default_factory=list)
    """Those being saved with nobody at it."""
    loose_blobs: set[str] = msgspec.field(default_factory=set)
    """Blobs that are being written or removed, with no action at them."""
    open_images: dict[str, list[str]] = msgspec.field(default_factory=dict)
    """Kinds of open actions of images."""


def _is_kept() -> sa.ColumnElement[bool]:
    """Return the condition of a server of which a row says in which image it is kept."""
    return sa.exists().where(shelved_servers.c.server_id == servers.c.id).correlate(servers)


_SERVERS = sa.select(
    servers.c.number,
    servers.c.id,
    servers.c.vm_state,
    servers.c.task_state,
    servers.c.power_state,
    servers.c.host,
    servers.c.group_id,
    servers.c.vcpus,
    servers.c.memory_mib,
    servers.c.networks,
    servers.c.fault,
    servers.c.former,
    _is_kept().label("kept"),
    sa.case((servers.c.former.is_not(None), servers.c.flavor)).label("flavor"),
).where(servers.c.deleted_at.is_(None))


def _further(query: sa.Select[Any]) -> sa.Select[Any]:
    """Give a query the condition of being a further binding of a port."""
    return query.where(port_bindings.c.port_id == ports.c.id, port_bindings.c.status == INACTIVE)


_PORTS = sa.select(
    ports.c.id, ports.c.network_id, ports.c.server_id, ports.c.made, ports.c.plugged, ports.c.host, ports.c.status,
    ports.c.pinned,
    _further(sa.select(sa.func.count())).scalar_subquery().label("further"),
)  # fmt: skip
_ADDRESSES = sa.select(port_addresses.c.port_id, sa.func.count()).group_by(port_addresses.c.port_id)
_EVERY_HOST = Prepared(
    sa.select(
        hosts.c.name,
        *(hosts.c[f"{what}_{kind}"] for what in ("vcpus", "memory", "disk") for kind in ("used", "capacity")),
    )
)
_IS_OPEN = actions.c.state.in_([sa.literal(state) for state in sorted(OPEN_STATES)])
_OPEN = Prepared(
    sa.select(actions.c.subject_id, actions.c.kind).where(_IS_OPEN, actions.c.subject_kind == sa.bindparam("subject"))
)


_CLAIMS, _HOLDINGS = sa.select(allocations), sa.select(holdings.c.server_id, holdings.c.host)
_EVERY_SERVER, _EVERY_PORT, _EVERY_ADDRESS = Prepared(_SERVERS), Prepared(_PORTS), Prepared(_ADDRESSES)
_EVERY_CLAIM, _EVERY_HOLDING = Prepared(_CLAIMS), Prepared(_HOLDINGS)
_LIVE = sa.select(servers.c.id).where(servers.c.deleted_at.is_(None))
_LOST_CLAIMS = Prepared(_CLAIMS.where(allocations.c.server_id.not_in(_LIVE)))
_LOST_PORTS = Prepared(
    _PORTS.where(
        sa.or_(
            ports.c.server_id.not_in(_LIVE),
            sa.and_(
                ports.c.server_id.is_(None),
                sa.or_(
                    ports.c.made, sa.and_(sa.or_(ports.c.plugged, ports.c.host.is_not(None)), ports.c.pinned.is_(False))
                ),
            ),
        )
    )
)
_LOST_ADDRESSES = Prepared(_ADDRESSES.where(port_addresses.c.port_id.not_in(sa.select(ports.c.id))))
_NEXT = (
    sa.select(servers.c.number)
    .where(servers.c.deleted_at.is_(None), servers.c.number > sa.bindparam("after"))
    .order_by(servers.c.number)
    .limit(sa.bindparam("most", type_=sa.Integer))
    .subquery()
)
_SPAN = Prepared(sa.select(sa.func.count(), sa.func.max(_NEXT.c.number).label("last")))


def _plainly_in_order() -> sa.ColumnElement[bool]:
    """Return the condition of a server with which nothing is done, and which has on its host all that it must have.

    It may miss servers that are in order, those in ERROR for one, but holds for none of which `cloud.audit` has
    anything to tell.
    """
    s, a, p = servers.c, allocations.c, ports.c
    its_claims = sa.select(sa.func.count()).where(a.server_id == s.id)
    as_much = (a.vcpus == s.vcpus, a.memory_mib == s.memory_mib)
    good = (a.server_id == s.id, a.host == s.host, a.purpose == RUNNING, *as_much)
    its_ports = sa.select(sa.func.count()).where(p.server_id == s.id)
    further = _further(sa.select(sa.literal(1)).select_from(port_bindings)).exists()
    amiss = sa.or_(sa.func.coalesce(p.host, "") != s.host, p.plugged.is_(False), further)
    return sa.and_(
        s.task_state.is_(None),
        s.former.is_(None),
        s.vm_state.in_([sa.literal(state) for state in sorted(BUILT)]),
        sa.func.coalesce(s.host, "") != "",
        its_claims.scalar_subquery() == 1,
        (s.vm_state == sa.literal(SHELVED)) == _is_kept(),
        sa.exists().where(*good),
        sa.exists().where(holdings.c.server_id == s.id, holdings.c.host == s.host),
        its_ports.scalar_subquery() == functions.length_of_array(s.networks),
        sa.not_(sa.exists().where(p.server_id == s.id, amiss)),
    )


_SLICE = Prepared(
    _SERVERS.where(
        servers.c.number > sa.bindparam("after"),
        servers.c.number <= sa.bindparam("last"),
        _plainly_in_order().is_not(sa.true()),
    )
)
_CLAIMS_OF = ByIds(_CLAIMS, allocations.c.server_id)
_PORTS_OF = ByIds(_PORTS, ports.c.server_id)
_ON_HOST = Prepared(
    sa.select(servers.c.id, servers.c.vm_state, servers.c.power_state, servers.c.host).where(
        servers.c.host == sa.bindparam("host"), servers.c.deleted_at.is_(None)
    )
)
_HALVES = Prepared(
    _CLAIMS.where(allocations.c.host == sa.bindparam("host"), allocations.c.purpose == sa.literal(FORMER))
)
_HOLDINGS_OF = ByIds(_HOLDINGS, holdings.c.server_id)


def loose(conn: Connection) -> Rows:
    """Read what no server has that is not gone, images, hosts, what is under way, and what must never be."""
    return Rows(
        allocations=_LOST_CLAIMS.rows(conn),
        ports=_LOST_PORTS.rows(conn),
        addresses={row[0]: row[1] for row in _LOST_ADDRESSES.tuples(conn)},
        hosts={row.name: row for row in _EVERY_HOST.rows(conn)},
        open=_open(conn),
        broken=instant(conn),
        **_images(conn),
    )


def slice_after(conn: Connection, number: int, most: int) -> tuple[Rows, int | None]:
    """Read the next servers, those of numbers after one; and the number to go on after.

    The portion has those that are not plainly in order, with all that they hold.
    """
    count, last = _SPAN.first(conn, after=number, most=most)
    doubtful = _SLICE.rows(conn, after=number, last=last) if count else []
    following = last if count == most else None
    if not doubtful:
        return Rows(), following
    ids = [row.id for row in doubtful]
    portion = Rows(
        servers={row.id: row for row in doubtful},
        allocations=list(_CLAIMS_OF.rows(conn, ids)),
        ports=list(_PORTS_OF.rows(conn, ids)),
        holdings=_holdings(_HOLDINGS_OF.rows(conn, ids)),
        open=_open(conn),
    )
    return portion, following


def of_host(conn: Connection, host: str) -> Rows:
    """Read the servers that are on a host, or have a half there, as far as they are compared; and what is under way."""
    here = {row.id: row for row in _ON_HOST.rows(conn, host=host)}
    return Rows(servers=here, allocations=list(_HALVES.rows(conn, host=host)), open=_open(conn))


def _images(conn: Connection) -> dict[str, Any]:
    return {
        "image_data": image_blobs.data(conn),
        "image_blobs": {blob.id for blob in image_blobs.find(conn, limit=_MOST_BLOBS)},
        "stuck_images": image_blobs.abandoned(conn),
        "loose_blobs": {blob.id for blob in image_blobs.without_action(conn, limit=_MOST_BLOBS)},
        "open_images": _open(conn, IMAGE),
    }


def _holdings(found: Iterable[Row]) -> dict[str, set[str]]:
    held: dict[str, set[str]] = {}
    for server_id, host in found:
        held.setdefault(server_id, set()).add(host)
    return held


def _open(conn: Connection, subject: str = SERVER) -> dict[str, list[str]]:
    open_actions: dict[str, list[str]] = {}
    for ident, kind in _OPEN.rows(conn, subject=subject):
        open_actions.setdefault(ident, []).append(kind)
    return open_actions


def rows(conn: Connection) -> Rows:
    """Read it all."""
    return Rows(
        servers={row.id: row for row in _EVERY_SERVER.rows(conn)},
        allocations=_EVERY_CLAIM.rows(conn),
        ports=_EVERY_PORT.rows(conn),
        addresses={row[0]: row[1] for row in _EVERY_ADDRESS.tuples(conn)},
        holdings=_holdings(_EVERY_HOLDING.tuples(conn)),
        hosts={row.name: row for row in _EVERY_HOST.rows(conn)},
        open=_open(conn),
        broken=instant(conn),
        **_images(conn),
    )


def _claimed() -> sa.CompoundSelect[Any]:
    a, g, h, s = allocations.c, server_groups.c, hosts.c, servers.c
    used = (
        sa.select(
            a.host,
            sa.func.sum(a.vcpus).label("vcpus"),
            sa.func.sum(a.memory_mib).label("memory"),
            sa.func.sum(a.disk_gib).label("disk"),
        )
        .group_by(a.host)
        .subquery()
    )
    columns = ((h.vcpus_used, used.c.vcpus), (h.memory_used, used.c.memory), (h.disk_used, used.c.disk))
    members = sa.select(g.id).join(allocations, a.group_id == g.id)
    return sa.union_all(
        sa.select(*told("more is claimed of the host than it has", h.name)).where(
            sa.or_(h.vcpus_used > h.vcpus_capacity, h.memory_used > h.memory_capacity, h.disk_used > h.disk_capacity)
        ),
        sa.select(*told("what is claimed of the host is not the sum of its allocations", h.name))
        .outerjoin(used, used.c.host == h.name)
        .where(sa.or_(*(column != sa.func.coalesce(total, 0) for column, total in columns))),
        members.with_only_columns(*told("anti-affinity is broken in the group", g.id))
        .where(g.policy == ANTI_AFFINITY)
        .group_by(g.id, g.max_per_host, a.host)
        .having(sa.func.count(a.server_id.distinct()) > sa.func.coalesce(g.max_per_host, 1)),
        members.with_only_columns(*told("affinity is broken in the group", g.id))
        .where(g.policy == AFFINITY)
        .group_by(g.id)
        .having(sa.func.count(a.host.distinct()) > 1, sa.func.count(a.server_id.distinct()) > 1),
        sa.select(*told("the secrets of an action outlive it", actions.c.id)).where(
            actions.c.sealed.is_not(None), sa.not_(_IS_OPEN)
        ),
        sa.select(*told("a server is soft-deleted for ever, or will be reclaimed that is not", s.id)).where(
            s.task_state.is_(None),
            s.deleted_at.is_(None),
            s.vm_state != sa.literal(ERROR),
            (s.vm_state == sa.literal(SOFT_DELETED)) != s.reclaim_at.is_not(None),
        ),
        sa.select(*told("an allocation is not where its server is, with which nothing is done", s.id))
        .join(allocations, a.server_id == s.id)
        .where(
            sa.func.coalesce(s.host, "") != a.host,
            a.purpose == RUNNING,
            s.task_state.is_(None),
            s.deleted_at.is_(None),
            s.id.not_in(sa.select(actions.c.subject_id).where(_IS_OPEN, actions.c.subject_kind == sa.literal(SERVER))),
        ),
    )


_INSTANT = (Prepared(_claimed()), Prepared(sa.union_all(*audit_quotas.exceeded())))
"""Two, because SQLite takes ten times as long for one with the memory that all their groups need at the same time."""


def instant(conn: Connection) -> list[tuple[str, str, str]]:
    """Return what must hold after every commit and does not: what it is, of whom, and more of it."""
    found = [(row[0], row[1], "") for statement in _INSTANT for row in statement.tuples(conn)]
    found += ((*each, "") for each in audit_routers.broken(conn))
    for drift in quota_usages.drifted(conn):
        text = f"{drift.resource}: {drift.counted} counted, {drift.there} there"
        found.append(("what quotas limit is not counted right", drift.owner, text))
    found += [("a port's active binding is not what its row says", port_id, "") for port_id in drifted(conn)]
    found += [("its row says other than the aggregates of the host", host, "") for host in aggregates.untold(conn)]
    found += [("what a server travelled as is left", image_id, "") for image_id in travelling_images.left(conn)]
    right, counted = image_usage.real(conn), image_usage.counted(conn)
    wrong = sorted(owner for owner in right.keys() | counted.keys() if right.get(owner) != counted.get(owner))
    return found + [("what is counted of the images of the project is not what there is", owner, "") for owner in wrong]


_a, _ahead = actions.c, actions.alias("ahead")
_SINCE = sa.func.coalesce(_a.lease_until, _a.updated_at, _a.created_at, type_=Moment())
_UNTAKEN = (
    sa.select(_a.id, _a.kind, _a.subject_id.label("subject"), _SINCE.label("since"))
    .where(
        _a.state.in_(sorted(OPEN_STATES)),
        sa.bindparam("before", type_=Moment()) > _SINCE,
        sa.not_(
            sa.exists().where(
                _ahead.c.kind == _a.kind,
                _ahead.c.state.in_(sorted(OPEN_STATES)),
                _ahead.c.created_at <= _a.created_at,
                _ahead.c.lease_until >= sa.bindparam("now", type_=Moment()),
            )
        ),
    )
    .order_by(_a.created_at)
)


def untaken(conn: Connection, now: datetime, patience: timedelta) -> list[Row]:
    """Return the open actions that nobody has held for longer than `patience`, with the time `since`.

    A conductor does so many of a kind at once, the oldest first: while it is at an older one, those behind it wait
    their turn and are left out.
    """
    return list(conn.execute(_UNTAKEN, {"now": now, "before": now - patience}))
