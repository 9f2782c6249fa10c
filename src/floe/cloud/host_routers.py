"""Routers as hosts are to have them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from ipaddress import IPv4Network

from msgspec.structs import replace

from floe.core import addresses
from floe.core.host_network import HostFloating, HostForwarding, HostRoute, HostRouter, RouterLeg
from floe.core.ports import GATEWAY_OWNER, INTERFACE_OWNER
from floe.core.routers import Interface, Router
from floe.store import floating_ips, routers
from floe.store.engine import Connection
from floe.store.foresight import foresee


def beside(conn: Connection, host: str, network_ids: Iterable[str]) -> list[HostRouter]:
    """Return the routers that have an interface on one of these networks, in the order of their ids."""
    return on_host(conn, host, routers.on_networks(conn, network_ids))


def on_host(conn: Connection, host: str, found: Sequence[str]) -> list[HostRouter]:
    """Return these routers, with what leads by them to a host's ports, in the order of their ids.

    Outside each host has a MAC of its own for a router: on a real network several have it, each for its own guests.
    """
    if not found:
        return []
    foresee(
        conn,
        partial(floating_ips.on_host, host=host, router_ids=found),
        partial(floating_ips.forwarded_on_host, host=host, router_ids=found),
        *(partial(read, router_ids=found) for read in (routers.plain, routers.interfaces, routers.next_hops)),
    )
    leading, forwarded = floating_ips.on_host(conn, host, found), floating_ips.forwarded_on_host(conn, host, found)
    return [_outside(router, host) for router in described(conn, routers.plain(conn, found), leading, forwarded)]


def _outside(router: HostRouter, host: str) -> HostRouter:
    if router.gateway is None:
        return router
    mac = addresses.mac_on(router.gateway.port_id, host)
    return replace(router, gateway=replace(router.gateway, mac=mac))


def described(
    conn: Connection,
    found: Sequence[Router],
    leading: Iterable[tuple[str, HostFloating]],
    forwarding: Iterable[tuple[str, HostForwarding]],
) -> list[HostRouter]:
    """Return routers with their legs, in the order in which they are given.

    Of these floating IPs and port forwardings, each given with its router, they have those that are theirs.
    """
    ids = [router.id for router in found]
    legs: dict[str, list[Interface]] = {router_id: [] for router_id in ids}
    for leg in routers.interfaces(conn, ids):
        legs[leg.router_id].append(leg)
    floating: dict[str, list[HostFloating]] = {router_id: [] for router_id in ids}
    for router_id, each in leading:
        if router_id in floating:
            floating[router_id].append(each)
    forwarded: dict[str, list[HostForwarding]] = {router_id: [] for router_id in ids}
    for router_id, one in forwarding:
        if router_id in forwarded:
            forwarded[router_id].append(one)
    hops = routers.next_hops(conn, ids)
    return [
        _router(router, legs[router.id], floating[router.id], forwarded[router.id], hops.get(router.id))
        for router in found
    ]


def _router(
    router: Router,
    legs: Sequence[Interface],
    floating: Sequence[HostFloating],
    forwarded: Sequence[HostForwarding],
    hop: str | None,
) -> HostRouter:
    return HostRouter(
        router_id=router.id,
        interfaces=tuple(_leg([leg]) for leg in legs if leg.owner == INTERFACE_OWNER),
        gateway=_leg(out) if (out := [leg for leg in legs if leg.owner == GATEWAY_OWNER]) else None,
        next_hop=hop,
        snat=router.snat,
        routes=tuple(HostRoute(destination=target, nexthop=to) for target, to in router.routes),
        floating=tuple(floating),
        forwarded=tuple(forwarded),
        up=router.up,
    )


def _leg(found: Sequence[Interface]) -> RouterLeg:
    """Return a port, of its addresses."""
    first = found[0]
    return RouterLeg(
        port_id=first.port_id,
        network_id=first.network_id,
        mac=first.mac,
        addresses=tuple(f"{each.address}/{IPv4Network(each.cidr).prefixlen}" for each in found),
        up=first.up,
        scope=first.scope_id or "",
    )
