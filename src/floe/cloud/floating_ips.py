"""Floating IPs of a project: addresses of an external network, and the ports that are reached by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from floe.cloud import host_networks, network_room
from floe.cloud.addresses import assign, insert_with_mac, subnet_holding
from floe.cloud.cloud import Cloud
from floe.core import addresses
from floe.core.context import Context
from floe.core.errors import Conflict, Forbidden, Invalid, NotFound
from floe.core.floating_ips import FloatingIP
from floe.core.ids import derived
from floe.core.networks import Network, NoAddress
from floe.core.ports import DOWN, FLOATING_OWNER, Port
from floe.store import addresses as address_rows
from floe.store import floating_ips as rows
from floe.store import networks, port_forwardings, ports, routers, subnets
from floe.store.engine import Connection

OWNED = network_room.Owned("floatingip", rows.ROWS)
find, show, retag = OWNED.find, OWNED.show, OWNED.retag


async def create(cloud: Cloud, context: Context, asked: Sequence[Mapping[str, Any]]) -> list[FloatingIP]:
    """Make floating IPs, all of them or none.

    Each names its network_id and may have address, subnet_id, port_id, fixed_address, description, project_id. Raises
    NotFound, Invalid, Forbidden, Conflict, NoAddress, NoRoom.
    """
    now, ids = cloud.clock.now(), [cloud.new_id() for _ in asked]

    def make(conn: Connection) -> tuple[list[FloatingIP], bool]:
        made = [_make(conn, context, item, ident, now) for item, ident in zip(asked, ids, strict=True)]
        touched = [host_networks.touch_floating(conn, each) for each in made]
        return made, any(touched)

    made, touched = await cloud.db.write(make)
    if touched:
        await cloud.network_nudge()
    return made


async def update(
    cloud: Cloud, context: Context, floating_id: str, asked: Mapping[str, Any], seen: int | None = None
) -> FloatingIP:
    """Change a floating IP (description, port_id, fixed_address), if it is at the revision `seen`.

    A `port_id` of None has it lead nowhere. Raises NotFound, Forbidden, Invalid, Conflict, Outdated.
    """
    now = cloud.clock.now()

    def change(conn: Connection) -> tuple[FloatingIP, bool]:
        before = OWNED.own(conn, context, floating_id, seen)
        changes = {key: asked[key] for key in ("description",) if key in asked}
        if "port_id" in asked or "fixed_address" in asked:
            changes |= _lead(conn, context, before, asked)
        after = OWNED.change(conn, context, before, changes, now)
        if _leads(before) == _leads(after):
            return after, False
        touched = [host_networks.touch_floating(conn, each) for each in (before, after)]
        return after, any(touched)

    changed, touched = await cloud.db.write(change)
    if touched:
        await cloud.network_nudge()
    return changed


async def delete(cloud: Cloud, context: Context, floating_id: str, seen: int | None = None) -> None:
    """Give a floating IP back. Raises NotFound, Forbidden, Outdated; Conflict while it has port forwardings."""

    def remove(conn: Connection) -> bool:
        floating = OWNED.own(conn, context, floating_id, seen)
        _forwards_nothing(floating)
        touched = host_networks.touch_floating(conn, floating)
        rows.delete(conn, floating.id)
        ports.delete(conn, floating.own_port_id)
        return touched

    if await cloud.db.write(remove):
        await cloud.network_nudge()


def _make(conn: Connection, context: Context, item: Mapping[str, Any], floating_id: str, now: datetime) -> FloatingIP:
    project_id = network_room.owner(context, item.get("project_id"))
    network = networks.get(conn, item["network_id"], network_room.scope(context))
    if network is None:
        raise NotFound("network", item["network_id"])
    if not network.external:
        raise _bad(f"Network {network.id} is not a valid external network")
    network_room.demand(conn, project_id, OWNED.resource)
    port_id, address = _own_port(conn, context, network, item, floating_id, now)
    floating = FloatingIP(
        id=floating_id,
        project_id=project_id,
        network_id=network.id,
        own_port_id=port_id,
        address=address,
        description=item.get("description") or "",
        created_at=now,
        updated_at=now,
    )
    if item.get("port_id") or item.get("fixed_address"):
        floating = replace(floating, **_association(conn, context, floating, item))
    made = rows.insert(conn, floating)
    return made if made.port_id is None else OWNED.get(conn, context, floating_id)


def _own_port(
    conn: Connection, context: Context, network: Network, item: Mapping[str, Any], floating_id: str, now: datetime
) -> tuple[str, str]:
    """Make the port that holds the address; it is nobody's. Return its id and the address."""
    below = subnets.of_networks(conn, [network.id])
    if not below:
        raise _bad(f"Network {network.id} does not contain any IPv4 subnet")
    subnet_id, address = item.get("subnet_id"), item.get("address")
    if address is not None and not context.is_admin:
        raise Forbidden("Only an administrator may choose the address of a floating IP (floating_ip_address).")
    if address is not None and address in {subnet.gateway for subnet in below}:
        raise Conflict(f"IP address {address} is already in use in network {network.id}.", reason="address_in_use")
    port_id = _insert_holder(conn, floating_id, network.id, now)
    wanted = None if subnet_id is None and address is None else [(subnet_id, address)]
    try:
        ((_, given),) = assign(conn, network.id, port_id, below, wanted, FLOATING_OWNER)
    except NoAddress:
        raise NoAddress(f"Unable to find any IP address on external network {network.id}.") from None
    return port_id, given


