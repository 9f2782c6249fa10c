"""Port forwardings, which are parts of floating IPs."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.port_forwardings import PortForwarding
from floe.store import listing as lists
from floe.store.schema import Ident, Moment, metadata
from floe.store.table import VIEWER, Rows, columns_of, structs

port_forwardings = sa.Table(
    "port_forwardings",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("project_id", Ident, nullable=False),
    sa.Column("floating_id", Ident, sa.ForeignKey("floating_ips.id"), nullable=False),
    sa.Column("port_id", Ident, sa.ForeignKey("ports.id", ondelete="CASCADE"), nullable=False),
    sa.Column("fixed_address", sa.String(64), nullable=False),
    sa.Column("protocol", sa.String(16), nullable=False),
    sa.Column("external_first", sa.Integer, nullable=False),
    sa.Column("external_last", sa.Integer, nullable=False),
    sa.Column("internal_first", sa.Integer, nullable=False),
    sa.Column("internal_last", sa.Integer, nullable=False),
    sa.Column("description", sa.String(255), nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False, default=0),
    sa.Index("uq_port_forwardings_external", "floating_id", "protocol", "external_first", unique=True),
    sa.Index("uq_port_forwardings_internal", "port_id", "fixed_address", "protocol", "internal_first", unique=True),
)

_c = port_forwardings.c
_COLUMNS = columns_of(PortForwarding, port_forwardings)
_IN_ORDER = sa.select(*_COLUMNS).order_by(_c.id)
_OF_FLOATING = lists.ByIds(_IN_ORDER, _c.floating_id)
_TO_PORTS = lists.ByIds(_IN_ORDER, _c.port_id)
_NO_PORT = 0


def of_floating(conn: Connection, floating_ids: Iterable[str]) -> list[PortForwarding]:
    """Return the port forwardings of floating IPs."""
    return [PortForwarding(*row) for row in _OF_FLOATING.rows(conn, list(floating_ids))]


def to_ports(conn: Connection, port_ids: Iterable[str]) -> list[PortForwarding]:
    """Return the port forwardings that lead to ports."""
    return [PortForwarding(*row) for row in _TO_PORTS.rows(conn, list(port_ids))]


def _range(first: sa.Column[int], last: sa.Column[int]) -> sa.ColumnElement[str]:
    return sa.cast(first, sa.String) + ":" + sa.cast(last, sa.String)


ROWS: Rows[PortForwarding] = Rows(
    port_forwardings,
    structs(PortForwarding),
    sa.select(*_COLUMNS),
    seen=_c.project_id == VIEWER,
    fields={
        "external_range": _range(_c.external_first, _c.external_last),
        "external_port": sa.case((_c.external_first == _c.external_last, _c.external_first), else_=_NO_PORT),
    },
)
insert, get, find, update, delete = ROWS.insert, ROWS.get, ROWS.find, ROWS.update, ROWS.delete
