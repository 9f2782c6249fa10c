"""Which hosts have networks and routers: those with guests in them, or behind them."""

from __future__ import annotations

import sqlalchemy as sa

from floe.core.ports import INTERFACE_OWNER
from floe.store.engine import Connection
from floe.store.port_bindings import port_bindings
from floe.store.ports import ports
from floe.store.prepared import Prepared
from floe.store.routers import HOSTS_OF_ROUTER

_NETWORKS = (
    sa.select(ports.c.network_id)
    .join(port_bindings, port_bindings.c.port_id == ports.c.id)
    .where(port_bindings.c.host == sa.bindparam("on_host"), port_bindings.c.plugged.is_(True))
    .distinct()
)
_HOSTS = (
    sa.select(port_bindings.c.host)
    .join(ports, ports.c.id == port_bindings.c.port_id)
    .where(port_bindings.c.plugged.is_(True), ports.c.network_id == sa.bindparam("ident"))
)
_ROUTERS = Prepared(
    sa.select(ports.c.router_id)
    .where(ports.c.device_owner == INTERFACE_OWNER, ports.c.network_id.in_(_NETWORKS.correlate(None)))
    .distinct()
)


def of_network(conn: Connection, network_id: str) -> set[str]:
    """Return the hosts that have guests in a network."""
    return set(conn.scalars(_HOSTS, {"ident": network_id}))


def of_router(conn: Connection, router_id: str) -> set[str]:
    """Return the hosts that a router is on."""
    return set(conn.scalars(HOSTS_OF_ROUTER, {"ident": router_id}))


def networks(conn: Connection, host: str) -> set[str]:
    """Return the ids of the networks that a host's guests are in."""
    return set(conn.scalars(_NETWORKS, {"on_host": host}))


def routers(conn: Connection, host: str) -> set[str]:
    """Return the ids of the routers on a host."""
    return {row[0] for row in _ROUTERS.rows(conn, on_host=host)}
