"""Planted bugs in what is done with routers, floating IPs and subnet pools."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from floe.cloud import host_networks, host_routers, network_room, router_interfaces
from floe.core.host_network import HostFloating, RoutersChange
from floe.core.host_network_state import HostNetworkState
from floe.core.ports import FLOATING_OWNER, GATEWAY_OWNER, INTERFACE_OWNER
from floe.simulation.planting import Planted, patched
from floe.store import floating_ips, ports, routers, subnetpools
from floe.store.addresses import port_addresses
from floe.store.port_bindings import port_bindings

_demand, _port_of, _delete_ports = network_room.demand, routers.port_of, ports.delete
_beside, _snapshot = host_routers.beside, HostNetworkState.snapshot
_change_routers = HostNetworkState.change_routers
_FLOATING, _PORTS = floating_ips.floating_ips, ports.ports


def _leave_in_part(conn: Any, port_ids: Any, now: Any) -> None:
    """Forget the port, and keep the address and the way."""
    where = _FLOATING.c.port_id.in_(list(port_ids))
    conn.execute(_FLOATING.update().where(where).values(port_id=None, updated_at=now))


def _tell_nobody(conn: Any, subject: Any) -> bool:
    """Trust that the hosts hear of it with something else."""
    return False


def _no_port_of_gateways(conn: Any, router_id: str, owner: str) -> list[str]:
    """Find the ports of interfaces alone."""
    return [] if owner == GATEWAY_OWNER else _port_of(conn, router_id, owner)


def _keep_what_holds_addresses(conn: Any, *port_ids: str) -> bool:
    """Remove ports but those that hold the addresses of floating IPs."""
    found = ports.many(conn, port_ids)
    return _delete_ports(conn, *(each for each in port_ids if found[each].device_owner != FLOATING_OWNER))


def _leads_nowhere_yet(conn: Any, port_id: str, fixed_address: str, network_id: str) -> None:
    """Know of no other floating IP."""


def _all_apart(new: Any, there: Any) -> None:
    """Join what overlaps."""


def _no_hops(routes: Any, cidr: str) -> list[Any]:
    """Find no route that goes that way."""
    return []


def _none_within(conn: Any, router_id: str, subnet_id: str) -> bool:
    """Find no floating IP that needs the interface."""
    return False


def _nothing_through(conn: Any, router_id: str) -> bool:
    """Find no floating IP that needs the gateway."""
    return False


def _any_router(conn: Any, subnet_id: str, external: str) -> list[tuple[str, str]]:
    """Take any router for a way out, wherever it leads."""
    p, a = _PORTS.c, port_addresses.c
    found = _PORTS.join(port_addresses, a.port_id == p.id).select().with_only_columns(p.router_id)
    where = (a.subnet_id == subnet_id, p.device_owner == INTERFACE_OWNER)
    return [(row[0], "") for row in conn.execute(found.where(*where).order_by(p.router_id))]


def _all_but_routers(conn: Any, project_id: str, resource: str) -> None:
    """Let projects have any number of routers."""
    if resource != "router":
        _demand(conn, project_id, resource)


def _nothing_taken(conn: Any, pool_id: str, project_id: str | None = None) -> list[str]:
    """Forget what subnets have of a pool."""
    return []


def _with_floating_ips_of_the_gone(self: HostNetworkState) -> Any:
    """Keep a router's floating IPs when their ports go."""
    return replace(_snapshot(self), routers=tuple(self.routers[name] for name in sorted(self.routers)))


def _floating_anywhere(conn: Any, host: str, router_ids: Any) -> list[tuple[str, HostFloating]]:
    """Give each host the floating IPs of all."""
    return [
        (each.router_id, HostFloating(
            floating_id=each.id, address=each.address, fixed=each.fixed_address or "", port_id=each.port_id or ""
        ))
        for each in floating_ips.of_routers(conn, router_ids)
        if each.router_id is not None
    ]  # fmt: skip


def _only_with_gateways(conn: Any, host: str, network_ids: Any) -> list[Any]:
    """Leave out the routers that do not lead out."""
    return [each for each in _beside(conn, host, network_ids) if each.gateway is not None]


def _tell_its_own(conn: Any, network_id: str) -> bool:
    """Tell the hosts that have ports of the network itself."""
    b = port_bindings.c
    own = _PORTS.select().with_only_columns(_PORTS.c.id).where(_PORTS.c.network_id == network_id)
    found = port_bindings.select().with_only_columns(b.host).where(b.plugged.is_(True), b.port_id.in_(own))
    hosts = [row[0] for row in conn.execute(found)]
    host_networks.touch_hosts(conn, hosts)
    return bool(hosts)


