"""Subnets: IPv4 ranges of a network, with the pools that ports get their addresses from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from ipaddress import IPv4Network
from typing import Any

import msgspec

from floe.core import addresses
from floe.core.addresses import Pool
from floe.core.errors import Invalid

MAX_NAMESERVERS = 5
MAX_ROUTES = 20
MAX_POOLS = 64
MAX_SERVICE_TYPES = 16
_SERVICES = ("network:", "compute:")


class Subnet(msgspec.Struct, frozen=True, gc=False):
    """A subnet as the database holds it."""

    id: str
    network_id: str
    project_id: str
    cidr: str
    created_at: datetime
    updated_at: datetime
    name: str = ""
    description: str = ""
    pool_id: str | None = None
    """The subnet pool that its CIDR is of."""
    service_types: tuple[str, ...] = ()
    """Beginnings of device owners that may have its addresses; none: all may."""
    gateway: str | None = None
    dhcp: bool = True
    pools: tuple[Pool, ...] = ()
    nameservers: tuple[str, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()
    """(destination CIDR, next hop), handed to guests by DHCP."""
    tags: tuple[str, ...] = ()
    revision: int = 0


class SubnetPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The checked figures of a subnet."""

    cidr: str
    gateway: str | None
    dhcp: bool
    pools: tuple[Pool, ...]
    nameservers: tuple[str, ...]
    routes: tuple[tuple[str, str], ...]
    service_types: tuple[str, ...]


def new_subnet(asked: Mapping[str, Any]) -> SubnetPlan:
    """Check what a create asks for and fill in the rest. Raises Invalid or Conflict.

    `asked` may hold cidr, gateway (None: none; absent: the address after the network's), dhcp, pools (pairs of text;
    absent: all but the gateway), nameservers, routes.
    """
    dhcp = asked.get("dhcp", True)
    cidr = addresses.subnet_cidr(asked["cidr"], dhcp=dhcp)
    gateway: int | None = addresses.default_gateway(cidr)
    if "gateway" in asked:
        gateway = _gateway(cidr, asked["gateway"])
    pools = addresses.default_pools(cidr, gateway)
    if "pools" in asked:
        pools = read_pools(asked["pools"])
        addresses.check_pools(cidr, pools, gateway)
    return SubnetPlan(
        cidr=str(cidr),
        gateway=None if gateway is None else addresses.text_of(gateway),
        dhcp=dhcp,
        pools=pools,
        nameservers=read_nameservers(asked.get("nameservers") or ()),
        routes=read_routes(asked.get("routes") or ()),
        service_types=read_service_types(asked.get("service_types") or ()),
    )


def changed_subnet(subnet: Subnet, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Check what an update asks for; return the new values by field. Raises Invalid or Conflict."""
    cidr = IPv4Network(subnet.cidr)
    changes = {key: asked[key] for key in ("name", "description", "dhcp") if key in asked}
    gateway = None if subnet.gateway is None else addresses.number_of(subnet.gateway)
    if "gateway" in asked:
        gateway = _gateway(cidr, asked["gateway"])
        changes["gateway"] = None if gateway is None else addresses.text_of(gateway)
    pools = read_pools(asked["pools"]) if "pools" in asked else subnet.pools
    if changes.get("gateway", subnet.gateway) != subnet.gateway or "pools" in asked:
        addresses.check_pools(cidr, pools, gateway)
    if "pools" in asked:
        changes["pools"] = pools
    if "nameservers" in asked:
        changes["nameservers"] = read_nameservers(asked["nameservers"])
    if "routes" in asked:
        changes["routes"] = read_routes(asked["routes"])
    if "service_types" in asked:
        changes["service_types"] = read_service_types(asked["service_types"])
    if changes.get("dhcp") and not subnet.dhcp:
        addresses.check_dhcp(cidr)
    return changes


def read_service_types(types: Sequence[str]) -> tuple[str, ...]:
    """Check kinds of device owners. Raises Invalid."""
    if len(types) > MAX_SERVICE_TYPES:
        raise Invalid(f"Invalid input for service_types: {len(types)} given, at most {MAX_SERVICE_TYPES} allowed.")
    for each in types:
        if not each.startswith(_SERVICES):
            raise Invalid(
                f"Invalid input for service_types: {each[:80]!r} must begin with one of {', '.join(_SERVICES)}.",
                reason="bad_service_type",
            )
    if len(set(types)) != len(types):
        raise Invalid("Invalid input for service_types: the same is given twice.")
    return tuple(types)


def serving(subnets: Iterable[Subnet], device_owner: str) -> list[Subnet]:
    """Return those of the subnets of a network that a port of this device owner may have an address of.

    Subnets that are for its kind come before those that are for all, and where there are such, no other will do.
    """
    every = list(subnets)
    own = [subnet for subnet in every if device_owner and any(map(device_owner.startswith, subnet.service_types))]
    return own or [subnet for subnet in every if not subnet.service_types]


def read_pools(pools: Sequence[tuple[str, str]]) -> tuple[Pool, ...]:
    """Read pools of (start, end), as text, in order. Raises Invalid."""
    if len(pools) > MAX_POOLS:
        raise Invalid(
            f"Invalid input for allocation_pools: {len(pools)} given, at most {MAX_POOLS} allowed.",
            reason="too_many_pools",
        )
    return tuple(
        sorted(
            (addresses.number_of(start, "allocation_pools"), addresses.number_of(end, "allocation_pools"))
            for start, end in pools
        )
    )


def read_nameservers(servers: Sequence[str]) -> tuple[str, ...]:
    """Check name servers. Raises Invalid."""
    if len(servers) > MAX_NAMESERVERS:
        raise Invalid(
            f"Invalid input for dns_nameservers: {len(servers)} given, at most {MAX_NAMESERVERS} allowed.",
            reason="too_many_nameservers",
        )
    found = tuple(addresses.text_of(addresses.number_of(server, "dns_nameservers")) for server in servers)
    if len(set(found)) != len(found):
        raise Invalid("Invalid input for dns_nameservers: the same address is given twice.")
    return found


def read_routes(routes: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Check routes of (destination, next hop). Raises Invalid."""
    if len(routes) > MAX_ROUTES:
        raise Invalid(
            f"Invalid input for host_routes: {len(routes)} given, at most {MAX_ROUTES} allowed.",
            reason="too_many_routes",
        )
    found = tuple(
        (
            str(addresses.route_target(destination, "host_routes")),
            addresses.text_of(addresses.number_of(nexthop, "host_routes")),
        )
        for destination, nexthop in routes
    )
    if len(set(found)) != len(found):
        raise Invalid("Invalid input for host_routes: the same route is given twice.")
    return found


def _gateway(cidr: IPv4Network, text: str | None) -> int | None:
    if text is None:
        return None
    gateway = addresses.number_of(text, "gateway_ip")
    addresses.check_gateway(cidr, gateway)
    return gateway
