"""Floating IPs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.addresses import number_of
from floe.core.floating_ips import ACTIVE, DOWN, FloatingIP, LedTo
from floe.core.host_network import HostFloating, HostForwarding
from floe.core.port_forwardings import PortForwarding
from floe.core.ports import FLOATING_OWNER
from floe.store import listing as lists
from floe.store import port_forwardings as forwardings
from floe.store.address_columns import address_text
from floe.store.addresses import port_addresses
from floe.store.port_bindings import port_bindings
from floe.store.port_forwardings import port_forwardings
from floe.store.prepared import Prepared
from floe.store.quota_usages import Counted, counted
from floe.store.schema import Ident, Moment, metadata
from floe.store.table import VIEWER, Rows, columns_of
from floe.store.tags import Tags

floating_ips = sa.Table(
    "floating_ips",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("project_id", Ident, nullable=False),
    sa.Column("network_id", Ident, sa.ForeignKey("networks.id"), nullable=False),
    sa.Column("own_port_id", Ident, sa.ForeignKey("ports.id"), nullable=False, unique=True),
    sa.Column("address", sa.String(64), nullable=False),
    sa.Column("description", sa.String(255), nullable=False),
    sa.Column("router_id", Ident, sa.ForeignKey("routers.id")),
    sa.Column("port_id", Ident, sa.ForeignKey("ports.id", ondelete="SET NULL")),
    sa.Column("fixed_address", sa.String(64)),
    sa.Column("tags", Tags, nullable=False, server_default=""),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False, default=0),
    sa.UniqueConstraint("port_id", "fixed_address", "network_id"),
    sa.Index("ix_floating_ips_project_id_id", "project_id", "id"),
    *(
        # With the list's order in it, so that none is chosen for its order that knows nothing of the filter.
        sa.Index(f"ix_floating_ips_{name}_owned", name, "project_id", "id")
        for name in ("address", "fixed_address", "port_id", "router_id", "network_id")
    ),
    info=counted(Counted(resource="floatingip", owner="project_id")),
)

_COLUMNS = columns_of(FloatingIP, floating_ips)
_MADE: Callable[..., FloatingIP] = FloatingIP
"""Takes a row's columns, and then what stands in no column."""
_STATUS = sa.case((floating_ips.c.router_id.is_(None), DOWN), else_=ACTIVE)
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
_FORWARDED_ON_HOST = lists.ByIds(
    sa.select(
        floating_ips.c.router_id, port_forwardings.c.id, floating_ips.c.address, port_forwardings.c.protocol,
        port_forwardings.c.external_first, port_forwardings.c.external_last, port_forwardings.c.fixed_address,
        port_forwardings.c.internal_first, port_forwardings.c.internal_last, port_forwardings.c.port_id,
    )
    .join(port_forwardings, port_forwardings.c.floating_id == floating_ips.c.id)
    .join(port_bindings, port_bindings.c.port_id == port_forwardings.c.port_id)
    .where(port_bindings.c.host == sa.bindparam("on_host"), port_bindings.c.plugged.is_(True))
    .order_by(port_forwardings.c.id),
    floating_ips.c.router_id,
)  # fmt: skip
_WITHIN = port_addresses.c.subnet_id == sa.bindparam("subnet")
_ITS_TEXT = address_text(port_addresses.c.address)
# Of addresses in a subnet, not of all that leads through the router: so it is asked without that index.
_BY_ROUTER = sa.func.coalesce(floating_ips.c.router_id, "") == sa.bindparam("router")
_LEADS_WITHIN = Prepared(
    sa.select(floating_ips.c.id)
    .select_from(port_addresses)
    .join(
        floating_ips,
        sa.and_(floating_ips.c.port_id == port_addresses.c.port_id, floating_ips.c.fixed_address == _ITS_TEXT),
    )
    .where(_WITHIN, _BY_ROUTER)
    .limit(1)
)
_FORWARDS_WITHIN = Prepared(
    sa.select(port_forwardings.c.id)
    .select_from(port_addresses)
    .join(
        port_forwardings,
        sa.and_(port_forwardings.c.port_id == port_addresses.c.port_id, port_forwardings.c.fixed_address == _ITS_TEXT),
    )
    .join(floating_ips, floating_ips.c.id == port_forwardings.c.floating_id)
    .where(_WITHIN, _BY_ROUTER)
    .limit(1)
)
_ports = sa.table(
    "ports",
    sa.column("id", sa.String),
    sa.column("name", sa.String),
    sa.column("network_id", sa.String),
    sa.column("mac", sa.String),
    sa.column("up", sa.Boolean),
    sa.column("status", sa.String),
    sa.column("device_id", sa.String),
    sa.column("device_owner", sa.String),
)
_LED_TO = lists.ByIds(sa.select(*_ports.c), _ports.c.id)
"""The ports that floating IPs lead to, each with the fields of `LedTo`."""
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
        port_id=sa.null(),
        fixed_address=sa.null(),
        router_id=sa.null(),
        updated_at=sa.bindparam("now", type_=Moment()),
        revision=floating_ips.c.revision + 1,
    )
)
_HERE = port_forwardings.c.port_id == sa.bindparam("port")
_ELSEWHERE = sa.exists().where(port_forwardings.c.floating_id == floating_ips.c.id, sa.not_(_HERE))
_LEAVE_FORWARDED = Prepared(
    sa.update(floating_ips)
    .where(floating_ips.c.id.in_(sa.select(port_forwardings.c.floating_id).where(_HERE)))
    .values(
        router_id=sa.case((_ELSEWHERE, floating_ips.c.router_id), else_=sa.null()),
        updated_at=sa.bindparam("now", type_=Moment()),
        revision=floating_ips.c.revision + 1,
    )
)
_FORWARD_NO_MORE = Prepared(sa.delete(port_forwardings).where(_HERE))


