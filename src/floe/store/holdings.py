"""Where something of a server may be: a row from before the first effect on a host until nothing is known to be left.

The server that is where its row says has one there too, of the action that made its guest. Others are owed once their
action has ended, or has gone on without the host: what they tell of is to be removed as soon as that can be asked.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from floe.core.actions import OPEN_STATES, SERVER
from floe.core.guests import guest_name
from floe.core.hosts import FORMER
from floe.store.actions import actions, steps
from floe.store.allocations import allocations
from floe.store.engine import Connection
from floe.store.listing import new
from floe.store.prepared import Prepared
from floe.store.schema import Ident, metadata
from floe.store.servers import servers

holdings = sa.Table(
    "holdings",
    metadata,
    sa.Column("server_id", Ident, primary_key=True),
    sa.Column("host", sa.String(255), primary_key=True),
    sa.Column("action_id", Ident, primary_key=True),
    sa.Column("owed", sa.Boolean, nullable=False, default=False, server_default=sa.false()),
    sa.Index("ix_holdings_host", "host"),
    sqlite_with_rowid=False,
)


class Owed(msgspec.Struct, frozen=True, kw_only=True):
    """Something of a server that may be on a host, though the server is gone, or elsewhere."""

    server_id: str
    number: int
    action_id: str
    deleted: bool


_h = holdings.c
_IS_OPEN = actions.c.state.in_([sa.literal(state) for state in sorted(OPEN_STATES)])
_LEFT_TO_US = sa.or_(_h.owed, sa.not_(sa.exists().where(actions.c.id == _h.action_id, _IS_OPEN)))
"""No action is at it any more, or the one that was has gone on without the host."""
_IS_HALF = sa.exists().where(
    allocations.c.server_id == _h.server_id,
    allocations.c.host == _h.host,
    allocations.c.purpose == sa.literal(FORMER),
)
"""It is what the server was before it moved, and is kept until that is confirmed or reverted."""
_LEFT = Prepared(
    sa.select(_h.action_id)
    .where(
        _h.server_id == sa.bindparam("ident"),
        _h.host == sa.bindparam("there"),
        _LEFT_TO_US,
    )
    .order_by(_h.action_id.desc())
    .limit(1)
)
_BEGUN = Prepared(
    sa.select(actions.c.id)
    .join(steps, steps.c.action_id == actions.c.id)
    .where(
        actions.c.subject_id == sa.bindparam("ident"),
        actions.c.subject_kind == SERVER,
        steps.c.host == sa.bindparam("there"),
        steps.c.parent.is_(None),
    )
    .order_by(actions.c.created_at.desc(), steps.c.seq.desc())
    .limit(1)
)
_OF_SERVER = Prepared(
    sa.select(_h.host, _h.action_id).where(_h.server_id == sa.bindparam("ident")).order_by(_h.host, _h.action_id)
)
_EVERY = Prepared(sa.select(_h.server_id, _h.host))
_WHERE = Prepared(
    sa.select(servers.c.number, servers.c.host, _h.host)
    .outerjoin(holdings, _h.server_id == servers.c.id)
    .where(servers.c.id == sa.bindparam("ident"), servers.c.deleted_at.is_(None))
)
_AT = (_h.server_id == sa.bindparam("ident"), _h.host == sa.bindparam("there"))
_INSERT = new(holdings)
_DELETE = Prepared(holdings.delete().where(*_AT))
_ONE = (*_AT, _h.action_id == sa.bindparam("action"))
_DELETE_ONE = Prepared(holdings.delete().where(*_ONE))
_OWE = Prepared(holdings.update().where(*_ONE).values(owed=True))
_OWED = Prepared(
    sa.select(_h.server_id, _h.action_id, servers.c.number, servers.c.deleted_at.is_not(None).label("deleted"))
    .join(servers, servers.c.id == _h.server_id)
    .where(
        _h.host == sa.bindparam("there"),
        sa.or_(servers.c.host.is_(None), servers.c.host != _h.host),
        sa.not_(_IS_HALF),
        _LEFT_TO_US,
    )
    .order_by(servers.c.number, _h.action_id)
    .limit(sa.bindparam("most"))
)
_AT_ONCE = 500


def insert(conn: Connection, server_id: str, host: str, action_id: str) -> None:
    """Say that an action may leave something of a server on a host; said twice, it is said once."""
    _INSERT.write_later(conn, {"server_id": server_id, "host": host, "action_id": action_id, "owed": False})


def delete(conn: Connection, server_id: str, host: str, action_id: str | None = None) -> None:
    """Say that nothing of a server is left on a host, of one action or of any."""
    if action_id is None:
        _DELETE.write_later(conn, {"ident": server_id, "there": host})
    else:
        _DELETE_ONE.write_later(conn, {"ident": server_id, "there": host, "action": action_id})


def owe(conn: Connection, server_id: str, host: str, action_id: str) -> None:
    """Say that an action goes on, or ends, without having had removed from a host what it began there."""
    _OWE.write_later(conn, {"ident": server_id, "there": host, "action": action_id})


def find(conn: Connection, server_id: str) -> dict[str, str]:
    """Return the hosts on which something of a server may be, each with the action that it is of."""
    return {row.host: row.action_id for row in _OF_SERVER.rows(conn, ident=server_id)}


def places(conn: Connection) -> set[tuple[str, str]]:
    """Return all servers and hosts that rows say something of."""
    return {(row.server_id, row.host) for row in _EVERY.rows(conn)}


def left(conn: Connection, server_id: str, host: str) -> str | None:
    """Return the action of which something of a server may be left on a host; None too while that is at it itself."""
    return next((row.action_id for row in _LEFT.rows(conn, ident=server_id, there=host)), None)


def begun(conn: Connection, server_id: str, host: str) -> str | None:
    """Return the last action of a server whose journal names a host."""
    return next((row.id for row in _BEGUN.rows(conn, ident=server_id, there=host)), None)


def whereabouts(conn: Connection, server_id: str) -> tuple[str, set[str]] | None:
    """Return the name of a server's guest and all hosts that may have something of it; None once it is gone."""
    found = _WHERE.plain(conn, ident=server_id)
    if not found:
        return None
    return guest_name(found[0][0]), {host for _, *hosts in found for host in hosts if host}


