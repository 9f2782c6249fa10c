"""Floating IPs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.addresses import number_of
from floe.core.floating_ips import ACTIVE, DOWN, FloatingIP
from floe.core.host_network import HostFloating
from floe.store import listing as lists
from floe.store.addresses import port_addresses
from floe.store.port_bindings import port_bindings
from floe.store.prepared import Prepared
from floe.store.quota_usages import Counted, counted
from floe.store.schema import Ident, Moment, metadata
from floe.store.table import VIEWER, Rows, columns_of, structs
from floe.store.tags import Tags

floating_ips = sa.Table(
    "floating_ips",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("project_id", Ident, nullable=False, index=True),
    sa.Column("network_id", Ident, sa.ForeignKey("networks.id"), nullable=False, index=True),
    sa.Column("own_port_id", Ident, sa.ForeignKey("ports.id"), nullable=False, unique=True),
    sa.Column("address", sa.String(64), nullable=False),
    sa.Column("description", sa.String(255), nullable=False),
    sa.Column("router_id", Ident, sa.ForeignKey("routers.id"), index=True),
    sa.Column("port_id", Ident, sa.ForeignKey("ports.id")),
    sa.Column("fixed_address", sa.String(64)),
    sa.Column("tags", Tags, nullable=False, server_default=""),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False, default=0),
    sa.UniqueConstraint("port_id", "fixed_address", "network_id"),
    info=counted(Counted(resource="floatingip", owner="project_id")),
)

_COLUMNS = columns_of(FloatingIP, floating_ips)
_STATUS = sa.case((floating_ips.c.port_id.is_(None), DOWN), else_=ACTIVE)
_OF_PORTS = lists.ByIds(sa.select(*_COLUMNS).order_by(floating_ips.c.id), floating_ips.c.port_id)
_OF_ROUTERS = lists.ByIds(sa.select(*_COLUMNS).order_by(floating_ips.c.id), floating_ips.c.router_id)
_ON_HOST = lists.ByIds(
    sa.select(
        floating_ips.c.router_id, floating_ips.c.id, floating_ips.c.address, floating_ips.c.fixed_address,
        floating_ips.c.port_id,
    )
    .join(port_bindings, port_bindings.c.port_id == floating_ips.c.port_id)
    .where(port_bindings.c.host == sa.bindparam("on_host"), port_bindings.c.plugged.is_(True))
    .order_by(floating_ips.c.id),
    floating_ips.c.router_id,
)  # fmt: skip
_TAKEN = Prepared(
    sa.select(floating_ips.c.id).where(
        floating_ips.c.port_id == sa.bindparam("port"),
        floating_ips.c.fixed_address == sa.bindparam("fixed"),
        floating_ips.c.network_id == sa.bindparam("network"),
    )
)

_LEAVE = Prepared(
    sa.update(floating_ips)
    .where(floating_ips.c.port_id == sa.bindparam("port"))
    .values(
        port_id=None, fixed_address=None, router_id=None, updated_at=sa.bindparam("now"),
        revision=floating_ips.c.revision + 1,
    )
)  # fmt: skip


def of_ports(conn: Connection, port_ids: Iterable[str]) -> list[FloatingIP]:
    """Return the floating IPs that lead to ports."""
    return [FloatingIP(*row) for row in _OF_PORTS.rows(conn, list(port_ids))]


def of_routers(conn: Connection, router_ids: Iterable[str]) -> list[FloatingIP]:
    """Return the floating IPs that lead through routers."""
    return [FloatingIP(*row) for row in _OF_ROUTERS.rows(conn, list(router_ids))]


def on_host(conn: Connection, host: str, router_ids: Iterable[str]) -> list[tuple[str, HostFloating]]:
    """Return the floating IPs through routers that lead to ports of a host, each with its router."""
    rows = _ON_HOST.rows(conn, list(router_ids), on_host=host)
    return [
        (router_id, HostFloating(floating_id=ident, address=address, fixed=fixed, port_id=port_id))
        for router_id, ident, address, fixed, port_id in rows
    ]


def through(conn: Connection, router_id: str) -> bool:
    """Say whether a floating IP leads through a router."""
    found = sa.select(floating_ips.c.id).where(floating_ips.c.router_id == router_id).limit(1)
    return conn.execute(found).first() is not None


def leads_to(conn: Connection, port_id: str, fixed_address: str, network_id: str) -> str | None:
    """Return the id of the floating IP of a network that leads to this address of a port."""
    found = _TAKEN.first(conn, port=port_id, fixed=fixed_address, network=network_id)
    return None if found is None else str(found[0])


def with_address(conn: Connection, address: str, project_id: str | None = None) -> list[FloatingIP]:
    """Return the floating IPs that are this address, of a project if one is named: found by who holds it."""
    held = port_addresses.c.port_id == floating_ips.c.own_port_id
    found = sa.select(*_COLUMNS).join(port_addresses, held).where(port_addresses.c.address == number_of(address))
    if project_id is not None:
        found = found.where(floating_ips.c.project_id == project_id)
    return [FloatingIP(*row) for row in conn.execute(found)]


def leave(conn: Connection, port_ids: Iterable[str], now: datetime) -> int:
    """Have the floating IPs that lead to these ports lead nowhere; return how many did."""
    return _LEAVE.write_each(conn, [{"port": port_id, "now": now} for port_id in port_ids])


ROWS: Rows[FloatingIP] = Rows(
    floating_ips,
    structs(FloatingIP),
    sa.select(*_COLUMNS),
    seen=floating_ips.c.project_id == VIEWER,
    fields={"status": _STATUS},
)
insert, get, find, update, delete = ROWS.insert, ROWS.get, ROWS.find, ROWS.update, ROWS.delete
