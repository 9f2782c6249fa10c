"""Addresses that a server is given and loses while it is there: fixed ones of its ports, and floating IPs to them."""

from __future__ import annotations

from collections.abc import Sequence

from floe.cloud import floating_ips, host_networks, lost_addresses, network_room, servers
from floe.cloud.addresses import assign
from floe.cloud.cloud import Cloud
from floe.core import addresses
from floe.core.context import Context
from floe.core.errors import Conflict, FloeError, Forbidden, Invalid, NotFound, Outdated, Unavailable
from floe.core.floating_ips import FloatingIP
from floe.core.networks import NoAddress
from floe.core.ports import MAX_FIXED_IPS, Port
from floe.store import addresses as address_rows
from floe.store import floating_ips as floating_rows
from floe.store import ports, subnets
from floe.store.engine import Connection


async def add_fixed(cloud: Cloud, context: Context, server_id: str, network_id: str) -> None:
    """Give a server's port on a network one more address.

    Raises NotFound for a server, or a network that it is not on, Conflict where it is locked, Invalid for want of room.
    """
    now = cloud.clock.now()

    def add(conn: Connection) -> bool:
        server = servers.changeable(conn, context, server_id)
        mine = [port for port in ports.of_server(conn, server.id) if port.network_id == network_id]
        below = subnets.of_networks(conn, [network_id])
        if not mine or not below:
            raise NotFound("network", message=f"Network could not be found for instance {server_id}.")
        port = min(mine, key=lambda each: len(each.fixed_ips))
        if len(port.fixed_ips) >= MAX_FIXED_IPS:
            raise Invalid(f"Port {port.id} of instance {server_id} has {MAX_FIXED_IPS} fixed IPs, and takes no more.")
        try:
            # Further subnets are for who asks for them by name; here any of the network will do.
            assign(conn, network_id, port.id, below, None, port.device_owner)
        except NoAddress:
            raise Invalid(f"No fixed IP addresses available for network: {network_id}") from None
        ports.update(conn, port.id, {}, now)
        return _tell(conn, port)

    if await cloud.db.write(add):
        await cloud.network_nudge()


async def remove_fixed(cloud: Cloud, context: Context, server_id: str, address: str) -> None:
    """Take a fixed address from a server.

    Raises NotFound, Conflict where the server is locked, Invalid for an address that it has not, or that a floating IP
    leads to; port forwardings to it end.
    """
    now = cloud.clock.now()

    def remove(conn: Connection) -> bool:
        server = servers.changeable(conn, context, server_id)
        found = _holder(ports.of_server(conn, server.id), address)
        if found is None:
            raise Invalid(f"Instance {server_id} does not have fixed IP address '{address}'.")
        port, subnet_id = found
        left = {held for _, held in port.fixed_ips} - {address}
        if floating := lost_addresses.led_to(conn, port.id, left, now):
            raise Invalid(
                f"Fixed IP address {address} of instance {server_id} has floating IP {floating.address};"
                " remove that first."
            )
        address_rows.release(conn, port.id, subnet_id, addresses.number_of(address))
        ports.update(conn, port.id, {}, now)
        return _tell(conn, port)

    if await cloud.db.write(remove):
        await cloud.network_nudge()


async def add_floating(cloud: Cloud, context: Context, server_id: str, address: str, fixed: str | None = None) -> None:
    """Have a floating IP lead to a server: to a fixed address of its, or else the first that it has.

    Raises NotFound for a server or a floating IP, and Invalid for all else.
    """

    def look(conn: Connection) -> tuple[FloatingIP, str, str]:
        server = servers.visible(conn, context, server_id)
        port_id, fixed_address = _leads_to(ports.of_server(conn, server.id), fixed)
        return _floating(conn, context, address), port_id, fixed_address

    floating, port_id, fixed_address = await cloud.db.read(look)
    wanted = {"port_id": port_id, "fixed_address": fixed_address}
    try:
        await floating_ips.update(cloud, context, floating.id, wanted)
    except (Forbidden, Unavailable):
        raise
    except FloeError as error:
        raise Invalid(
            f"Unable to associate floating IP {address} to fixed IP {fixed_address} for instance {server_id}."
            f" Error: {error.message}"
        ) from error


async def remove_floating(cloud: Cloud, context: Context, server_id: str, address: str) -> None:
    """Have a floating IP that leads to a server lead nowhere.

    Raises NotFound for a server or a floating IP, Conflict for one that does not lead there.
    """

    def look(conn: Connection) -> FloatingIP:
        server = servers.visible(conn, context, server_id)
        floating = _floating(conn, context, address)
        if floating.port_id not in {port.id for port in ports.of_server(conn, server.id)}:
            raise _elsewhere(address, server_id)
        return floating

    floating = await cloud.db.read(look)
    try:
        # It may have been moved since: then it is not this server's to lose.
        await floating_ips.update(cloud, context, floating.id, {"port_id": None}, floating.revision)
    except Outdated:
        raise _elsewhere(address, server_id) from None


def _elsewhere(address: str, server_id: str) -> Conflict:
    return Conflict(f"Floating IP {address} is not associated with instance {server_id}.")


def _floating(conn: Connection, context: Context, address: str) -> FloatingIP:
    found = floating_rows.with_address(conn, address, network_room.scope(context))
    if not found:
        raise NotFound("floating ip", message="floating IP not found")
    if len(found) > 1:
        raise Conflict(f"Multiple floating IPs are found for address {address}.")
    return found[0]


def _leads_to(held: Sequence[Port], fixed: str | None) -> tuple[str, str]:
    """Return the port and the address that a floating IP is to lead to."""
    if not held:
        raise Invalid("Instance network is not ready yet")
    known = [(port.id, address) for port in held for _, address in port.fixed_ips]
    if not known:
        raise Invalid("No fixed IPs associated to instance")
    found = next((each for each in known if fixed in {None, each[1]}), None)
    if found is None:
        raise Invalid("Specified fixed address not assigned to instance")
    return found


def _holder(held: Sequence[Port], address: str) -> tuple[Port, str] | None:
    """Return the port that has an address, and the subnet that it is of."""
    known = ((port, subnet_id) for port in held for subnet_id, each in port.fixed_ips if each == address)
    return next(known, None)


def _tell(conn: Connection, before: Port) -> bool:
    """Have the hosts of a port told, and those that know members of its groups; True if there are any."""
    after = ports.get(conn, before.id)
    assert after is not None
    return host_networks.touch_port(conn, before, after)
