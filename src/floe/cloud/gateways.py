"""The gateways of routers: their ports on external networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from floe.cloud import network_room
from floe.cloud.addresses import assign, insert_with_mac
from floe.core import addresses
from floe.core.context import Context
from floe.core.errors import Conflict, Forbidden, Invalid, NotFound
from floe.core.ids import derived
from floe.core.networks import Network, NoAddress
from floe.core.ports import ACTIVE, GATEWAY_OWNER, Port
from floe.core.routers import Gateway, Router, check_apart, check_hops
from floe.store import addresses as address_rows
from floe.store import floating_ips, networks, ports, routers, subnets
from floe.store.engine import Connection


def change(conn: Connection, context: Context, router: Router, asked: Gateway | None, now: datetime) -> Router:
    """Have a router lead out by another network, or otherwise, or not at all; return it as it is then.

    Raises NotFound, Invalid, Forbidden, Conflict, NoAddress.
    """
    if asked is None:
        return _close(conn, router, now)
    _may_choose(context, router, asked)
    network = networks.get(conn, asked.network_id, network_room.scope(context))
    if network is None:
        raise NotFound("network", asked.network_id)
    if not network.external:
        raise _bad(f"Network {network.id} is not an external network")
    below = subnets.of_networks(conn, [network.id])
    for _, address in asked.fixed_ips or ():
        if address is not None and address in {subnet.gateway for subnet in below}:
            raise _bad(f"External IP {address} is the same as the gateway IP")
    there = [each for each in routers.interfaces(conn, [router.id]) if each.owner != GATEWAY_OWNER]
    check_apart({subnet.id: subnet.cidr for subnet in below}, {each.subnet_id: each.cidr for each in there})
    cidrs = {subnet.cidr for subnet in below} | {each.cidr for each in there}
    check_hops(router.routes, cidrs, [each.address for each in there])
    if router.gateway_network_id not in {None, network.id}:
        router = _close(conn, router, now, check_routes=False)
    if router.gateway_network_id is None:
        _open(conn, router, network, asked.fixed_ips, now)
    elif asked.fixed_ips is not None:
        _readdress(conn, router, network, asked.fixed_ips)
    wanted = {"gateway_network_id": network.id, "snat": True if asked.snat is None else asked.snat}
    return _update(conn, router, wanted, now)


def _update(conn: Connection, router: Router, wanted: Mapping[str, Any], now: datetime) -> Router:
    """Give a router other values; return it as it is then, with its gateway."""
    changes = {name: value for name, value in wanted.items() if value != getattr(router, name)}
    if changes:
        routers.update(conn, router.id, changes, now)
    found = routers.get(conn, router.id)
    assert found is not None
    return found


def _close(conn: Connection, router: Router, now: datetime, *, check_routes: bool = True) -> Router:
    if router.gateway_network_id is None:
        return router
    if floating_ips.through(conn, router.id):
        raise Conflict(
            f"Gateway cannot be updated for router {router.id}, since a gateway to external network"
            f" {router.gateway_network_id} is required by one or more floating IPs.",
            reason="gateway_in_use",
        )
    if check_routes:
        there = [each for each in routers.interfaces(conn, [router.id]) if each.owner != GATEWAY_OWNER]
        check_hops(router.routes, {each.cidr for each in there}, [each.address for each in there])
    ports.delete(conn, *routers.port_of(conn, router.id, GATEWAY_OWNER))
    return _update(conn, router, {"gateway_network_id": None, "snat": True}, now)


def _open(
    conn: Connection,
    router: Router,
    network: Network,
    wanted: Sequence[tuple[str | None, str | None]] | None,
    now: datetime,
) -> None:
    """Give a router its port on an external network. The port is nobody's: no user of the router sees it."""
    port_id = derived(router.id, f"gateway on {network.id} at {router.revision}")
    port = Port(
        id=port_id,
        network_id=network.id,
        project_id="",
        mac=addresses.mac_for(port_id),
        status=ACTIVE,
        device_id=router.id,
        device_owner=GATEWAY_OWNER,
        router_id=router.id,
        port_security=False,
        created_at=now,
        updated_at=now,
    )
    insert_with_mac(conn, port)
    _assign(conn, port_id, network, wanted)


def open_again(conn: Connection, router: Router, now: datetime) -> bool:
    """Give a router whose port outside is gone another one; False if the network has no address for it."""
    network = networks.get(conn, router.gateway_network_id or "")
    if network is None:
        return False
    (port_id, *more) = routers.port_of(conn, router.id, GATEWAY_OWNER) or [""]
    if port_id:
        ports.delete(conn, *more)
        return True
    try:
        _open(conn, router, network, None, now)
    except NoAddress:
        ports.delete(conn, *routers.port_of(conn, router.id, GATEWAY_OWNER))
        return False
    return True


def _readdress(
    conn: Connection, router: Router, network: Network, wanted: Sequence[tuple[str | None, str | None]]
) -> None:
    (port_id,) = routers.port_of(conn, router.id, GATEWAY_OWNER)
    held = dict(router.gateway_ips)
    kept = [(subnet, held.get(subnet or "") if address is None else address) for subnet, address in wanted]
    if {address for _, address in kept} != set(held.values()):
        address_rows.release(conn, port_id)
        _assign(conn, port_id, network, kept)


def _assign(
    conn: Connection, port_id: str, network: Network, wanted: Sequence[tuple[str | None, str | None]] | None
) -> None:
    below = subnets.of_networks(conn, [network.id])
    try:
        assign(conn, network.id, port_id, below, wanted or None, GATEWAY_OWNER)
    except NoAddress:
        raise NoAddress(f"No more IP addresses available on network {network.id}.") from None


def _may_choose(context: Context, router: Router, asked: Gateway) -> None:
    """Refuse what is an administrator's to choose, unless it is so already."""
    if context.is_admin:
        return
    if asked.snat is not None and asked.snat != router.snat:
        raise Forbidden("Only an administrator may choose whether a router has SNAT (enable_snat).")
    held = {address for _, address in router.gateway_ips}
    named: Any = {address for _, address in asked.fixed_ips or ()}
    if asked.fixed_ips and not named <= held:
        raise Forbidden("Only an administrator may choose the addresses of a gateway (external_fixed_ips).")


def _bad(message: str) -> Invalid:
    return Invalid(f"Bad router request: {message}.", reason="bad_router_request")
