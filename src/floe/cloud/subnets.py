"""Subnets, and the port of each network that DHCP, DNS and metadata answer at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from ipaddress import IPv4Network
from typing import Any

from floe.cloud import host_networks, network_room, subnetpools
from floe.cloud.addresses import insert_with_mac
from floe.cloud.cloud import Cloud
from floe.core import addresses
from floe.core.context import Context
from floe.core.errors import Conflict, Forbidden, Invalid, NotFound
from floe.core.ids import derived
from floe.core.networks import Network, NoAddress
from floe.core.ports import ACTIVE, DHCP_OWNER, Port
from floe.core.subnets import Subnet, changed_subnet, new_subnet
from floe.store import addresses as address_rows
from floe.store import networks, ports, routers
from floe.store import subnets as rows
from floe.store.engine import Connection

OWNED = network_room.Owned("subnet", rows.ROWS)
find, show, retag = OWNED.find, OWNED.show, OWNED.retag


async def create(cloud: Cloud, context: Context, asked: Sequence[Mapping[str, Any]]) -> list[Subnet]:
    """Make subnets: network_id, and what `core.subnets.new_subnet` reads. All of them or none.

    The CIDR may be one of a subnet pool (pool_id, or default_pool): any, of that `length` if one is said.

    Raises NotFound for a network the caller does not see, Forbidden for one of another's, Invalid, Conflict, NoRoom.
    """

    now, ids = cloud.clock.now(), [cloud.new_id() for _ in asked]

    def make(conn: Connection) -> tuple[list[Subnet], bool]:
        made = [make_in(conn, context, item, ident, now) for item, ident in zip(asked, ids, strict=True)]
        touched = [host_networks.touch_network(conn, network_id) for network_id in {s.network_id for s in made}]
        return made, any(touched)

    made, touched = await cloud.db.write(make)
    if touched:
        await cloud.network_nudge()
    return made


def make_in(conn: Connection, context: Context, item: Mapping[str, Any], subnet_id: str, now: datetime) -> Subnet:
    """Make one subnet, on the caller's connection."""
    network = networks.get(conn, item["network_id"], network_room.scope(context))
    if network is None:
        raise NotFound("network", item["network_id"])
    asked = item.get("project_id") or (network.project_id if context.is_admin else None)
    project_id = network_room.owner(context, asked)
    if network.project_id != project_id and not context.is_admin:
        raise Forbidden(f"Only the owner of network {network.id} may add subnets to it.")
    networks.update(conn, network.id, {}, now)
    pool_id, item = _with_cidr(conn, context, network.id, project_id, item)
    plan = new_subnet(item)
    other = addresses.overlapping(IPv4Network(plan.cidr), rows.cidrs(conn, network.id))
    if other is not None:
        raise Invalid(
            f"Invalid input for cidr: requested subnet with cidr {plan.cidr} for network {network.id} overlaps with"
            f" another subnet of it, {other}."
        )
    network_room.demand(conn, project_id, "subnet")
    subnet = Subnet(
        id=subnet_id,
        network_id=network.id,
        project_id=project_id,
        name=item.get("name") or "",
        description=item.get("description") or "",
        cidr=plan.cidr,
        pool_id=pool_id,
        service_types=plan.service_types,
        gateway=plan.gateway,
        dhcp=plan.dhcp,
        pools=plan.pools,
        nameservers=plan.nameservers,
        routes=plan.routes,
        created_at=now,
        updated_at=now,
    )
    rows.insert(conn, subnet)
    if subnet.dhcp:
        _serve_dhcp(conn, network, subnet, now)
    return subnet


def _with_cidr(
    conn: Connection, context: Context, network_id: str, project_id: str, item: Mapping[str, Any]
) -> tuple[str | None, Mapping[str, Any]]:
    """Return the subnet pool that a subnet is of, and what is asked for with its CIDR. Raises Invalid, Conflict."""
    pool_id, cidr, length = item.get("pool_id"), item.get("cidr"), item.get("length")
    if item.get("default_pool"):
        if pool_id is not None:
            raise _bad("subnetpool_id and use_default_subnetpool cannot both be specified")
        pool_id = subnetpools.default(conn).id
    if rows.pools_of(conn, network_id) - {pool_id}:
        raise Invalid(
            "Subnets hosted on the same network must be allocated from the same subnet pool.", reason="other_pool"
        )
    if pool_id is None:
        if cidr is None:
            raise _bad("a subnetpool must be specified in the absence of a cidr")
        if length is not None:
            raise _bad("prefixlen is for subnets of a subnet pool")
        return None, item
    if cidr is not None and length is not None:
        raise _bad("cidr and prefixlen must not be supplied together")
    if cidr is not None:
        cidr = str(addresses.network_of(cidr, "cidr"))
    return pool_id, {**item, "cidr": subnetpools.allocate(conn, context, pool_id, project_id, length, cidr)}


