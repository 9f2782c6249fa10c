"""What each host's network should look like, read from the rows; and which hosts have to be told.

A change that travels with a command (a spawn's ports) advances its host's generation quietly: see `fragment`. Any
other change makes the generation wanted, and whoever made it calls `cloud.network_nudge()` after the commit; a
conductor then sends every host that is `stale` what it `lacks`: its whole, or the routers that alone changed. Who is in
a security group is told as differences: see `touch_members` and `cloud.group_members`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial

from floe.cloud import host_routers
from floe.core import ahead
from floe.core.floating_ips import FloatingIP
from floe.core.host_network import (
    HostAddress,
    HostGroup,
    HostNetwork,
    HostPort,
    HostRoute,
    HostRouter,
    HostSegment,
    HostSubnet,
    RoutersChange,
)
from floe.core.hostnames import told_name
from floe.core.messages import HostUp
from floe.core.networks import Network, plain_name
from floe.core.ports import DHCP_OWNER, PluggedPort, Port, tap_name
from floe.core.security_groups import host_rule
from floe.core.subnets import Subnet
from floe.store import (
    address_groups,
    group_members,
    network_hosts,
    plugged_ports,
    ports,
    routers,
    security_groups,
    subnets,
)
from floe.store import host_networks as rows
from floe.store.engine import Connection
from floe.store.foresight import foresee


def fragment(conn: Connection, host: str, bound: Sequence[HostPort], dns_domain: str, now: datetime) -> HostNetwork:
    """Return what a host must know to plug these of its ports, at a generation counted up for it."""
    generation = rows.advance(conn, host, now, group_members.position)
    foresee(
        conn,
        group_members.position,
        partial(routers.on_networks, network_ids={port.network_id for port in bound}),
        partial(security_groups.plugged, group_ids=_groups_of(bound), ethertype=_FAMILY),
    )
    around = _around(conn, host, bound)
    return _network(conn, host, generation, group_members.position(conn), bound, around, dns_domain)


def part(conn: Connection, host: str, port_ids: Sequence[str], dns_domain: str) -> HostNetwork:
    """Return what a host that knows nothing must know of these of its ports, at its wanted generation; a read."""
    return _wanted(conn, host, plugged_ports.on_host(conn, host, port_ids), dns_domain)


def whole(conn: Connection, host: str, dns_domain: str) -> HostNetwork:
    """Return all that should be on a host, at its wanted generation; a read."""
    return _wanted(conn, host, plugged_ports.on_host(conn, host), dns_domain)


def _wanted(conn: Connection, host: str, found: Sequence[PluggedPort], dns_domain: str) -> HostNetwork:
    around = _around(conn, host, found)
    bound = [host_port(port, around[0][port.network_id]) for port in found]
    position = group_members.position(conn)
    return _network(conn, host, rows.wanted(conn, host), position, bound, around, dns_domain)


def lacks(conn: Connection, host: str, dns_domain: str, *, all_of_it: bool) -> HostNetwork | RoutersChange | None:
    """Return what a host has to be sent, None where it is up to date; a read. `all_of_it` is always its whole."""
    found = rows.lacking(conn, host)
    if found is None:
        return None
    wanted, changed = found
    if all_of_it or not changed:
        return whole(conn, host, dns_domain)
    here = network_hosts.routers(conn, host).intersection(changed)
    routed = host_routers.on_host(conn, host, sorted(here))
    joined = {leg.network_id for router in routed for leg in router.legs}
    return RoutersChange(
        generation=wanted,
        segments=tuple(segments(conn, *subnets.with_networks(conn, sorted(joined)), dns_domain)) if joined else (),
        routers=tuple(routed),
        gone=tuple(sorted(here.symmetric_difference(changed))),
    )


def stale(conn: Connection) -> list[str]:
    """Return the hosts that have to be sent their whole network."""
    return rows.stale(conn)


def behind(conn: Connection) -> tuple[list[str], int]:
    """Return the hosts that have to be sent their whole network, and the position of members of groups."""
    return rows.stale(conn), group_members.position(conn)


def applied(conn: Connection, host: str, sent: HostNetwork | RoutersChange, generation: int) -> None:
    """Record that a host that was sent something answered to have a whole of a generation.

    Where that is later than any that these rows know of, it believed nothing of what it was sent: they go ahead of it.
    """
    if generation > max(sent.generation, rows.wanted(conn, host)):
        rows.catch_up(conn, host, generation)
    elif isinstance(sent, RoutersChange):
        rows.applied(conn, host, sent.generation)
    else:
        rows.applied(conn, host, min(generation, sent.generation))
        group_members.told(conn, {host: sent.members_at})


def answer_host(conn: Connection, event: HostUp) -> None:
    """A host says how much of its network it knows: have it sent its whole one, unless that is all.

    Where the rows are behind what it has heard of (the host was removed and came back, or the database is an older
    copy) they go ahead of it, for the host believes nothing older. Nor do they know what it was told, if that is more
    than they say: then the same numbers have been given out for something else.
    """
    wanted, members = rows.state(conn, event.host)
    if ahead.BELIEVABLE > event.members_newest > group_members.position(conn):
        group_members.catch_up(conn, event.members_newest)
        rows.want(conn, [event.host])
    if event.network_newest > wanted:
        rows.catch_up(conn, event.host, event.network_newest)
    elif wanted != event.network_generation or event.members_at != members:
        rows.want(conn, [event.host])


def is_at(conn: Connection, event: HostUp) -> bool:
    """Whether `answer_host` would have nothing to do."""
    wanted, members = rows.state(conn, event.host)
    return (
        wanted == event.network_generation >= event.network_newest
        and members == event.members_at
        and event.members_newest <= group_members.position(conn)
    )


def forget(conn: Connection, host: str) -> None:
    """A host was removed."""
    rows.remove(conn, host)


def request(conn: Connection, host: str) -> None:
    """Have a host sent its whole network: it has come back, or may have missed something."""
    rows.want(conn, [host])


def advance(conn: Connection, host: str, now: datetime) -> int:
    """Count a host's generation up for a command that takes ports away, and return it."""
    return rows.advance(conn, host, now)


