"""Why a packet does not reach a server: as much of the cloud as it can meet is read, and it is followed there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network

import msgspec
from msgspec.structs import replace

from floe.cloud import host_networks, host_routers, servers
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Invalid, NotFound
from floe.core.floating_ips import FloatingIP
from floe.core.host_network import GroupRule, HostFloating, HostForwarding, HostGroup, HostNetwork, HostPort, HostRouter
from floe.core.networks import Network
from floe.core.nic_limits import limits_of
from floe.core.packets.asking import Question, why_not
from floe.core.packets.scene import Finding, Scene, ServerFacts, told
from floe.core.port_forwardings import PortForwarding
from floe.core.ports import ACTIVE, Port
from floe.core.routers import Router
from floe.core.security_groups import Group, PluggedRule, host_rule
from floe.core.servers import Server
from floe.core.subnets import Subnet
from floe.store import (
    address_groups,
    addresses,
    floating_ips,
    group_members,
    hosts,
    port_forwardings,
    ports,
    routers,
    security_groups,
    subnets,
)
from floe.store import servers as server_rows
from floe.store.engine import Connection

MOST_ROUTERS = 64
"""Routers that are looked at: those that floating IPs lead through before others."""
MOST_GUESTS = 16
"""Servers that are looked at because somebody's routes lead by them."""
_ROUNDS = 8
"""How many routers after one another are looked for."""


class _Found(msgspec.Struct, frozen=True):
    """What was read so far."""

    ports: Mapping[str, Port]
    servers: Mapping[str, Server]
    routers: Mapping[str, Router] = {}
    routed: Mapping[str, HostRouter] = {}
    floating: Sequence[FloatingIP] = ()
    forwarded: Sequence[PortForwarding] = ()


async def explain(cloud: Cloud, context: Context, question: Question) -> Finding:
    """Return what becomes of a packet to a server, as the caller may know it. Raises NotFound, Invalid."""
    now, dns_domain = cloud.clock.now(), cloud.settings.dns_domain
    return await cloud.db.read(lambda conn: _explain(conn, context, question, dns_domain, now))


def _explain(conn: Connection, context: Context, question: Question, dns_domain: str, now: datetime) -> Finding:
    wanted = [question.server_id] if question.source_id is None else [question.server_id, question.source_id]
    own = {ident: servers.visible(conn, context, ident) for ident in wanted}
    found = _Found(ports={port.id: port for ident in own for port in ports.of_server(conn, ident)}, servers=own)
    found = _look_around(conn, found)
    network_ids = {port.network_id for port in found.ports.values()}
    network_ids.update(leg.network_id for router in found.routed.values() for leg in router.legs)
    known, below = subnets.with_networks(conn, sorted(network_ids))
    if question.source_address is not None:
        inside = _inside(conn, context, question.source_address, known, below)
        if inside is not None:
            return _explain(conn, context, replace(question, source_id=inside, source_address=None), dns_domain, now)
    groups = security_groups.many(conn, {group for port in found.ports.values() for group in port.groups})
    scene = _scene(found, known, below, groups, {name: _up(conn, name, now) for name in _hosts(found)})
    network = HostNetwork(
        segments=tuple(host_networks.segments(conn, known, below, dns_domain)),
        ports=tuple(_host_port(port, known[port.network_id]) for port in found.ports.values()),
        groups=tuple(_groups(conn, found, groups, question)),
        routers=tuple(found.routed.values()),
    )
    finding = why_not(replace(scene, network=network), question)
    return finding if context.is_admin else told(finding, _seen(context, found, known, below, groups))


# -- what is around -------------------------------------------------------------------------------------


def _look_around(conn: Connection, found: _Found) -> _Found:
    """Read the routers on the ports' networks, and whoever else their routes, and those of guests, lead by."""
    floating, forwarded = floating_ips.of_ports(conn, found.ports), port_forwardings.to_ports(conn, found.ports)
    above = floating_ips.ROWS.each(conn, {each.floating_id for each in forwarded}) if forwarded else []
    found = replace(found, floating=[*floating, *above], forwarded=forwarded)
    fresh: set[str] = {each.router_id for each in found.floating if each.router_id is not None}
    looked: set[str] = set()
    for _ in range(_ROUNDS):
        networks = {port.network_id for port in found.ports.values()} - looked
        looked |= networks
        beside = [ident for ident in routers.on_networks(conn, networks) if ident not in fresh] if networks else []
        new = [ident for ident in (*sorted(fresh), *beside) if ident not in found.routers]
        found = _with_routers(conn, found, new[: MOST_ROUTERS - len(found.routers)])
        found, fresh = _with_holders(conn, found)
        if not fresh - found.routers.keys() and looked >= {port.network_id for port in found.ports.values()}:
            break
    return found


