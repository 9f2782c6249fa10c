"""Which addresses a port gets: those asked for, or free ones of its network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network

from msgspec.structs import replace

from floe.core import addresses
from floe.core.errors import Conflict, Invalid
from floe.core.networks import NoAddress
from floe.core.ports import MAX_FIXED_IPS, Port
from floe.core.subnets import Subnet, serving
from floe.store import addresses as rows
from floe.store import ports
from floe.store.engine import Connection

Wanted = tuple[str | None, str | None]
"""(subnet id, address), either or both named."""
_MAC_ATTEMPTS = 8


def subnet_holding(subnets: Iterable[Subnet], address: str) -> Subnet | None:
    """Return the subnet a host may have this address in."""
    number = addresses.number_of(address)
    for subnet in subnets:
        first, last = addresses.hosts_of(IPv4Network(subnet.cidr))
        if first <= number <= last:
            return subnet
    return None


def assign(
    conn: Connection,
    network_id: str,
    port_id: str,
    subnets: Sequence[Subnet],
    wanted: Sequence[Wanted] | None,
    device_owner: str = "",
) -> tuple[tuple[str, str], ...]:
    """Give a port its addresses and return them as (subnet id, address).

    `wanted` None means one address of the first subnet that has room, of those for the port's `device_owner`; a network
    without subnets gives none.

    Raises Invalid for what does not fit the network, NotFound, Conflict for an address that is taken, NoAddress.
    """
    if wanted is None:
        if not subnets:
            return ()
        fitting = serving(subnets, device_owner)
        if not fitting:
            raise Conflict(
                f"No valid service subnet for the given device owner {device_owner!r} is on network {network_id}.",
                reason="no_subnet_for_owner",
            )
        return (_any(conn, network_id, port_id, fitting),)
    if len(wanted) > MAX_FIXED_IPS:
        raise Invalid(f"Invalid input for fixed_ips: {len(wanted)} given, at most {MAX_FIXED_IPS} allowed.")
    given = []
    for subnet_id, address in sorted(wanted, key=lambda item: item[1] is None):
        if address is not None:
            given.append(_this(conn, network_id, port_id, subnets, subnet_id, address))
        else:
            subnet = next((subnet for subnet in subnets if subnet.id == subnet_id), None)
            if subnet is None:
                raise Invalid(f"Invalid input for fixed_ips: {subnet_id!r} is no subnet of network {network_id}.")
            given.append(_any(conn, network_id, port_id, [subnet]))
    return tuple(given)


def insert_with_mac(conn: Connection, port: Port) -> Port:
    """Add a port, with another MAC when its first one is taken in the network."""
    for attempt in range(_MAC_ATTEMPTS):
        candidate = replace(port, mac=addresses.mac_for(port.id, attempt))
        if ports.insert(conn, candidate):
            return candidate
    raise Conflict(
        f"No free MAC address was found in network {port.network_id} after {_MAC_ATTEMPTS} tries.", reason="no_mac_left"
    )


def _this(
    conn: Connection, network_id: str, port_id: str, subnets: Sequence[Subnet], subnet_id: str | None, address: str
) -> tuple[str, str]:
    among = [subnet for subnet in subnets if subnet_id in {None, subnet.id}]
    if not among:
        raise Invalid(f"Invalid input for fixed_ips: {subnet_id!r} is no subnet of network {network_id}.")
    subnet = subnet_holding(among, address)
    if subnet is None:
        cidrs = ", ".join(subnet.cidr for subnet in among)
        raise Invalid(
            f"Invalid input for fixed_ips: {address} is no host address of {cidrs}.",
            reason="address_outside_network" if subnet_id is None else "address_outside_subnet",
        )
    shown = str(IPv4Address(address))
    if not rows.claim(conn, network_id, subnet.id, port_id, addresses.number_of(address)):
        raise Conflict(f"IP address {shown} is already in use in network {network_id}.", reason="address_in_use")
    return (subnet.id, shown)


def _any(conn: Connection, network_id: str, port_id: str, subnets: Sequence[Subnet]) -> tuple[str, str]:
    for subnet in subnets:
        number = rows.allocate(conn, network_id, subnet.id, port_id, subnet.pools)
        if number is not None:
            return (subnet.id, addresses.text_of(number))
    raise NoAddress(f"No more IP addresses available on network {network_id}.")