def _insert_holder(conn: Connection, floating_id: str, network_id: str, now: datetime) -> str:
    """Add the port that holds a floating IP's address, without one yet; return its id."""
    port_id = derived(floating_id, "port")
    port = Port(
        id=port_id,
        network_id=network_id,
        project_id="",
        mac=addresses.mac_for(port_id),
        status=DOWN,
        device_id=floating_id,
        device_owner=FLOATING_OWNER,
        port_security=False,
        created_at=now,
        updated_at=now,
    )
    insert_with_mac(conn, port)
    return port_id


def hold(conn: Connection, floating: FloatingIP, now: datetime) -> bool:
    """Have a floating IP's address held again by the port that is for that; False if somebody else has it by now."""
    subnet = subnet_holding(subnets.of_networks(conn, [floating.network_id]), floating.address)
    if subnet is None:
        return False
    port = ports.get(conn, floating.own_port_id)
    if port is None or (port.network_id, port.device_owner) != (floating.network_id, FLOATING_OWNER):
        port_id = _insert_holder(conn, floating.id, floating.network_id, now)
        rows.update(conn, floating.id, {"own_port_id": port_id}, now)
    else:
        port_id = port.id
        address_rows.release(conn, port_id)
    number = addresses.number_of(floating.address)
    return address_rows.claim(conn, floating.network_id, subnet.id, port_id, number)


def lead_again(conn: Connection, floating: FloatingIP, now: datetime) -> bool:
    """Have a floating IP whose way is gone lead by another one, if there is any, or else nowhere; False if nowhere."""
    forwarded = [] if floating.port_id is not None else port_forwardings.of_floating(conn, [floating.id])
    end = forwarded[0] if forwarded else floating
    port_id, fixed = end.port_id, end.fixed_address
    port = None if port_id is None else ports.get(conn, port_id)
    subnet_id = None if port is None else next((subnet for subnet, address in port.fixed_ips if address == fixed), None)
    ways = [] if subnet_id is None else routers.ways_out(conn, subnet_id, floating.network_id)
    led: dict[str, Any] = (
        {"router_id": ways[0][0]} if ways else dict.fromkeys(("port_id", "fixed_address", "router_id"))
    )
    rows.update(conn, floating.id, led, now)
    if forwarded and not ways:
        rows.forward_no_more(conn, forwarded, now)
    return bool(ways)