def _with_routers(conn: Connection, found: _Found, ids: Sequence[str]) -> _Found:
    rows = routers.ROWS.each(conn, ids) if ids else []
    leading = [
        (each.router_id, HostFloating(
            floating_id=each.id, address=each.address, fixed=each.fixed_address or "", port_id=each.port_id or ""
        ))
        for each in found.floating if each.router_id is not None and each.port_id is not None
    ]  # fmt: skip
    ids = [row.id for row in rows]
    described = host_routers.described(conn, rows, leading, _forwarding(found))
    return replace(
        found,
        routers={**found.routers, **dict(zip(ids, rows, strict=True))},
        routed={**found.routed, **dict(zip(ids, described, strict=True))},
    )


def _forwarding(found: _Found) -> list[tuple[str, HostForwarding]]:
    above = {each.id: each for each in found.floating if each.router_id is not None}
    return [
        (above[each.floating_id].router_id or "", HostForwarding(
            forwarding_id=each.id, address=above[each.floating_id].address, protocol=each.protocol,
            external=each.external, fixed=each.fixed_address, internal=each.internal, port_id=each.port_id,
        ))
        for each in found.forwarded if each.floating_id in above
    ]  # fmt: skip


def _with_holders(conn: Connection, found: _Found) -> tuple[_Found, set[str]]:
    """Read the guests by which routes lead; return the routers by which they do, too."""
    hops = {route.nexthop for router in found.routed.values() for route in router.routes}
    networks = {leg.network_id for router in found.routed.values() for leg in router.interfaces}
    networks |= {port.network_id for port in found.ports.values()}
    for below in subnets.with_networks(conn, sorted({port.network_id for port in found.ports.values()}))[1].values():
        hops.update(hop for subnet in below for _, hop in subnet.routes)
        hops.update(subnet.gateway for subnet in below if subnet.gateway)
    if not hops:
        return found, set()
    numbers = [int(IPv4Address(hop)) for hop in sorted(hops)]
    held = ports.many(conn, addresses.holders(conn, sorted(networks), numbers)).values()
    new = sorted({port.server_id for port in held if port.server_id} - found.servers.keys())
    rows = [server_rows.get(conn, server_id) for server_id in new[: max(MOST_GUESTS - len(found.servers), 0)]]
    servers_there = {**found.servers, **{server.id: server for server in rows if server is not None}}
    ports_there = dict(found.ports)
    for server_id in servers_there.keys() - found.servers.keys():
        ports_there |= {port.id: port for port in ports.of_server(conn, server_id)}
    return replace(found, servers=servers_there, ports=ports_there), {each.router_id for each in held if each.router_id}


def _inside(
    conn: Connection,
    context: Context,
    address: str,
    known: Mapping[str, Network],
    below: Mapping[str, Sequence[Subnet]],
) -> str | None:
    """Return the caller's server that has an address on one of the inner networks; None for one that is outside.

    Raises Invalid for one that is inside, and no server's of the caller.
    """
    inner = [
        subnet
        for network_id, each in below.items()
        for subnet in each
        if not known[network_id].external and IPv4Address(address) in IPv4Network(subnet.cidr)
    ]
    if not inner:
        return None
    where = {subnet.network_id for subnet in inner}
    for port in ports.many(conn, addresses.holders(conn, where, [int(IPv4Address(address))])).values():
        if port.server_id is not None:
            try:
                return servers.visible(conn, context, port.server_id).id
            except NotFound:
                continue
    raise Invalid(
        f"Invalid input for from: {address} is within {inner[0].cidr}, and no server there that you see has it."
    )


# -- as hosts see it ------------------------------------------------------------------------------------


def _host_port(port: Port, network: Network) -> HostPort:
    seen = host_networks.host_port(port, network)
    return replace(seen, addresses=tuple(entry for entry in seen.addresses if ":" not in entry.address))