def _with_what_was(self: HostNetworkState, change: RoutersChange) -> None:
    """Take a change of routers as what is new, as if what went had come again late."""
    before = {router_id: router.floating for router_id, router in self.routers.items()}
    _change_routers(self, change)
    for router in change.routers:
        known = {each.floating_id: each for each in (*before.get(router.router_id, ()), *router.floating)}
        if self.routers.get(router.router_id) == router:
            self.routers[router.router_id] = replace(router, floating=tuple(known.values()))
    self.generation = max(self.generation, change.generation)


def _pass_over(self: HostNetworkState, change: RoutersChange) -> None:
    """Count a change of routers as known, and change nothing."""
    self.generation = max(self.generation, change.generation)


ROUTERS = (
    Planted(
        "way-kept",
        "a port that goes leaves a floating IP with half of what it led to",
        patched((floating_ips, "leave", _leave_in_part)),
        needs="routed",
    ),
    Planted(
        "floating-untold",
        "hosts are not told where a floating IP leads",
        patched((host_networks, "touch_floating", _tell_nobody)),
        needs="routed",
    ),
    Planted(
        "router-untold",
        "hosts are not told that a router is otherwise",
        patched((host_networks, "touch_router", _tell_nobody)),
        needs="routed",
    ),
    Planted(
        "network-beside-untold",
        "a change of a network is told to the hosts of its own guests alone, not to those a router leads from",
        patched((host_networks, "touch_network", _tell_its_own)),
        needs="routed",
    ),
    Planted(
        "gateway-kept",
        "a router that leads out no more keeps its port outside",
        patched((routers, "port_of", _no_port_of_gateways)),
        needs="routed",
    ),
    Planted(
        "floating-address-kept",
        "a floating IP that is deleted leaves the port that holds its address",
        patched((ports, "delete", _keep_what_holds_addresses)),
        needs="routed",
    ),
    Planted(
        "two-to-one",
        "two floating IPs of a network may lead to one address",
        patched((floating_ips, "leads_to", _leads_nowhere_yet)),
        needs="routed",
    ),
    Planted(
        "joined-twice",
        "a router may be joined to what overlaps",
        patched((router_interfaces, "check_apart", _all_apart)),
        needs="routed",
    ),
    Planted(
        "route-left",
        "an interface that goes leaves the routes that lead over it",
        patched((router_interfaces, "hops_within", _no_hops)),
        needs="routed",
    ),
    Planted(
        "interface-needed",
        "an interface goes that a floating IP leads through",
        patched((floating_ips, "leads_within", _none_within)),
        needs="routed",
    ),
    Planted(
        "gateway-needed",
        "a gateway goes that a floating IP comes in by",
        patched((floating_ips, "through", _nothing_through)),
        needs="routed",
    ),
    Planted(
        "way-of-another",
        "a floating IP leads through a router that does not lead out",
        patched((routers, "ways_out", _any_router)),
        needs="routed",
    ),
    Planted(
        "quota-of-routers",
        "routers are not held against their quota",
        patched((network_room, "demand", _all_but_routers)),
        needs="routed",
    ),
    Planted(
        "pool-forgets",
        "a subnet pool gives what it has given already",
        patched((subnetpools, "taken", _nothing_taken)),
        needs="routed",
    ),
    Planted(
        "floating-of-the-gone",
        "a host keeps the floating IPs of a port that it has no more",
        patched((HostNetworkState, "snapshot", _with_floating_ips_of_the_gone)),
        needs="routed",
    ),
    Planted(
        "router-keeps",
        "a change of a router brings back the floating IPs that it took away, and counts as the whole network",
        patched((HostNetworkState, "change_routers", _with_what_was)),
        needs="routed",
    ),
    Planted(
        "router-passed-over",
        "a change of a router is counted as known, and changes nothing",
        patched((HostNetworkState, "change_routers", _pass_over)),
        needs="routed",
    ),
    Planted(
        "floating-anywhere",
        "each host has the floating IPs of all hosts",
        patched((floating_ips, "on_host", _floating_anywhere)),
        needs="routed",
    ),
    Planted(
        "only-with-gateway",
        "hosts have no routers but those that lead out",
        patched((host_routers, "beside", _only_with_gateways)),
        needs="routed",
    ),
)
