"""Mending what the audit finds of routers, floating IPs, external networks and subnet pools, as far as that is safe.

What a guest may use is not taken away: overlapping subnets, and addresses that two have, are an operator's to sort out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from floe.cloud import floating_ips as floating
from floe.cloud import gateways, host_networks
from floe.core.floating_ips import FloatingIP
from floe.core.networks import Network
from floe.core.ports import FLOATING_OWNER, GATEWAY_OWNER, INTERFACE_OWNER
from floe.core.subnetpools import SubnetPool
from floe.store import audit_routers as rules
from floe.store import floating_ips, networks, port_forwardings, ports, routers, subnetpools, subnets
from floe.store.engine import Connection

_OF_ROUTERS = {INTERFACE_OWNER, GATEWAY_OWNER}


def mend(conn: Connection, now: datetime) -> list[str]:
    """Mend what is found now; return what was done."""
    every = ((_MENDING.get(found.what), found.subject) for found in rules.broken(conn))
    done = [mending(conn, subject, now) for mending, subject in every if mending is not None]
    return [text for text in done if text]


def _remove_port(conn: Connection, port_id: str, now: datetime) -> str:
    """Remove a port that is of nothing; or, of one that is somebody's, what says that it is a router's."""
    port = ports.get(conn, port_id)
    if port is None:
        return ""
    if port.device_owner not in {*_OF_ROUTERS, FLOATING_OWNER}:
        ports.update(conn, port_id, {"router_id": None}, now)
        return f"port {port_id} is of no router any more, as it is no router's"
    if port.router_id is not None:
        host_networks.touch_router(conn, port.router_id)
    floating_ips.leave(conn, [port_id], now)
    ports.delete(conn, port_id)
    return f"port {port_id} of {port.device_owner}, which nothing has any more, was removed"


def _open_gateway(conn: Connection, router_id: str, now: datetime) -> str:
    router = routers.get(conn, router_id)
    if router is None or not gateways.open_again(conn, router, now):
        return ""
    host_networks.touch_router(conn, router_id)
    return f"router {router_id} has a port on the network that it leads out by again"


def _make_external(conn: Connection, network_id: str, now: datetime) -> str:
    networks.update(conn, network_id, {"external": True}, now)
    return f"network {network_id}, which routers or floating IPs lead out by, is external again"


def _drop_routes(conn: Connection, router_id: str, now: datetime) -> str:
    router = routers.get(conn, router_id)
    if router is None:
        return ""
    routers.update(conn, router_id, {"routes": rules.leading(conn, router_id, router.routes)}, now)
    host_networks.touch_router(conn, router_id)
    return f"router {router_id} has no routes any more that lead over none of its networks"


def _hold(conn: Connection, each: FloatingIP, now: datetime) -> str:
    return f"floating IP {each.id} has its address again" if floating.hold(conn, each, now) else ""


def _lead_again(conn: Connection, each: FloatingIP, now: datetime) -> str:
    host_networks.touch_floating(conn, each)
    led = floating.lead_again(conn, each, now)
    host_networks.touch_floating(conn, floating_ips.get(conn, each.id) or each)
    return f"floating IP {each.id} leads {'by another router' if led else 'nowhere, as what it led to is gone'}"


def _forward_no_more(conn: Connection, forwarding_id: str, now: datetime) -> str:
    forwarding = port_forwardings.ROWS.get(conn, forwarding_id)
    if forwarding is None:
        return ""
    floating_ips.forward_no_more(conn, [forwarding], now)
    host_networks.touch_led_to(conn, forwarding.port_id, None)
    return f"port forwarding {forwarding_id}, which led to an address that its port has not, was removed"


def _of_floating(call: Callable[[Connection, FloatingIP, datetime], str]) -> Callable[[Connection, str, datetime], str]:
    def mending(conn: Connection, ident: str, now: datetime) -> str:
        found = floating_ips.get(conn, ident)
        return "" if found is None else call(conn, found, now)

    return mending


def _one_default(conn: Connection, _first: str, now: datetime) -> str:
    oldest, *others = sorted(networks.ROWS.those(conn, default=True), key=_age)
    for other in others:
        networks.update(conn, other.id, {"default": False}, now)
    return f"network {oldest.id}, the oldest of several, is the one default external network"


def _no_default(conn: Connection, network_id: str, now: datetime) -> str:
    networks.update(conn, network_id, {"default": False}, now)
    return f"network {network_id}, which is not external, is no default external network any more"


def _one_default_pool(conn: Connection, _first: str, now: datetime) -> str:
    oldest, *others = sorted(subnetpools.ROWS.those(conn, default=True), key=_age)
    for other in others:
        subnetpools.ROWS.update(conn, other.id, {"default": False}, now)
    return f"subnet pool {oldest.id}, the oldest of several, is the one default pool"


def _age(each: Network | SubnetPool) -> tuple[datetime, str]:
    return each.created_at, each.id


def _out_of_pool(conn: Connection, subnet_id: str, now: datetime) -> str:
    subnets.update(conn, subnet_id, {"pool_id": None}, now)
    return f"subnet {subnet_id}, which was not within its subnet pool, is of none any more"


_MENDING: Mapping[str, Callable[[Connection, str, datetime], str]] = {
    rules.UNROUTED: _remove_port,
    rules.UNGATED: _remove_port,
    rules.NOWHERE: _remove_port,
    rules.UNUSED: _remove_port,
    rules.NO_GATEWAY: _open_gateway,
    rules.INSIDE: _make_external,
    rules.ASTRAY: _drop_routes,
    rules.UNHELD: _of_floating(_hold),
    rules.ADRIFT: _of_floating(_lead_again),
    rules.FORWARDED: _forward_no_more,
    rules.NO_WAY: _of_floating(_lead_again),
    rules.DEFAULTS: _one_default,
    rules.DEFAULT_INSIDE: _no_default,
    rules.DEFAULT_POOLS: _one_default_pool,
    rules.UNPOOLED: _out_of_pool,
}
"""What mends what breaks each rule, and says what it did; "" is nothing."""
