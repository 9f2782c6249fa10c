"""The ports of servers: planned when a server is asked for, bound when it has a host, released with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from floe.cloud import host_networks, port_names, quotas, security_groups
from floe.cloud.addresses import assign, insert_with_mac, subnet_holding
from floe.cloud.quotas import Room
from floe.core import addresses
from floe.core.context import Context
from floe.core.errors import Conflict, Forbidden, Invalid, NotFound
from floe.core.host_network import HostPort
from floe.core.hostnames import dns_name
from floe.core.ids import derived
from floe.core.networks import Network
from floe.core.nics import PlannedNic
from floe.core.ports import DOWN, Port, ServerPort, binding_of
from floe.core.subnets import Subnet
from floe.store import addresses as address_rows
from floe.store import floating_ips, networks, subnets
from floe.store import ports as rows
from floe.store import security_groups as group_rows
from floe.store.engine import Connection
from floe.store.foresight import foresee

Requested = Sequence[PlannedNic] | Literal["auto", "none"] | None


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The networks and groups that a create asks for, of `least` to `most` servers alike."""

    networks: Requested
    groups: Sequence[str] = ()
    hostname: str = ""
    """Of the server, where it is one: a port that has a name already must have this one."""
    least: int = 1
    most: int = 1


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """The NICs of a server that is asked for, complete, for `bind`."""

    nics: tuple[PlannedNic, ...] = ()
    groups: tuple[str, ...] = ()
    """The names of the groups that its ports are to be in, each once."""
    count: int
    """For how many servers the quota has ports."""


def plan(
    conn: Connection,
    context: Context,
    wanted: Wanted,
    room: Room,
    fresh: str,
    now: datetime,
    allocate: Callable[[], Network],
) -> Planned:
    """Check the networks and groups that a create asks for.

    Networks of None mean the project's one network, or no NIC where it has none; `auto` is that one too, and where it
    has none, what `allocate` makes. The project's default group is made as `fresh` if it is not there. Raises Invalid,
    Conflict, OverQuota.
    """
    project_id, requested, most = context.project_id or "", wanted.networks, wanted.most
    groups = security_groups.of_project(conn, project_id, wanted.groups, fresh, now)
    if requested == "none":
        return Planned(count=most)
    if requested is None or requested == "auto":
        only = _only_network(conn, project_id, ready=requested == "auto")
        if only is None and requested == "auto":
            only = allocate()
            room = quotas.room(conn, project_id)  # what was made has ports too
        entries: Sequence[PlannedNic] = () if only is None else (PlannedNic(network_id=only.id),)
        known = {} if only is None else {only.id: only}
    else:
        entries = requested
        known = _networks(conn, context, {nic.network_id for nic in entries if nic.made and nic.network_id})
    if most > 1 and any(nic.port_id or nic.fixed_ip for nic in entries):
        raise Invalid("Invalid input for networks: several servers cannot share a port or a fixed IP; ask for one.")
    found = _ports(conn, context, project_id, entries, dns_name(wanted.hostname))
    below = _subnets(conn, known)
    nics = [
        _nic(found[nic.port_id], nic)
        if nic.port_id
        else _new_nic(conn, context, known, below, nic, tuple(groups), bool(wanted.groups))
        for nic in entries
    ]
    new = sum(1 for nic in nics if nic.made)
    most = room.times("port", new, most)
    if most < wanted.least:
        room.demand({"port": new * wanted.least})
    return Planned(nics=tuple(nics), groups=_names(conn, nics, groups), count=most)


def _names(conn: Connection, planned: Sequence[PlannedNic], known: Mapping[str, str]) -> tuple[str, ...]:
    idents = dict.fromkeys(ident for nic in planned for ident in nic.security_groups)
    others = [ident for ident in idents if ident not in known]  # of ports that are the user's own
    names = {**known, **group_rows.names(conn, others)} if others else known
    return tuple(dict.fromkeys(names[ident] for ident in idents if ident in names))