def of_ports(conn: Connection, port_ids: Iterable[str]) -> list[FloatingIP]:
    """Return the floating IPs that lead to ports, without what belongs to them."""
    return [_MADE(*row) for row in _OF_PORTS.rows(conn, list(port_ids))]


def of_routers(conn: Connection, router_ids: Iterable[str]) -> list[FloatingIP]:
    """Return the floating IPs that lead through routers, without what belongs to them."""
    return [_MADE(*row) for row in _OF_ROUTERS.rows(conn, list(router_ids))]


def on_host(conn: Connection, host: str, router_ids: Iterable[str]) -> list[tuple[str, HostFloating]]:
    """Return the floating IPs through routers that lead to ports of a host, each with its router."""
    rows = _ON_HOST.rows(conn, list(router_ids), on_host=host)
    return [
        (router_id, HostFloating(floating_id=ident, address=address, fixed=fixed, port_id=port_id))
        for router_id, ident, address, fixed, port_id in rows
    ]


def forwarded_on_host(conn: Connection, host: str, router_ids: Iterable[str]) -> list[tuple[str, HostForwarding]]:
    """Return the port forwardings through routers that lead to ports of a host, each with its router."""
    rows = _FORWARDED_ON_HOST.rows(conn, list(router_ids), on_host=host)
    return [
        (
            router_id,
            HostForwarding(
                forwarding_id=ident,
                address=address,
                protocol=protocol,
                external=(external_first, external_last),
                fixed=fixed,
                internal=(internal_first, internal_last),
                port_id=port_id,
            ),
        )
        for (
            router_id, ident, address, protocol, external_first, external_last, fixed, internal_first, internal_last,
            port_id,
        ) in rows
    ]  # fmt: skip


def leads_within(conn: Connection, router_id: str, subnet_id: str) -> bool:
    """Say whether a floating IP, or a port forwarding, leads through a router to an address in a subnet."""
    asked = {"router": router_id, "subnet": subnet_id}
    return any(statement.rows(conn, **asked) for statement in (_LEADS_WITHIN, _FORWARDS_WITHIN))


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


def leave(conn: Connection, port_ids: Iterable[str], now: datetime) -> None:
    """Have the floating IPs that lead to these ports lead nowhere, and end the port forwardings to them."""
    for port_id in port_ids:
        for statement in (_LEAVE, _LEAVE_FORWARDED):
            statement.write_later(conn, {"port": port_id, "now": now})
        _FORWARD_NO_MORE.write_later(conn, {"port": port_id})


def forward_no_more(conn: Connection, gone: Sequence[PortForwarding], now: datetime) -> None:
    """End port forwardings; a floating IP whose last one goes leads nowhere."""
    if not gone:
        return
    forwardings.delete(conn, *(each.id for each in gone))
    above = {each.floating_id for each in gone}
    leading = {each.floating_id for each in forwardings.of_floating(conn, above)}
    for floating_id in sorted(above):
        update(conn, floating_id, {} if floating_id in leading else {"router_id": None}, now)


def idle(conn: Connection, network_id: str) -> int:
    """Count the floating IPs of a network that lead nowhere."""
    return conn.execute(sa.select(sa.func.count()).select_from(floating_ips).where(_idle(network_id))).scalar_one()


def delete_idle(conn: Connection, network_id: str) -> None:
    """Give back the floating IPs of a network that lead nowhere, where there are no others."""
    conn.execute(sa.delete(floating_ips).where(_idle(network_id)))
    held = sa.and_(_ports.c.network_id == network_id, _ports.c.device_owner == FLOATING_OWNER)
    conn.execute(sa.delete(_ports).where(held))


def _idle(network_id: str) -> sa.ColumnElement[bool]:
    leads = floating_ips.c.port_id.is_not(None) | floating_ips.c.router_id.is_not(None)
    return sa.and_(floating_ips.c.network_id == network_id, sa.not_(leads))


def _read(conn: Connection, rows: Sequence[Any]) -> list[FloatingIP]:
    """Make floating IPs of rows, with the ports that they lead to, or their port forwardings."""
    led: dict[str, LedTo] = {}
    forwarded: dict[str, list[PortForwarding]] = {}
    for part in lists.in_parts(rows):
        to = {row.port_id for row in part if row.port_id is not None}
        led |= {port_id: LedTo(*told) for port_id, *told in _LED_TO.rows(conn, to)}
        for each in forwardings.of_floating(conn, [row.id for row in part if row.port_id is None and row.router_id]):
            forwarded.setdefault(each.floating_id, []).append(each)
    return [_MADE(*row, led.get(row.port_id), tuple(forwarded.get(row.id, ()))) for row in rows]


ROWS: Rows[FloatingIP] = Rows(
    floating_ips,
    _read,
    sa.select(*_COLUMNS),
    seen=floating_ips.c.project_id == VIEWER,
    fields={"status": _STATUS},
)
insert, get, find, update, delete = ROWS.insert, ROWS.get, ROWS.find, ROWS.update, ROWS.delete
