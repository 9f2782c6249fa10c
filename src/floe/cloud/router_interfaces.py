"""Interfaces of routers: the ports by which they are on networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from floe.cloud import host_networks, network_room
from floe.cloud.addresses import insert_with_mac
from floe.cloud.cloud import Cloud
from floe.cloud.ports import OWNED as PORTS
from floe.cloud.routers import OWNED
from floe.cloud.subnets import OWNED as SUBNETS
from floe.core import addresses
from floe.core.context import Context
from floe.core.errors import Conflict, Invalid, NotFound
from floe.core.ports import ACTIVE, INTERFACE_OWNER, Port
from floe.core.routers import MAX_INTERFACES, Interface, Router, check_apart, hops_within
from floe.core.subnets import Subnet
from floe.store import addresses as address_rows
from floe.store import floating_ips, port_forwardings, ports, routers, subnets
from floe.store.engine import Connection


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """What was done: the router's port, and the subnet that it has an address of."""

    project_id: str
    port_id: str
    network_id: str
    subnet_id: str


async def add(cloud: Cloud, context: Context, router_id: str, asked: Mapping[str, Any]) -> Joined:
    """Join a router to a subnet (`subnet_id`), at the address of its gateway, or by a port of the user's (`port_id`).

    Raises NotFound, Forbidden, Invalid, Conflict, NoRoom.
    """
    now, fresh = cloud.clock.now(), cloud.new_id()
    return await _tell(cloud, lambda conn: add_in(conn, context, router_id, asked, fresh, now))


def add_in(
    conn: Connection, context: Context, router_id: str, asked: Mapping[str, Any], fresh: str, now: datetime
) -> tuple[Joined, bool]:
    """Join a router, on the caller's connection, by a new port with the id `fresh`; say whether a host has to know."""
    port_id, subnet_id = _named(asked, both=False)
    router = OWNED.own(conn, context, router_id)
    there = routers.interfaces(conn, [router_id])
    if len({each.port_id for each in there}) >= MAX_INTERFACES:
        raise Conflict(
            f"Router {router_id} has {MAX_INTERFACES} interfaces, and can have no more.",
            reason="too_many_interfaces",
        )
    if port_id is not None:
        joined = _by_port(conn, context, router, there, port_id, now)
    else:
        joined = _by_subnet(conn, context, router, there, subnet_id or "", fresh, now)
    routers.update(conn, router_id, {}, now)
    return joined, host_networks.touch_router(conn, router_id)


async def remove(cloud: Cloud, context: Context, router_id: str, asked: Mapping[str, Any]) -> Joined:
    """Take a router off a subnet, by that (`subnet_id`) or by its port (`port_id`), which goes.

    Raises NotFound, Forbidden, Invalid, Conflict.
    """
    now = cloud.clock.now()
    return await _tell(cloud, lambda conn: remove_in(conn, context, router_id, asked, now))


def remove_in(
    conn: Connection, context: Context, router_id: str, asked: Mapping[str, Any], now: datetime
) -> tuple[Joined, bool]:
    """Take a router off a subnet as `remove` does; True if hosts have to be told."""
    port_id, subnet_id = _named(asked, both=True)
    router = OWNED.own(conn, context, router_id)
    there = [each for each in routers.interfaces(conn, [router_id]) if each.owner == INTERFACE_OWNER]
    gone = _that(conn, context, router, there, port_id, subnet_id)
    _check_unused(conn, router, gone)
    touched = host_networks.touch_router(conn, router_id)  # while it is still on that network
    port = ports.get(conn, gone.port_id)
    assert port is not None
    ports.delete(conn, gone.port_id)
    routers.update(conn, router_id, {}, now)
    return _joined(port, gone.subnet_id), touched


def _named(asked: Mapping[str, Any], *, both: bool) -> tuple[str | None, str | None]:
    port_id, subnet_id = asked.get("port_id"), asked.get("subnet_id")
    if port_id is None and subnet_id is None:
        raise _bad("Either subnet_id or port_id must be specified")
    if port_id is not None and subnet_id is not None and not both:
        raise _bad("Cannot specify both subnet-id and port-id")
    return port_id, subnet_id


async def _tell(cloud: Cloud, write: Callable[[Connection], tuple[Joined, bool]]) -> Joined:
    joined, touched = await cloud.db.write(write)
    if touched:
        await cloud.network_nudge()
    return joined