def bind(
    conn: Connection,
    *,
    now: datetime,
    server_id: str,
    project_id: str,
    host: str,
    zone: str,
    hostname: str,
    planned: Sequence[PlannedNic],
    first: bool = False,
) -> tuple[HostPort, ...]:
    """Make and take the planned ports for a server on a host, with their addresses; a repeat finds them.

    On the `first` host of all, there is none that could be found. Raises Conflict (a port taken meanwhile, no address
    left), OverQuota.
    """
    if not planned:
        return ()
    network_ids, groups = {nic.network_id for nic in planned}, {nic.security_groups for nic in planned if nic.made}
    reads = partial(subnets.with_networks, network_ids=network_ids), partial(quotas.room, project_id=project_id)
    foresee(conn, *reads, *(partial(group_rows.owned, group_ids=each, project_id=project_id) for each in groups))
    there = {} if first else {port.nic: port for port in rows.of_server(conn, server_id)}
    known, below = subnets.with_networks(conn, network_ids)
    if lost := sorted(network_ids - known.keys()):
        raise Conflict(f"Network {lost[0]} is gone.")
    fresh = [nic for index, nic in enumerate(planned) if nic.made and index not in there]
    if fresh:
        quotas.demand(conn, project_id, {"port": len(fresh)})
    common = binding_of(server_id, zone, host)
    bound, changed = list[Port](), list[Port]()
    names = {ident: port_names.of_server(conn, network, project_id, hostname) for ident, network in known.items()}
    for index, nic in enumerate(planned):
        binding = {**common, "hostname": names[nic.network_id], "device_tag": nic.device_tag}
        port = there.get(index)
        if port is not None and port.host == host and port.plugged:
            bound.append(port)
            continue
        if port is not None:
            for other in port.plugged_on:
                host_networks.touch_members(conn, other, [port])
            host_networks.touch_hosts(conn, port.plugged_on)
            rows.update(conn, port.id, binding, now)
            port = replace(port, **binding)
        elif nic.made:
            port = make(conn, project_id, nic, {**binding, "nic": index}, below[nic.network_id], now)
        else:
            port = take(conn, nic, {**binding, "nic": index}, now)
        changed.append(port)
        bound.append(port)
    host_networks.touch_members(conn, host, changed)
    return tuple(host_networks.host_port(port, known[port.network_id]) for port in bound)


def rename(conn: Connection, server_id: str, project_id: str, hostname: str, now: datetime) -> bool:
    """Make a server known by another name on its networks; True if its host has to be told."""
    found = rows.of_server(conn, server_id)
    known = networks.many(conn, {port.network_id for port in found})
    names = {ident: port_names.of_server(conn, network, project_id, hostname) for ident, network in known.items()}
    renamed = [port for port in found if port.hostname != names[port.network_id]]
    for port in renamed:
        rows.update(conn, port.id, {"hostname": names[port.network_id]}, now)
    hosts = {host for port in renamed for host in port.plugged_on}
    host_networks.touch_hosts(conn, hosts)
    return bool(hosts)


class Unplugged(msgspec.Struct, frozen=True):
    """The ports of a server that is to be destroyed, and the generation of each host that had one plugged."""

    ports: tuple[str, ...] = ()
    generations: Mapping[str, int] = msgspec.field(default_factory=dict)


def unplug(conn: Connection, server_id: str, now: datetime, *, ahead: bool = True) -> Unplugged:
    """Take a server's ports off their host, ahead of the command that destroys the guest and has the generation.

    Where that was before, and may have been sent the ports once more since, the host is told anew. The ports and their
    addresses stay the server's until `release`.
    """
    found = rows.of_server(conn, server_id)
    ids, hosts = tuple(port.id for port in found), _by_host(found)
    if not hosts:
        return Unplugged(ids)
    rows.unplug(conn, server_id)
    for host, plugged in hosts.items():
        host_networks.touch_members(conn, host, plugged)
    generations = {host: host_networks.advance(conn, host, now) for host in hosts}
    host_networks.touch_hosts(conn, () if ahead else hosts)
    return Unplugged(ids, generations)


def unbind(conn: Connection, server_id: str, now: datetime) -> None:
    """Have a server's ports, which are plugged nowhere, be on no host; they stay its own, with their addresses."""
    for port in rows.of_server(conn, server_id):
        rows.update(conn, port.id, {"host": None, "status": DOWN}, now)