def touch_members(conn: Connection, host: str, changed: Iterable[Port]) -> bool:
    """Ports of a host became members of their groups, or are no more: note it. True if some rule is about them.

    To be called with the ports as they were and as they are. Which hosts are told, and what, is seen later: however
    many they are, it costs this transaction nothing.
    """
    pairs = ((group, address) for port in changed for group in port.groups for _, address in port.fixed_ips)
    return group_members.insert(conn, host, pairs)


def touch_port(conn: Connection, before: Port, after: Port) -> bool:
    """A port has other addresses or groups: have its hosts told, and those that have rules about its groups' members.

    True if it has any host.
    """
    for host in sorted(before.plugged_on):
        touch_members(conn, host, (before, after))
    touch_hosts(conn, before.plugged_on)
    return bool(before.plugged_on)


def touch_referring(conn: Connection, group_id: str) -> bool:
    """A group goes: have the hosts told that have a rule about its members. True if any has."""
    group_members.forget(conn, group_id)
    return rows.want_where(conn, ports.HOSTS_THAT_REFER, {"ids": [group_id]}) > 0


def touch_router(conn: Connection, router_id: str) -> bool:
    """A router changed: have the hosts told that have guests on its networks. True if any has."""
    return rows.want_router(conn, routers.HOSTS_OF_ROUTER, router_id, router_id) > 0


def touch_pool(conn: Connection, pool_id: str) -> bool:
    """A subnet pool is of another address scope: have the hosts told that have routers on its subnets."""
    return sum([touch_router(conn, router_id) for router_id in routers.of_pool(conn, pool_id)]) > 0


def touch_floating(conn: Connection, floating: FloatingIP) -> bool:
    """A floating IP leads, or led, to a port: have the host told that has it. True if any has."""
    return floating.port_id is not None and touch_led_to(conn, floating.port_id, floating.router_id)


def touch_led_to(conn: Connection, port_id: str, router_id: str | None) -> bool:
    """What leads to a port by a router changed: have the host told that has it. True if any has."""
    if router_id is None:
        return rows.want_where(conn, ports.HOSTS_OF_PORT, {"ident": port_id}) > 0
    return rows.want_router(conn, ports.HOSTS_OF_PORT, port_id, router_id) > 0


def touch_network(conn: Connection, network_id: str) -> bool:
    """A network or its subnets changed: have the hosts told that know it, by ports or by routers. True if any does."""
    known = (ports.HOSTS_OF_NETWORK, routers.HOSTS_BEYOND)
    return sum([rows.want_where(conn, hosts, {"ident": network_id}) for hosts in known]) > 0


def touch_group(conn: Connection, group_id: str) -> bool:
    """A group's name or rules changed: have the hosts told that have ports in it. True if any has."""
    return rows.want_where(conn, ports.HOSTS_OF_GROUP, {"ident": group_id}) > 0


def touch_addresses(conn: Connection, address_group_id: str) -> bool:
    """An address group has other addresses: have the hosts told that have a rule about it. True if any has."""
    return rows.want_where(conn, ports.HOSTS_THAT_NAME, {"ident": address_group_id}) > 0


def touch_hosts(conn: Connection, hosts: Iterable[str]) -> None:
    """Have these hosts told."""
    rows.want(conn, hosts)


