"""Planted bugs in port forwardings, gateways, extra routes, subnet pools, topologies, and ports bound to hosts."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from floe.cloud import (
    auto_allocated,
    host_routers,
    networks,
    pins,
    port_forwardings,
    router_interfaces,
    routers,
    subnetpools,
    subnets,
)
from floe.cloud import floating_ips as floating
from floe.core.auto_allocated import Topology
from floe.core.host_network import HostForwarding
from floe.core.routers import Gateway
from floe.simulation.planting import Planted, patched
from floe.store import auto_allocated as topology_rows
from floe.store import floating_ips
from floe.store import hosts as host_rows
from floe.store import port_forwardings as forwarding_rows
from floe.store import routers as router_rows
from floe.store import subnetpools as pool_rows

_described, _way, _chosen = host_routers.described, floating.way, pins.chosen
_get_topology, _insert_topology = topology_rows.get, topology_rows.insert
_forwarded_on_host = floating_ips.forwarded_on_host


def _any_ports(new: Any, beside: Any, behind: Any) -> None:
    """Let port forwardings have the same ports."""


def _none_to(conn: Any, port_ids: Any) -> list[Any]:
    """Find no port forwarding that leads to a port."""
    return []


def _none_of(conn: Any, floating_ids: Any) -> list[Any]:
    """Find no port forwarding of a floating IP."""
    return []


def _any_way(conn: Any, port: Any, subnet_id: str, network_id: str) -> str:
    """Take the oldest router that leads out to a network, whether the port is behind it or not."""
    r = router_rows.ROWS.those(conn, gateway_network_id=network_id)
    return min(r, key=lambda each: (each.created_at, each.id)).id if r else _way(conn, port, subnet_id, network_id)


def _forwarded_anywhere(conn: Any, host: str, router_ids: Any) -> list[tuple[str, HostForwarding]]:
    """Give each host the port forwardings of all."""
    every = {each.name for each in host_rows.every(conn)}
    return [each for name in sorted(every) for each in _forwarded_on_host(conn, name, router_ids)]


def _first_address_alone(conn: Any, found: Any, leading: Any, forwarding: Any) -> list[Any]:
    """Leave out all addresses of a gateway but its first."""
    return [
        each
        if each.gateway is None
        else replace(each, gateway=replace(each.gateway, addresses=each.gateway.addresses[:1]))
        for each in _described(conn, found, leading, forwarding)
    ]


def _without_routes(conn: Any, found: Any, leading: Any, forwarding: Any) -> list[Any]:
    """Leave out extra routes."""
    return [replace(each, routes=()) for each in _described(conn, found, leading, forwarding)]


async def _routes_as_read(cloud: Any, context: Any, router_id: str, asked: Any) -> Any:
    """Add routes to those that were read before."""
    there = await routers.show(cloud, context, router_id)
    return await routers.update(cloud, context, router_id, {"routes": [*there.routes, *asked["routes"]]})


def _nothing_of_size(cidrs: Any) -> int:
    """Count no addresses."""
    return 0


def _no_pools(conn: Any, scope_id: str) -> list[Any]:
    """Find no pool of a scope."""
    return []


def _no_topology(conn: Any, project_id: str) -> Any:
    """Find no network that a project was given."""
    return None


def _one_more(conn: Any, topology: Any) -> None:
    """Keep the first that a project was given, and make another all the same."""
    if _get_topology(conn, topology.project_id) is None:
        _insert_topology(conn, topology)


async def _in_two_writes(cloud: Any, context: Any, project_id: Any) -> Any:
    """Make the network first, and then what belongs to it."""
    owner = context.project_id
    found = await cloud.db.read(lambda conn: topology_rows.get(conn, owner))
    if found is not None:
        return found
    met = await cloud.db.read(lambda conn: auto_allocated.demand_met(conn, context))
    (network,) = await networks.create(cloud, context, [{"name": "auto_allocated_network"}])
    (subnet,) = await subnets.create(cloud, context, [{"network_id": network.id, "pool_id": met.pool_id}])
    (router,) = await routers.create(cloud, context, [{"gateway": Gateway(network_id=met.external_id)}])
    await router_interfaces.add(cloud, context, router.id, {"subnet_id": subnet.id})
    made = Topology(project_id=owner, network_id=network.id, router_id=router.id)
    await cloud.db.write(lambda conn: topology_rows.insert(conn, made))
    return made


def _tell_nobody(conn: Any, before: Any, after: Any) -> bool:
    """Trust that hosts hear of ports with something else."""
    return False


def _always_plugged(conn: Any, context: Any, item: Any, port: Any = None) -> dict[str, Any]:
    """Bind any port to the host that is named, one that a server has, too."""
    changes = _chosen(conn, context, item, None)
    return changes if port is None or changes.get("host") != port.host else {}


OUTSIDE = (
    Planted(
        "outside-port-of-two",
        "two port forwardings of a floating IP may have one outside port",
        patched((port_forwardings, "check", _any_ports)),
        needs="forwarding",
    ),
    Planted(
        "forwarding-adrift",
        "a port that loses an address keeps the port forwardings to it",
        patched((forwarding_rows, "to_ports", _none_to)),
        needs="forwarding",
    ),
    Planted(
        "forwarding-unknown",
        "a floating IP does not know what it forwards",
        patched((forwarding_rows, "of_floating", _none_of)),
        needs="forwarding",
    ),
    Planted(
        "forwarding-no-way",
        "a port forwarding leads through any router to its network",
        patched((port_forwardings, "way", _any_way)),
        needs="forwarding",
    ),
    Planted(
        "forwarding-anywhere",
        "each host has the port forwardings of all hosts",
        patched((floating_ips, "forwarded_on_host", _forwarded_anywhere)),
        needs="forwarding",
    ),
    Planted(
        "gateway-of-one-address",
        "hosts have the first address of a gateway alone",
        patched((host_routers, "described", _first_address_alone)),
        needs="gateway",
    ),
    Planted(
        "routes-left-out",
        "hosts have routers without their extra routes",
        patched((host_routers, "described", _without_routes)),
        needs="gateway",
    ),
    Planted(
        "routes-as-read",
        "extra routes are added to those that were there before the transaction",
        patched((routers, "add_routes", _routes_as_read)),
        needs="gateway",
    ),
    Planted(
        "pool-without-quota",
        "a project has as much of a subnet pool as there is",
        patched((subnetpools, "size", _nothing_of_size)),
        needs="pool",
    ),
    Planted(
        "scope-forgets",
        "an address scope does not know its subnet pools",
        patched((pool_rows, "of_scope", _no_pools)),
        needs="pool",
    ),
    Planted(
        "topology-of-each",
        "each who asks for the network of a project is given one of his own",
        patched((topology_rows, "get", _no_topology), (topology_rows, "insert", _one_more)),
        needs="topology",
    ),
    Planted(
        "topology-in-parts",
        "the network of a project is made in several transactions",
        patched((auto_allocated, "show", _in_two_writes)),
        needs="topology",
    ),
    Planted(
        "pin-untold",
        "hosts are not told of the ports that are bound to them",
        patched((pins, "tell", _tell_nobody)),
        needs="pin",
    ),
    Planted(
        "pin-of-a-server",
        "the port of a server may be bound to another host",
        patched((pins, "chosen", _always_plugged)),
        needs="pin",
    ),
)