def release(conn: Connection, server_id: str, now: datetime) -> tuple[str, ...]:
    """Remove the ports that Floe made for a server and give its user's own back; return the ids of all of them.

    Ports that were still plugged make their host stale: it is sent its whole network.
    """
    found = rows.of_server(conn, server_id)
    let_go(conn, found, now)
    return tuple(port.id for port in found)


def let_go(conn: Connection, found: Sequence[Port], now: datetime) -> None:
    """Have ports of servers be such no more, as `release` does with all of a server's."""
    for host, plugged in _by_host(found).items():
        host_networks.touch_members(conn, host, plugged)
        host_networks.touch_hosts(conn, [host])
    made = [port.id for port in found if port.made]
    own = [port.id for port in found if not port.made]
    if made:
        floating_ips.leave(conn, made, now)
        rows.discard(conn, *made)
    if own:
        rows.untie(conn, own)


def _by_host(ports: Iterable[Port]) -> dict[str, list[Port]]:
    """Return the ports that each host is to have, in the order of hosts."""
    found: dict[str, list[Port]] = {}
    for port in ports:
        for host in port.plugged_on:
            found.setdefault(host, []).append(port)
    return dict(sorted(found.items()))


def activate(conn: Connection, server_id: str) -> None:
    """Note that a server's ports carry packets: their status becomes ACTIVE."""
    rows.activate(conn, server_id)


def of_server(conn: Connection, server_id: str) -> list[ServerPort]:
    """Return the ports of a server, in the order of its NICs."""
    return rows.seen_with_server(conn, server_id)


def of_servers(conn: Connection, server_ids: Iterable[str]) -> dict[str, list[ServerPort]]:
    """Return the ports of many servers, in the order of their NICs; servers without ports have an empty list."""
    return rows.seen_with_servers(conn, server_ids)


def _only_network(conn: Connection, project_id: str, *, ready: bool) -> Network | None:
    usable = networks.usable(conn, project_id, 2, ready=ready)
    if len(usable) > 1:
        raise Conflict("Multiple possible networks found, use a Network ID to be more specific.")
    return usable[0] if usable else None


def _ports(
    conn: Connection, context: Context, project_id: str, entries: Sequence[PlannedNic], name: str
) -> dict[str, Port]:
    asked = [nic.port_id for nic in entries if nic.port_id]
    if not asked:
        return {}
    found = rows.many(conn, asked)
    known = networks.many(conn, {port.network_id for port in found.values()}) if found else {}
    for port_id in asked:
        port = found.get(port_id)
        if port is None or port.project_id != project_id:
            raise Invalid(f"Port {port_id} could not be found.")
        if port.server_id is not None or port.device_id:
            raise Conflict(f"Port {port_id} is still in use.")
        if asked.count(port_id) > 1:
            raise Invalid(f"Invalid input for networks: port {port_id} is asked for more than once.")
        _not_outside(context, known[port.network_id])
        if not port.fixed_ips:
            raise Invalid(f"Port {port_id} requires a FixedIP in order to be used.")
        if port.hostname not in {"", name}:
            raise Invalid(
                f"Port {port_id} not usable for the server: the value {port.hostname} of its dns_name attribute does"
                f" not match the server's hostname {name}."
            )
    return found


def _not_outside(context: Context, network: Network) -> None:
    """Raise Forbidden for a network that leads out of the cloud: guests get there by a router."""
    if network.external and not network.shared and not context.is_admin:
        raise Forbidden(f"It is not allowed to create an interface on external network {network.id}")


def _networks(conn: Connection, context: Context, wanted: set[str]) -> dict[str, Network]:
    known = networks.many(conn, wanted) if wanted else {}
    for network_id in sorted(wanted):
        network = known.get(network_id)
        if network is not None:
            _not_outside(context, network)
        if network is None or not (network.shared or context.is_admin or context.owns(network.project_id)):
            raise Invalid(f"Network {network_id} could not be found.")
    return known


