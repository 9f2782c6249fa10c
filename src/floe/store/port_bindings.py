"""Bindings of ports: the hosts that a port is bound to, at most one of them active.

The active one is what the port's own row says (`ports.host`, `ports.plugged`): the database itself makes it follow,
by triggers, in the transaction that changes the row, whoever does that, an older release too. Further ones, where a
port is to be ready before its guest comes, are made and made active here. Hosts are told what they are to have by
their bindings alone.
"""

# ruff: noqa: S608  # the text of a trigger has no parameters: what stands in it are names of our own tables

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.ports import ACTIVE, INACTIVE, Binding
from floe.store import listing as lists
from floe.store import triggers
from floe.store.prepared import Prepared
from floe.store.schema import HostName, Ident, Json, metadata
from floe.store.triggers import Trigger

_ACTIVE = sa.text(f"status = '{ACTIVE}'")

port_bindings = sa.Table(
    "port_bindings",
    metadata,
    sa.Column("port_id", Ident, sa.ForeignKey("ports.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("host", HostName, primary_key=True),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("plugged", sa.Boolean, nullable=False),
    sa.Column("vnic_type", sa.String(64), nullable=False, server_default="normal"),
    sa.Column("vif_type", sa.String(64), nullable=False, server_default="bridge"),
    sa.Column("vif_details", Json, nullable=False, server_default="{}"),
    sa.Column("profile", Json, nullable=False, server_default="{}"),
    sa.Index("ix_port_bindings_active", "port_id", unique=True, sqlite_where=_ACTIVE),
    sa.Index("ix_port_bindings_host", "host", "plugged", "port_id"),
    sqlite_with_rowid=False,
)

_ports = sa.table(
    "ports",
    sa.column("id", sa.String),
    sa.column("host", sa.String),
    sa.column("plugged", sa.Boolean),
    sa.column("pinned", sa.Boolean),
    sa.column("revision", sa.Integer),
)
_b, _row = port_bindings.c, _ports.c
COLUMNS = (_b.host, _b.status, _b.plugged, _b.vnic_type, _b.vif_type, _b.vif_details, _b.profile)
"""The fields of `Binding`, in their order."""
_OF_PORTS = lists.ByIds(sa.select(_b.port_id, *COLUMNS).order_by(_b.port_id, _b.status, _b.host), _b.port_id)
_PREFIX = "bind_"
"""How the names of all triggers begin that are kept here."""
_BIND = f"INSERT INTO port_bindings (port_id, host, status, plugged) SELECT NEW.id, NEW.host, '{ACTIVE}', NEW.plugged"
_OF_IT = "WHERE port_id = NEW.id"
_TRIGGERS = (
    Trigger(name="bind_ports_insert", table="ports", event="INSERT", when="NEW.host IS NOT NULL", steps=(_BIND,)),
    Trigger(
        name="bind_ports_plug",
        table="ports",
        event="UPDATE OF plugged",
        when="NOT (OLD.host IS DISTINCT FROM NEW.host) AND OLD.plugged <> NEW.plugged",
        steps=(
            f"UPDATE port_bindings SET plugged = NEW.plugged {_OF_IT} AND (status = '{ACTIVE}' OR NOT NEW.plugged)",
        ),
    ),
    Trigger(
        name="bind_ports_move",
        table="ports",
        event="UPDATE OF host",
        when="OLD.host IS DISTINCT FROM NEW.host",
        steps=(
            f"DELETE FROM port_bindings {_OF_IT} AND (NEW.host IS NULL OR (status = '{ACTIVE}' AND host <> NEW.host))",
            f"{_BIND} WHERE NEW.host IS NOT NULL"
            f" AND NOT EXISTS (SELECT 1 FROM port_bindings {_OF_IT} AND host = NEW.host)",
            f"UPDATE port_bindings SET status = '{ACTIVE}', plugged = NEW.plugged {_OF_IT} AND host = NEW.host",
            f"UPDATE port_bindings SET plugged = NEW.plugged {_OF_IT} AND NOT NEW.plugged",
        ),
    ),
)
"""A port that is unplugged is so everywhere, and one that is bound to none has no bindings."""


def of_ports(conn: Connection, port_ids: Collection[str]) -> dict[str, tuple[Binding, ...]]:
    """Return the bindings of ports, each port's active one first."""
    found: dict[str, tuple[Binding, ...]] = {}
    for row in _OF_PORTS.rows(conn, port_ids):
        found[row[0]] = (*found.get(row[0], ()), Binding._make(row[1:]))
    return found


def insert(conn: Connection, port_id: str, host: str, *, plugged: bool) -> bool:
    """Bind a port that is bound to a host to a further one, not active there; False if it has that binding.

    One that is not plugged where it is active is not plugged there either.
    """
    where = sa.select(_row.plugged).where(_row.id == port_id).scalar_subquery() if plugged else sa.false()
    fresh = lists.insert(conn, port_bindings).values(port_id=port_id, host=host, status=INACTIVE, plugged=where)
    return conn.execute(fresh.on_conflict_do_nothing().returning(_b.host)).first() is not None


def activate(conn: Connection, port_id: str, host: str) -> bool:
    """Make one of a port's bindings the active one, and the one that was so inactive; False if it has none there."""
    its = _b.port_id == port_id
    there = conn.execute(sa.select(_b.plugged).where(its, _b.host == host)).first()
    if there is None:
        return False
    conn.execute(sa.update(port_bindings).where(its, _b.host != host).values(status=INACTIVE))
    conn.execute(sa.update(port_bindings).where(its, _b.host == host).values(status=ACTIVE))
    values = {"host": host, "plugged": there.plugged, "revision": _row.revision + 1}
    conn.execute(sa.update(_ports).where(_row.id == port_id).values(values))
    return True


def delete(conn: Connection, port_id: str, host: str) -> bool:
    """Remove a further binding; False if there is none, or it is the active one, which goes as the port is untied."""
    its = sa.and_(_b.port_id == port_id, _b.host == host, _b.status == INACTIVE)
    return conn.execute(sa.delete(port_bindings).where(its)).rowcount == 1


def forget_host(conn: Connection, host: str) -> None:
    """Note that ports that an administrator bound to a host are plugged there no more, since it is gone."""
    its = sa.and_(_row.host == host, _row.pinned.is_(True), _row.plugged.is_(True))
    conn.execute(sa.update(_ports).where(its).values(plugged=False, revision=_row.revision + 1))


def awaiting(conn: Connection, host: str) -> list[str]:
    """Return the ports that an administrator bound to a host, and that are not plugged there."""
    return [row[0] for row in _AWAITING.rows(conn, on_host=host)]


def host_came(conn: Connection, port_ids: Collection[str]) -> None:
    """Note that such ports are plugged, as their host is there now."""
    conn.execute(sa.update(_ports).where(_row.id.in_(port_ids)).values(plugged=True, revision=_row.revision + 1))


def drifted(conn: Connection) -> list[str]:
    """Return the ports whose active binding is not what their row says."""
    return [row[0] for row in _DRIFTED.rows(conn)]


def mend(conn: Connection) -> list[str]:
    """Bind those ports anew as their rows say; return them."""
    found = drifted(conn)
    if found:
        conn.execute(sa.delete(port_bindings).where(_b.port_id.in_(_drifted())))
        unbound = sa.not_(sa.exists().where(_b.port_id == _row.id))
        bound = sa.select(_row.id, _row.host, sa.literal(ACTIVE), _row.plugged).where(_row.host.is_not(None), unbound)
        names = ["port_id", "host", "status", "plugged"]
        conn.execute(sa.insert(port_bindings).from_select(names, bound))
    return found


def _drifted() -> sa.Select[Any]:
    active = sa.and_(_b.port_id == _row.id, _b.status == ACTIVE)
    differs = sa.or_(_row.host.is_distinct_from(_b.host), sa.and_(_row.host.is_not(None), _row.plugged != _b.plugged))
    bound = sa.exists().where(_row.id == _b.port_id, _row.host.is_not(None))
    both = sa.union(
        sa.select(_row.id).outerjoin(port_bindings, active).where(differs), sa.select(_b.port_id).where(sa.not_(bound))
    ).subquery()
    return sa.select(both.c.id)


_DRIFTED = Prepared(_drifted())
_AWAITING = Prepared(
    sa.select(_b.port_id)
    .join(_ports, _row.id == _b.port_id)
    .where(_b.host == sa.bindparam("on_host"), _b.plugged.is_(False), _row.host == _b.host, _row.pinned.is_(True))
    .order_by(_b.port_id)
)


def kept(conn: Connection) -> bool:
    """Say whether the triggers are there. A migration that makes the table of ports anew loses them."""
    return triggers.kept(conn, _PREFIX, _TRIGGERS)


def keep(conn: Connection) -> None:
    """Make the triggers, and bind anew what was not followed without them."""
    triggers.replace(conn, _PREFIX, _TRIGGERS)
    mend(conn)


@sa.event.listens_for(metadata, "after_create")
def _made_at_once(_metadata: sa.MetaData, conn: Connection, *, tables: Collection[sa.Table], **_kw: Any) -> None:
    """Follow `schema.create_all`, as `migrate.ensure` follows the migrations."""
    if {port_bindings.name, _ports.name} <= {table.name for table in tables}:
        keep(conn)
