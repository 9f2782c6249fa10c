"""Routers: what joins networks of a project with each other, and with the outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from ipaddress import IPv4Network

import msgspec

from floe.core import addresses
from floe.core.errors import Conflict, Invalid

MAX_ROUTES = 30
"""Extra routes of a router."""
MAX_INTERFACES = 64
"""Of a router: each host with a guest behind it has them all."""

Route = tuple[str, str]
"""(destination CIDR, next hop)"""


class Router(msgspec.Struct, frozen=True, gc=False):
    """A router as the database holds it."""

    id: str
    project_id: str
    created_at: datetime
    updated_at: datetime
    name: str = ""
    description: str = ""
    up: bool = True
    gateway_network_id: str | None = None
    """The external network that it has its gateway on."""
    snat: bool = True
    """Whether what leaves by the gateway is from the gateway's address, where no floating IP says otherwise."""
    routes: tuple[Route, ...] = ()
    tags: tuple[str, ...] = ()
    revision: int = 0
    gateway_ips: tuple[tuple[str, str], ...] = ()
    """(subnet id, address) of the gateway's port."""
    zones: tuple[str, ...] = ()
    """The availability zones of the hosts that it is on."""


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """How a router is asked to lead out. What is None is not said."""

    network_id: str
    snat: bool | None = None
    fixed_ips: Sequence[tuple[str | None, str | None]] | None = None
    """(subnet id, address), of which either may be left open."""


class Interface(msgspec.Struct, frozen=True, gc=False):
    """A router's port on one of its networks, or its gateway."""

    port_id: str
    router_id: str
    network_id: str
    mac: str
    owner: str
    subnet_id: str
    address: str
    cidr: str
    subnet_project: str
    """Whose the subnet is."""
    up: bool = True
    scope_id: str | None = None
    """The address scope of the subnet, by its pool."""


def read_routes(routes: Sequence[Route]) -> tuple[Route, ...]:
    """Read extra routes, each once, in the order in which they came. Raises Invalid, Conflict for too many."""
    found = dict.fromkeys(
        (
            str(addresses.route_target(destination, "routes")),
            addresses.text_of(addresses.number_of(nexthop, "routes")),
        )
        for destination, nexthop in routes
    )
    if len(found) < len(routes):
        raise Invalid("Invalid input for routes: the same route is given twice.", reason="malformed")
    check_number(found)
    return tuple(found)


def check_number(routes: Iterable[Route]) -> None:
    """Raise Conflict for more routes than a router may have."""
    count = len(list(routes))
    if count > MAX_ROUTES:
        raise Conflict(
            f"Quota exceeded for resources: ['router_route']: {count} given, at most {MAX_ROUTES}.", reason="over_quota"
        )


def check_hops(routes: Sequence[Route], cidrs: Iterable[str], own: Iterable[str]) -> None:
    """Raise Invalid unless each next hop is on a network of the router, and none is the router itself."""
    networks, taken = [IPv4Network(cidr) for cidr in cidrs], set(own)
    for destination, nexthop in routes:
        number = addresses.number_of(nexthop, "routes")
        if not any(int(net.network_address) <= number <= int(net.broadcast_address) for net in networks):
            raise _bad_route(destination, nexthop, "the nexthop is not connected with router")
        if nexthop in taken:
            raise _bad_route(destination, nexthop, "the nexthop is used by router")


def hops_within(routes: Iterable[Route], cidr: str) -> list[Route]:
    """Return the routes whose next hop is in a subnet."""
    network = IPv4Network(cidr)
    first, last = int(network.network_address), int(network.broadcast_address)
    return [route for route in routes if first <= addresses.number_of(route[1], "routes") <= last]


def check_apart(new: Mapping[str, str], there: Mapping[str, str]) -> None:
    """Raise Invalid if a subnet (id -> CIDR) shares an address with one that the router is joined to already."""
    for ident, cidr in new.items():
        if ident in there:
            raise Invalid(
                f"Bad router request: Router already has a port on subnet {ident}.", reason="bad_router_request"
            )
        for other, other_cidr in there.items():
            if IPv4Network(cidr).overlaps(IPv4Network(other_cidr)):
                raise Invalid(
                    f"Bad router request: Cidr {cidr} of subnet {ident} overlaps with cidr {other_cidr} of subnet"
                    f" {other}.",
                    reason="bad_router_request",
                )


def _bad_route(destination: str, nexthop: str, why: str) -> Invalid:
    return Invalid(f"Invalid format for routes: {destination} via {nexthop}, {why}.", reason="bad_routes")