def _subnets(conn: Connection, known: Mapping[str, Network]) -> dict[str, list[Subnet]]:
    below: dict[str, list[Subnet]] = {network_id: [] for network_id in known}
    for subnet in subnets.of_networks(conn, known) if known else ():
        below[subnet.network_id].append(subnet)
    return below


def _nic(port: Port, asked: PlannedNic) -> PlannedNic:
    if asked.fixed_ip:
        raise Invalid("Invalid input for networks: a port brings its own addresses; leave fixed_ip out.")
    if asked.network_id and asked.network_id != port.network_id:
        raise Invalid(f"Port {port.id} is not on network {asked.network_id} but on {port.network_id}.")
    return replace(asked, network_id=port.network_id, security_groups=port.groups, made=False)


def _new_nic(
    conn: Connection,
    context: Context,
    known: Mapping[str, Network],
    below: Mapping[str, Sequence[Subnet]],
    asked: PlannedNic,
    groups: tuple[str, ...],
    groups_asked: bool,
) -> PlannedNic:
    network_id, fixed_ip = asked.network_id, asked.fixed_ip
    if not network_id:
        raise Invalid("Invalid input for networks: each entry needs the uuid of a network, or a port.")
    network = known[network_id]
    if not below[network_id]:
        raise Invalid(f"Network {network_id} requires a subnet in order to boot instances on.")
    if not network.port_security and groups_asked:
        raise Invalid(f"Network {network_id} has port security off, so security groups cannot be applied.")
    if fixed_ip:
        if not context.is_admin and not context.owns(network.project_id):
            raise Forbidden(f"Only the owner of network {network_id} may choose addresses in it.")
        if subnet_holding(below[network_id], fixed_ip) is None:
            cidrs = ", ".join(subnet.cidr for subnet in below[network_id])
            raise Invalid(f"Fixed IP {fixed_ip} is not a valid ip address for network {network_id} ({cidrs}).")
        if address_rows.taken(conn, network_id, addresses.number_of(fixed_ip)):
            raise Invalid(f"Fixed IP address {fixed_ip} is already in use on network {network_id}.")
    return replace(asked, security_groups=groups if network.port_security else (), port_security=network.port_security)


def make(
    conn: Connection,
    project_id: str,
    nic: PlannedNic,
    binding: Mapping[str, Any],
    below: Sequence[Subnet],
    now: datetime,
) -> Port:
    """Make a planned port with what binds it, and give it addresses of subnets. Raises Conflict."""
    groups = _groups_left(conn, nic.security_groups, project_id)
    port_id, network_id = nic.port_id or derived(binding["server_id"], f"port {binding['nic']}"), nic.network_id
    port = Port(
        id=port_id,
        network_id=network_id,
        project_id=project_id,
        mac=addresses.mac_for(port_id),
        made=True,
        port_security=nic.port_security,
        groups=groups,
        created_at=now,
        updated_at=now,
        **binding,
    )
    port = insert_with_mac(conn, port)
    given = assign(
        conn, network_id, port_id, below, [(None, nic.fixed_ip)] if nic.fixed_ip else None, port.device_owner
    )
    return replace(port, fixed_ips=given)


def take(conn: Connection, nic: PlannedNic, binding: Mapping[str, Any], now: datetime) -> Port:
    """Take a user's own port as planned. Raises NotFound, and Conflict where somebody else has it."""
    port_id = nic.port_id or ""
    port = rows.get(conn, port_id)
    if port is None:
        raise NotFound("port", port_id)
    if not rows.take(conn, port.id, binding, now):
        raise Conflict(f"Port {port.id} is still in use.")
    for other in sorted(port.plugged_on - {binding["host"]}):  # an administrator bound it there
        host_networks.touch_members(conn, other, [port])
        host_networks.touch_hosts(conn, [other])
    return replace(port, **binding)


def _groups_left(conn: Connection, group_ids: Sequence[str], project_id: str) -> tuple[str, ...]:
    """Return the planned groups; Conflict if one was deleted since: the server must not run with fewer rules."""
    left = group_rows.owned(conn, group_ids, project_id) if group_ids else set()
    for group_id in group_ids:
        if group_id not in left:
            raise Conflict(f"Security group {group_id} is gone.")
    return tuple(sorted(group_ids))