async def update(
    cloud: Cloud, context: Context, subnet_id: str, asked: Mapping[str, Any], seen: int | None = None
) -> Subnet:
    """Change a subnet, by the fields of `changed_subnet`, if it is at the revision `seen`.

    Raises NotFound, Forbidden, Invalid, Conflict, Outdated.
    """

    now = cloud.clock.now()

    def change(conn: Connection) -> tuple[Subnet, bool]:
        subnet = OWNED.own(conn, context, subnet_id, seen)
        if asked.get("gateway", subnet.gateway) != subnet.gateway:
            _gateway_stays(conn, subnet)
        asked_for = changed_subnet(subnet, asked)
        changes = {key: value for key, value in asked_for.items() if value != getattr(subnet, key)}
        if not changes:
            return subnet, False
        rows.update(conn, subnet_id, changes, now)
        networks.update(conn, subnet.network_id, {}, now)
        if changes.get("dhcp", subnet.dhcp) != subnet.dhcp:
            network = networks.get(conn, subnet.network_id)
            if network is not None and changes["dhcp"]:
                _serve_dhcp(conn, network, subnet, now)
            else:
                _drop_dhcp(conn, subnet)
        return OWNED.get(conn, context, subnet_id), host_networks.touch_network(conn, subnet.network_id)

    changed, touched = await cloud.db.write(change)
    if touched:
        await cloud.network_nudge()
    return changed


async def delete(cloud: Cloud, context: Context, subnet_id: str, seen: int | None = None) -> None:
    """Remove a subnet that no port has an address of. Raises NotFound, Forbidden, Conflict, Outdated."""

    now = cloud.clock.now()

    def remove(conn: Connection) -> bool:
        subnet = OWNED.own(conn, context, subnet_id, seen)
        dhcp = ports.with_owner(conn, subnet.network_id, DHCP_OWNER)
        own = None if dhcp is None else dhcp.id
        users = [port_id for port_id, _ in address_rows.in_subnet(conn, subnet_id) if port_id != own]
        if users:
            raise Conflict(
                f"Unable to complete operation on subnet {subnet_id}: One or more ports have an IP allocation from this"
                f" subnet ({len(users)}).",
                reason="subnet_in_use",
            )
        _drop_dhcp(conn, subnet)
        rows.delete(conn, subnet_id)
        networks.update(conn, subnet.network_id, {}, now)
        return host_networks.touch_network(conn, subnet.network_id)

    if await cloud.db.write(remove):
        await cloud.network_nudge()


def _gateway_stays(conn: Connection, subnet: Subnet) -> None:
    """Raise where a router is the gateway of a subnet."""
    if subnet.gateway is None:
        return
    port_id = routers.holder(conn, subnet.id, addresses.number_of(subnet.gateway))
    if port_id is not None:
        raise Conflict(
            f"Current gateway ip {subnet.gateway} already in use by port {port_id}. Unable to update.",
            reason="gateway_ip_in_use",
        )


def _serve_dhcp(conn: Connection, network: Network, subnet: Subnet, now: datetime) -> None:
    """Give the network's DHCP port, made now if need be, an address of the subnet."""
    port = ports.with_owner(conn, network.id, DHCP_OWNER)
    if port is None:
        port_id = derived(network.id, "dhcp port")
        port = Port(
            id=port_id,
            network_id=network.id,
            project_id=network.project_id,
            mac=addresses.mac_for(port_id),
            status=ACTIVE,
            device_id=f"dhcp-{network.id}",
            device_owner=DHCP_OWNER,
            port_security=False,
            created_at=now,
            updated_at=now,
        )
        port = insert_with_mac(conn, port)
    if not any(held == subnet.id for held, _ in port.fixed_ips):
        # The first one: it is made with the subnet, beside nobody, and users choose addresses of their own after it.
        number = address_rows.next_free(conn, network.id, subnet.pools)
        if number is None or not address_rows.claim(conn, network.id, subnet.id, port.id, number):
            raise NoAddress(f"Subnet {subnet.cidr} has no free address in its pools for DHCP to answer at.")


def _drop_dhcp(conn: Connection, subnet: Subnet) -> None:
    """Take the DHCP port's address of the subnet back, and the port with its last address."""
    port = ports.with_owner(conn, subnet.network_id, DHCP_OWNER)
    if port is None:
        return
    address_rows.release(conn, port.id, subnet.id)
    if all(held == subnet.id for held, _ in port.fixed_ips):
        ports.delete(conn, port.id)


def _bad(message: str) -> Invalid:
    return Invalid(f"Bad subnets request: {message}.", reason="bad_subnets_request")