def owed(conn: Connection, host: str) -> list[Owed]:
    """Return what may be on a host and is to be removed, of servers that are gone or elsewhere.

    Of very many these are the first; whoever sees to them looks again.
    """
    found = _OWED.rows(conn, there=host, most=_AT_ONCE)
    return [Owed(**{**row._asdict(), "deleted": bool(row.deleted)}) for row in found]


def forget(conn: Connection, host: str) -> None:
    """Forget a host that was removed."""
    conn.execute(holdings.delete().where(_h.host == host))


_MISSED = sa.text(
    "INSERT INTO holdings (server_id, host, action_id)"
    " SELECT DISTINCT a.server_id, s.host, a.id FROM actions a JOIN action_steps s ON s.action_id = a.id"
    " JOIN servers v ON v.id = a.server_id"
    " WHERE a.version = 1 AND a.kind = 'create' AND s.name = 'spawn' AND s.parent IS NULL AND s.host IS NOT NULL"
    " AND v.deleted_at IS NULL"
    " AND NOT EXISTS (SELECT 1 FROM holdings h"
    " WHERE h.server_id = a.server_id AND h.host = s.host AND h.action_id = a.id)"
)
_READ = sa.text("UPDATE actions SET version = 2 WHERE version = 1 AND state NOT IN ('pending', 'running', 'undoing')")


def mend(conn: Connection) -> int:
    """Say what a release that knew no holdings left unsaid, whose journals are of version 1; return how much that was.

    Journals that are closed are read for it but once: nobody goes on with them.
    """
    missed = conn.execute(_MISSED).rowcount
    if missed or conn.scalar(sa.text("SELECT 1 FROM actions WHERE version = 1 LIMIT 1")):
        conn.execute(_READ)
    return missed