def _forwards_nothing(floating: FloatingIP) -> None:
    if floating.forwardings:
        raise Conflict(
            f"Floating IP {floating.id} in use by Port Forwarding resources.", reason="floatingip_has_forwardings"
        )


def _lead(conn: Connection, context: Context, before: FloatingIP, asked: Mapping[str, Any]) -> Mapping[str, str | None]:
    """Return the fields by which a floating IP leads elsewhere; one that leads nowhere keeps its port forwardings."""
    if asked.get("port_id") is not None:
        _forwards_nothing(before)
    changes = _association(conn, context, before, asked)
    return {} if before.forwardings else changes


def _association(
    conn: Connection, context: Context, floating: FloatingIP, asked: Mapping[str, Any]
) -> dict[str, str | None]:
    """Return the fields by which a floating IP leads to the port asked for. Raises NotFound, Invalid, Conflict."""
    port_id = asked.get("port_id")
    if port_id is None:
        if asked.get("fixed_address"):
            raise _bad("fixed_ip_address cannot be specified without a port_id")
        return {"port_id": None, "fixed_address": None, "router_id": None}
    port = ports.get(conn, port_id, network_room.scope(context))
    if port is None:
        raise NotFound("port", port_id)
    if port.project_id != floating.project_id and not context.is_admin:
        raise _bad(
            f"Cannot process floating IP association with Port {port_id}, since that port is owned by a different"
            " project"
        )
    if port.device_owner.startswith("network:"):
        raise _bad(f"Port {port_id} is unable to be assigned a floating IP")
    subnet_id, fixed = _address_of(port, asked.get("fixed_address"))
    other = rows.leads_to(conn, port_id, fixed, floating.network_id)
    if other not in {None, floating.id}:
        raise Conflict(
            f"Cannot associate floating IP {floating.address} ({floating.id}) with port {port_id} using fixed IP"
            f" {fixed}, as that fixed IP already has a floating IP on external network {floating.network_id}.",
            reason="address_has_floating_ip",
        )
    return {"port_id": port_id, "fixed_address": fixed, "router_id": way(conn, port, subnet_id, floating.network_id)}


def _address_of(port: Port, asked: str | None) -> tuple[str, str]:
    """Return the (subnet id, address) of a port that a floating IP is to lead to. Raises Invalid."""
    if asked is not None:
        found = next(((subnet, address) for subnet, address in port.fixed_ips if address == asked), None)
        if found is None:
            raise _bad(f"Port {port.id} does not have fixed ip {asked}")
        return found
    if not port.fixed_ips:
        raise _bad(f"Cannot add floating IP to port {port.id} that has no fixed IPv4 addresses")
    if len(port.fixed_ips) > 1:
        raise _bad(
            f"Port {port.id} has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address when assigning a"
            " floating IP"
        )
    return port.fixed_ips[0]


def way(conn: Connection, port: Port, subnet_id: str, network_id: str) -> str:
    """Return the router from a port's subnet to an external network: that at the subnet's gateway, else the oldest.

    Raises NotFound.
    """
    ways = routers.ways_out(conn, subnet_id, network_id)
    if not ways:
        raise NotFound(
            "way out",
            message=f"External network {network_id} is not reachable from subnet {subnet_id}.  Therefore, cannot"
            f" associate Port {port.id} with a Floating IP.",
        )
    subnet = subnets.get(conn, subnet_id)
    gateway = None if subnet is None else subnet.gateway
    return next((router_id for router_id, address in ways if address == gateway), ways[0][0])


def _leads(floating: FloatingIP) -> tuple[str | None, ...]:
    return floating.port_id, floating.fixed_address, floating.router_id


def _bad(message: str) -> Invalid:
    return Invalid(f"Bad floatingip request: {message}.", reason="bad_floatingip_request")