def _groups(conn: Connection, found: _Found, groups: Sequence[Group], question: Question) -> list[HostGroup]:
    """Return the groups; of who else is a member, only those that have an address which packets here may be from."""
    rules = [rule for group in groups for rule in group.rules]
    named = address_groups.addresses(conn, {rule.remote_address_group for rule in rules if rule.remote_address_group})
    members = group_members.among(
        conn, {rule.remote_group for rule in rules if rule.remote_group}, _addresses(found, question)
    )
    seen = {group.id: HostGroup(group_id=group.id, name=group.name, rules=_rules(group)) for group in groups}
    for group_id, cidrs in {**named, **members}.items():
        before = seen.get(group_id, HostGroup(group_id=group_id))
        seen[group_id] = replace(before, remote_members=tuple(cidr for cidr in cidrs if ":" not in cidr))
    return list(seen.values())


def _rules(group: Group) -> tuple[GroupRule, ...]:
    names = PluggedRule._fields
    return tuple(host_rule(PluggedRule(*(getattr(rule, name) for name in names))) for rule in group.rules)


def _addresses(found: _Found, question: Question) -> set[str]:
    """Return the addresses that packets here may be from or for."""
    texts = {address for port in found.ports.values() for _, address in port.fixed_ips}
    texts |= {each.address for each in found.floating}
    for router in found.routed.values():
        texts |= {text.partition("/")[0] for leg in router.legs for text in leg.addresses}
        texts |= {router.next_hop} if router.next_hop else set()
    texts |= {question.source_address} if question.source_address else set()
    return {text for text in texts if ":" not in text}


def _scene(
    found: _Found,
    known: Mapping[str, Network],
    below: Mapping[str, Sequence[Subnet]],
    groups: Sequence[Group],
    up: Mapping[str, bool],
) -> Scene:
    things: list[Network | Subnet | Router | Group | Port] = [*known.values(), *found.routers.values(), *groups]
    things += [subnet for each in below.values() for subnet in each]
    things += found.ports.values()
    names = {thing.id: thing.name for thing in things if thing.name}
    return Scene(
        network=HostNetwork(),
        servers={
            ident: ServerFacts(
                name=server.name,
                state=server.vm_state,
                host=server.host or "",
                host_up=up.get(server.host or "", True),
                limits=limits_of(server.flavor.extra_specs),
            )
            for ident, server in found.servers.items()
        },
        names=names | {each.id: each.address for each in found.floating},
        rules={group.id: tuple(rule.id for rule in group.rules) for group in groups},
        external=frozenset(network.id for network in known.values() if network.external),
        down=frozenset(thing.id for thing in things if isinstance(thing, Network | Port) and not thing.up),
        statuses={port.id: port.status for port in found.ports.values() if port.status != ACTIVE},
        idle=tuple(
            HostFloating(
                floating_id=each.id, address=each.address, fixed=each.fixed_address or "", port_id=each.port_id
            )
            for each in found.floating
            if each.port_id is not None and (each.router_id is None or each.router_id not in found.routers)
        ),
    )


def _hosts(found: _Found) -> set[str]:
    return {server.host for server in found.servers.values() if server.host}


def _up(conn: Connection, name: str, now: datetime) -> bool:
    host = hosts.get(conn, name)
    return host is not None and host.is_up(now)


def _seen(
    context: Context,
    found: _Found,
    known: Mapping[str, Network],
    below: Mapping[str, Sequence[Subnet]],
    groups: Iterable[Group],
) -> frozenset[str]:
    """Return the ids of the things that the caller sees."""
    seen = {network.id for network in known.values() if _shows(context, network)}
    for network_id, each in below.items():
        seen |= {subnet.id for subnet in each if network_id in seen or context.owns(subnet.project_id)}
    owned: list[Port | Router | Server | FloatingIP | PortForwarding | Group] = [
        *found.ports.values(),
        *found.routers.values(),
        *found.servers.values(),
        *found.floating,
        *found.forwarded,
        *groups,
    ]
    return frozenset(seen | {thing.id for thing in owned if context.owns(thing.project_id)})


def _shows(context: Context, network: Network) -> bool:
    return network.external or network.shared or context.owns(network.project_id)