def host_port(port: Port | PluggedPort, network: Network) -> HostPort:
    """Return a bound port as its host sees it."""
    return HostPort(
        port_id=port.id,
        network_id=port.network_id,
        server_id=port.server_id or "",
        mac=port.mac,
        tap=tap_name(port.id),
        nic=port.nic or 0,
        addresses=tuple(HostAddress(subnet_id=subnet, address=address) for subnet, address in port.fixed_ips),
        hostname=told_name(port.hostname, port.dns_domain),
        up=port.up and network.up,
        port_security=port.port_security,
        groups=port.groups,
        allowed_pairs=port.allowed_pairs,
        dhcp_options=port.dhcp_options,
        device_tag=port.device_tag,
    )


_FAMILY = "IPv4"
_Below = Mapping[str, Sequence[Subnet]]
_Around = tuple[Mapping[str, Network], _Below, list[HostRouter]]


def _around(conn: Connection, host: str, found: Sequence[HostPort] | Sequence[PluggedPort]) -> _Around:
    """Return the networks that ports are in, and those that routers join to them; their subnets; the routers."""
    network_ids = {port.network_id for port in found}
    if not network_ids:
        return {}, {}, []
    routed = host_routers.beside(conn, host, network_ids)
    network_ids.update(leg.network_id for router in routed for leg in router.legs)
    ids = sorted(network_ids)
    foresee(
        conn,
        partial(subnets.with_networks, network_ids=ids),
        partial(ports.addresses_of_owner, network_ids=ids, device_owner=DHCP_OWNER),
    )
    return *subnets.with_networks(conn, ids), routed


def _groups_of(found: Sequence[HostPort] | Sequence[PluggedPort]) -> list[str]:
    return sorted({group for port in found for group in port.groups})


def _network(
    conn: Connection,
    host: str,
    generation: int,
    members_at: int,
    bound: Sequence[HostPort],
    around: _Around,
    dns_domain: str,
) -> HostNetwork:
    if not bound:
        return HostNetwork(generation=generation, members_at=members_at)
    known, below, routed = around
    return HostNetwork(
        generation=generation,
        segments=tuple(segments(conn, known, below, dns_domain)),
        ports=tuple(sorted(bound, key=lambda port: port.port_id)),
        groups=tuple(_groups(conn, host, _groups_of(bound))),
        routers=tuple(routed),
        members_at=members_at,
    )


def segments(conn: Connection, known: Mapping[str, Network], below: _Below, dns_domain: str) -> list[HostSegment]:
    """Return networks with the subnets below them as hosts see them."""
    dhcp = ports.addresses_of_owner(conn, known, DHCP_OWNER)
    return [
        HostSegment(
            network_id=network.id,
            name=plain_name(network.name),
            tag=network.tag,
            mtu=network.mtu,
            dns_domain=network.dns_domain or dns_domain,
            physical=network.physical or "",
            subnets=tuple(_subnet(subnet, dhcp.get(subnet.id)) for subnet in below[network.id]),
        )
        for network in known.values()
    ]


def _subnet(subnet: Subnet, dhcp_address: str | None) -> HostSubnet:
    return HostSubnet(
        subnet_id=subnet.id,
        cidr=subnet.cidr,
        gateway=subnet.gateway,
        dhcp=subnet.dhcp and dhcp_address is not None,
        dhcp_address=dhcp_address,
        nameservers=subnet.nameservers,
        routes=tuple(HostRoute(destination=target, nexthop=hop) for target, hop in subnet.routes),
    )


def _groups(conn: Connection, host: str, direct: Sequence[str]) -> list[HostGroup]:
    """Return the groups that ports are in, and those, of ports and of addresses, that their rules refer to."""
    known = security_groups.plugged(conn, direct, _FAMILY)
    rules = [rule for _, found in known.values() for rule in found]
    referred = {rule.remote_group for rule in rules if rule.remote_group}
    named = {rule.remote_address_group for rule in rules if rule.remote_address_group}
    members = ports.members(conn, sorted(referred), host)
    if others := sorted(referred.difference(direct)):
        known |= security_groups.plugged(conn, others, _FAMILY)
    seen = [
        HostGroup(
            group_id=group_id,
            name=name,
            rules=tuple(host_rule(rule) for rule in found),
            remote_members=tuple(sorted(members.get(group_id, ()))),
        )
        for group_id, (name, found) in known.items()
    ]
    for group_id, addresses in address_groups.addresses(conn, named).items() if named else ():
        seen.append(HostGroup(group_id=group_id, remote_members=tuple(cidr for cidr in addresses if ":" not in cidr)))
    return sorted(seen, key=lambda group: group.group_id)