def _by_subnet(
    conn: Connection,
    context: Context,
    router: Router,
    there: Sequence[Interface],
    subnet_id: str,
    port_id: str,
    now: datetime,
) -> Joined:
    subnet = SUBNETS.get(conn, context, subnet_id)
    if subnet.gateway is None:
        raise _bad("Subnet for router interface must have a gateway IP")
    if not context.is_admin and not context.owns(subnet.project_id):
        raise _bad(
            f"Cannot add interface to router because subnet {subnet_id} is not owned by project making the request"
        )
    _check_apart(conn, router, there, subnet)
    network_room.demand(conn, router.project_id, "port")
    port = Port(
        id=port_id,
        network_id=subnet.network_id,
        project_id=router.project_id,
        mac=addresses.mac_for(port_id),
        status=ACTIVE,
        device_id=router.id,
        device_owner=INTERFACE_OWNER,
        router_id=router.id,
        port_security=False,
        created_at=now,
        updated_at=now,
    )
    port = insert_with_mac(conn, port)
    number = addresses.number_of(subnet.gateway)
    if not address_rows.claim(conn, subnet.network_id, subnet.id, port_id, number):
        raise Conflict(
            f"IP address {subnet.gateway} is already in use in network {subnet.network_id}.", reason="address_in_use"
        )
    return _joined(port, subnet.id)


def _by_port(
    conn: Connection, context: Context, router: Router, there: Sequence[Interface], port_id: str, now: datetime
) -> Joined:
    port = PORTS.get(conn, context, port_id)
    if port.device_id or port.server_id is not None or port.pinned:
        raise Conflict(
            f"Unable to complete operation on port {port_id} for network {port.network_id}. Port already has an"
            f" attached device {port.device_id or port.host}.",
            reason="port_in_use",
        )
    if floating_ips.of_ports(conn, [port_id]) or port_forwardings.to_ports(conn, [port_id]):
        raise Conflict(
            f"Port {port_id} is reached by a floating IP, and so can be no interface of a router.", reason="port_in_use"
        )
    if not port.fixed_ips:
        raise _bad("Router port must have at least one fixed IP")
    if len(port.fixed_ips) > 1:
        raise _bad("Cannot have multiple IPv4 subnets on router port")
    ((subnet_id, address),) = port.fixed_ips
    subnet = subnets.get(conn, subnet_id)
    assert subnet is not None
    if not context.is_admin and not context.owns(subnet.project_id) and not _in_pools(subnet, address):
        raise _bad(
            f"Cannot add interface to router because specified port {port_id} has an IP address out of the allocation"
            f" pool of subnet {subnet_id}, which is not owned by the project making the request"
        )
    _check_apart(conn, router, there, subnet)
    changes = {
        "device_id": router.id, "device_owner": INTERFACE_OWNER, "router_id": router.id, "status": ACTIVE,
        "port_security": False, "groups": (), "allowed_pairs": (),
    }  # fmt: skip
    ports.update(conn, port_id, changes, now)
    return _joined(port, subnet_id)


def _in_pools(subnet: Subnet, address: str) -> bool:
    number = addresses.number_of(address)
    return any(first <= number <= last for first, last in subnet.pools)


def _check_apart(conn: Connection, router: Router, there: Sequence[Interface], subnet: Subnet) -> None:
    known = {each.subnet_id: each.cidr for each in there}
    if router.gateway_network_id is not None:
        known |= routers.subnets_of(conn, router.gateway_network_id)
    check_apart({subnet.id: subnet.cidr}, known)


def _that(
    conn: Connection,
    context: Context,
    router: Router,
    there: Sequence[Interface],
    port_id: str | None,
    subnet_id: str | None,
) -> Interface:
    """Return the interface that is named."""
    if port_id is None:
        SUBNETS.get(conn, context, subnet_id or "")
        found = next((each for each in there if each.subnet_id == subnet_id), None)
        if found is None:
            message = f"Router {router.id} has no interface on subnet {subnet_id}"
            raise NotFound("router interface for subnet", message=message)
        return found
    found = next((each for each in there if each.port_id == port_id), None)
    if found is None:
        message = f"Router {router.id} does not have an interface with id {port_id}"
        raise NotFound("router interface", message=message)
    if subnet_id is not None and found.subnet_id != subnet_id:
        raise Conflict(
            f"Subnet on port {port_id} does not match the requested subnet {subnet_id}.", reason="other_subnet"
        )
    return found


def _check_unused(conn: Connection, router: Router, gone: Interface) -> None:
    """Raise Conflict if something of the router leads through one of its interfaces."""
    if hops_within(router.routes, gone.cidr):
        raise Conflict(
            f"Router interface for subnet {gone.subnet_id} on router {router.id} cannot be deleted, as it is required"
            " by one or more routes.",
            reason="interface_in_use_by_route",
        )
    if floating_ips.leads_within(conn, router.id, gone.subnet_id):
        raise Conflict(
            f"Router interface for subnet {gone.subnet_id} on router {router.id} cannot be deleted, as it is required"
            " by one or more floating IPs.",
            reason="interface_in_use_by_floating_ip",
        )


def _joined(port: Port, subnet_id: str) -> Joined:
    return Joined(project_id=port.project_id, port_id=port.id, network_id=port.network_id, subnet_id=subnet_id)


def _bad(message: str) -> Invalid:
    return Invalid(f"Bad router request: {message}.", reason="bad_router_request")
