"""History: what is over, by kinds; found and forgotten in slices, each of which is a short transaction.

Whoever forgets a slice looks again, so that it does no harm twice, late, or beside another conductor's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import msgspec
import sqlalchemy as sa

from floe.core.actions import IMAGE, OPEN_STATES, SERVER
from floe.core.images import DELETED
from floe.core.server_migrations import OVER
from floe.store import past_servers, usages
from floe.store.actions import actions, steps
from floe.store.allocations import allocations
from floe.store.conductors import conductors
from floe.store.engine import Connection
from floe.store.holdings import holdings
from floe.store.idempotency import idempotency_keys
from floe.store.image_blobs import image_blobs
from floe.store.images import images
from floe.store.past_servers import past_servers as past
from floe.store.prepared import Prepared
from floe.store.schema import Moment
from floe.store.server_disks import server_disks
from floe.store.server_migrations import server_migrations
from floe.store.servers import server_tags, servers
from floe.store.shelved_servers import shelved_servers
from floe.store.tokens import revoked
from floe.store.write_sessions import write_sessions

Rows = dict[str, int]
"""How many, by table."""
Keys: TypeAlias = Any
"""Keys of some subjects: a list of them, or the query that finds them."""


class Kind(msgspec.Struct, frozen=True):
    """One kind of history: `subjects` finds the keys of what was over `before` a moment.

    `deletes` says what goes with them, and `keep` what of them stays, elsewhere. `most` is how many make a slice:
    with all of their rows a few milliseconds of the writer's time.
    """

    most: int
    subjects: sa.Select[Any]
    deletes: Callable[[Keys], tuple[sa.Delete, ...]]
    keep: Callable[[Connection, Keys], None] = lambda _conn, _keys: None


def find(conn: Connection, kind: Kind, before: datetime) -> list[Any]:
    """Return the keys of a slice."""
    return [row[0] if len(row) == 1 else tuple(row) for row in _slice(kind).rows(conn, before=before)]


@functools.cache
def _slice(kind: Kind) -> Prepared:
    return Prepared(kind.subjects.limit(kind.most))


def forget(conn: Connection, kind: Kind, keys: Sequence[Any]) -> Rows:
    """Forget a slice; return what was deleted."""
    kind.keep(conn, list(keys))
    return _counted((each.table, conn.execute(each).rowcount) for each in kind.deletes(list(keys)))


def count(conn: Connection, kind: Kind, before: datetime) -> Rows:
    """Return what would be deleted if all of a kind were forgotten."""
    found = []
    for each in kind.deletes(kind.subjects.order_by(None)):
        clause = each.whereclause
        assert clause is not None
        counted = sa.select(sa.func.count()).select_from(each.table).where(clause)
        found.append((each.table, conn.scalar(counted, {"before": before}) or 0))
    return _counted(found)


_a, _s, _i, _c, _k = actions.c, servers.c, images.c, conductors.c, idempotency_keys.c
_m, _w = server_migrations.c, write_sessions.c
_BEFORE = sa.bindparam("before", type_=Moment)
_OF_SERVER = _a.subject_kind == sa.literal(SERVER)
_AT_WORK = sa.exists().where(
    _a.subject_id == _s.id, _OF_SERVER, _a.state.in_([sa.literal(state) for state in sorted(OPEN_STATES)])
)
_HOLDS = sa.exists().where(allocations.c.server_id == _s.id)
_NEWEST = sa.select(sa.func.max(servers.alias("newest").c.number)).scalar_subquery()
"""Its row stays: SQLite would give its number, and with it the name of its guest, to another server."""
_NEWEST_CONDUCTOR = sa.select(sa.func.max(conductors.alias("newest").c.number)).scalar_subquery()
_THERE = sa.or_(
    _a.subject_kind == sa.literal(IMAGE), sa.exists().where(_s.id == _a.subject_id, _s.deleted_at.is_(None))
)


def _with_servers(keys: Keys) -> tuple[sa.Delete, ...]:
    own = sa.select(_a.id).where(_a.subject_id.in_(keys), _OF_SERVER)
    return (
        steps.delete().where(steps.c.action_id.in_(own)),
        actions.delete().where(_a.subject_id.in_(keys), _OF_SERVER),
        server_disks.delete().where(server_disks.c.server_id.in_(keys)),
        server_migrations.delete().where(_m.server_id.in_(keys)),
        shelved_servers.delete().where(shelved_servers.c.server_id.in_(keys)),
        server_tags.delete().where(server_tags.c.server_id.in_(keys)),
        holdings.delete().where(holdings.c.server_id.in_(keys)),
        servers.delete().where(_s.id.in_(keys), _s.deleted_at.is_not(None)),
    )


def _keep_use(conn: Connection, keys: Keys) -> None:
    gone = conn.execute(usages.USED.where(_s.id.in_(keys), _s.deleted_at.is_not(None)))
    past_servers.insert(conn, [(row.number, usages.used(row)) for row in gone])


SERVERS = Kind(
    20,
    sa.select(_s.id)
    .where(_s.deleted_at < _BEFORE, _s.number < _NEWEST, sa.not_(_AT_WORK), sa.not_(_HOLDS))
    .order_by(_s.deleted_at),
    _with_servers,
    _keep_use,
)
"""Deleted servers with their journals. What their projects used stays in `past_servers`."""

ACTIONS = Kind(
    50,
    # The kind is written out: only so is the index of these actions used.
    sa.select(_a.id).where(_a.finished_at < _BEFORE, sa.text("kind <> 'create'"), _THERE).order_by(_a.finished_at),
    lambda keys: (steps.delete().where(steps.c.action_id.in_(keys)), actions.delete().where(_a.id.in_(keys))),
)
"""What was done with images, and with servers that are there; how each of these came to be stays as long as it does."""

IMAGES = Kind(
    100,
    sa.select(_i.id)
    .where(
        _i.deleted_at < _BEFORE,
        _i.status == DELETED,
        _i.id.not_in(sa.select(_s.image_id).where(_s.image_id.is_not(None))),
        _i.id.not_in(sa.select(image_blobs.c.image_id)),
    )
    .order_by(_i.deleted_at),
    lambda keys: (images.delete().where(_i.id.in_(keys)),),
)
"""That there were images, whose bytes are gone and of which no server is known: their ids may be used again."""

MIGRATIONS = Kind(
    100,
    sa.select(_m.number)
    .where(_m.updated_at < _BEFORE, _m.status.in_([sa.literal(status) for status in sorted(OVER)]))
    .order_by(_m.updated_at),
    lambda keys: (server_migrations.delete().where(_m.number.in_(keys)),),
)
"""Resizes that were decided, or failed, of servers that are there."""

CONDUCTORS = Kind(
    100,
    sa.select(_c.number).where(_c.last_seen < _BEFORE, _c.number < _NEWEST_CONDUCTOR),
    lambda keys: (conductors.delete().where(_c.number.in_(keys)),),
)
"""Conductors that are heard of no more; the newest one's number is not given to another."""

PAST = Kind(
    500,
    sa.select(past.c.id).where(past.c.terminated_at < _BEFORE).order_by(past.c.terminated_at),
    lambda keys: (past.delete().where(past.c.id.in_(keys)),),
)
"""What servers of long ago used."""

REVOKED = Kind(
    500,
    sa.select(revoked.c.audit_id).where(revoked.c.expires_at < _BEFORE),
    lambda keys: (revoked.delete().where(revoked.c.audit_id.in_(keys)),),
)
"""Revoked tokens that have expired."""

KEYS = Kind(
    200,
    sa.select(_k.project_id, _k.key).where(_k.created_at < _BEFORE),
    lambda keys: (idempotency_keys.delete().where(sa.tuple_(_k.project_id, _k.key).in_(keys)),),
)
"""What requests that may be repeated were answered."""


WRITE_SESSIONS = Kind(
    500,
    sa.select(_w.id, _w.number).where(_w.seen_at < _BEFORE),
    lambda keys: (write_sessions.delete().where(sa.tuple_(_w.id, _w.number).in_(keys)),),
)
"""Sessions of processes that are no more; one that has written again since it was found stays."""


def _counted(found: Any) -> Rows:
    return {table.name: number for table, number in found if number}
