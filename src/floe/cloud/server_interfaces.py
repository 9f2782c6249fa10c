"""NICs that a server is given and loses while it is there: noted here with their ports, done by a conductor."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import NoReturn

import msgspec
from msgspec.structs import replace

from floe.cloud import host_networks, network_room, port_names, quotas, server_ports, servers
from floe.cloud.cloud import Cloud
from floe.core import addresses
from floe.core.actions import ATTACH_INTERFACE, CANCELLED, DETACH_INTERFACE, FAILED, OPEN_STATES, Action, Begins
from floe.core.context import Context
from floe.core.errors import Conflict, HostFailure, Invalid, NotFound, Unavailable
from floe.core.given import NicGiven
from floe.core.nics import PlannedNic
from floe.core.ports import ACTIVE, DOWN, Port, ServerPort, binding_of
from floe.core.servers import Server
from floe.store import actions, networks, places, ports, subnets
from floe.store import addresses as address_rows
from floe.store import servers as rows
from floe.store.engine import Connection

MOST_NICS = 26
"""That a server has, as far as they are given to it later: what a machine of any type has slots for."""


_LOOK_SOON, _LOOK_LATE = 0.01, 0.5
"""Seconds between looks whether a NIC is plugged: at first, and when that takes long."""


class Attached(msgspec.Struct, frozen=True):
    """The port of a NIC that a server is given, and the action that plugs it."""

    port: ServerPort
    action: Action


async def attach(
    cloud: Cloud, context: Context, server_id: str, asked: PlannedNic, patience: float = 0.0
) -> ServerPort:
    """Give a server one more NIC: on a network, with a port, or where neither is named on the project's one network.

    Waits for its host to plug it as long as there is patience, in seconds, and the host is up. Raises NotFound,
    Invalid, OverQuota; Conflict for a server that is locked or in no state for it, and for a port or an address that is
    taken; HostFailure where the host could not plug it.
    """
    now, action_id, port_id, fresh = cloud.clock.now(), cloud.new_id(), cloud.new_id(), cloud.new_id()

    def begin(conn: Connection) -> Attached:
        known = actions.get(conn, action_id)  # of a run whose commit was not answered
        if known is None:
            server = servers.changeable(conn, context, server_id)
            _check(server, ATTACH_INTERFACE)
            nic = _planned(conn, context, server, asked, fresh, now)
            nic = nic if nic.port_id else replace(nic, port_id=port_id)
            port = _plug(conn, server, nic, now)
            given = NicGiven(host=server.host or "", port_id=port.id)
            known = servers.new_action(action_id, context, server, ATTACH_INTERFACE, now, given)
            servers.begin(conn, server, ATTACH_INTERFACE, known, networks=(*server.networks, nic))
        wanted = msgspec.convert(known.input, NicGiven).port_id
        seen = {port.port_id: port for port in server_ports.of_server(conn, server_id)}
        return Attached(seen[wanted], known)

    attached = await cloud.db.write(begin)
    await cloud.hand_over(attached.action)
    return await _plugged(cloud, attached, patience)


async def _plugged(cloud: Cloud, attached: Attached, patience: float) -> ServerPort:
    """Return the port as it is once its action has ended, or waits for a host, or there is no patience left."""
    pause, server_id = _LOOK_SOON, attached.action.subject_id

    def look(conn: Connection) -> tuple[Action | None, ServerPort | None]:
        seen = (port for port in server_ports.of_server(conn, server_id) if port.port_id == attached.port.port_id)
        return actions.get(conn, attached.action.id), next(seen, None)

    while patience > 0:
        await asyncio.sleep(pause)
        patience, pause = patience - pause, min(2 * pause, _LOOK_LATE)
        try:
            action, port = await cloud.db.read(look)
        except Unavailable:
            break  # it goes on all the same, and asked for again it would be another NIC
        if action is None or action.state == FAILED:
            why = "" if action is None or action.message is None else f": {action.message}"
            raise HostFailure(f"Failed to attach network adapter device to {server_id}{why}")
        if action.state == CANCELLED:
            raise Conflict(f"Instance {server_id} was deleted or reset before the interface was attached.")
        if action.state not in OPEN_STATES or actions.is_waiting(action.lease_owner or ""):
            return port or attached.port
    return attached.port


async def detach(cloud: Cloud, context: Context, server_id: str, port_id: str) -> None:
    """Take a NIC from a server, with its port where the cloud made that.

    Raises NotFound, and Conflict for a server that is locked or in no state for it, or a NIC that is being plugged.
    """
    now, action_id = cloud.clock.now(), cloud.new_id()

    def begin(conn: Connection) -> Action:
        server = servers.changeable(conn, context, server_id)
        _check(server, DETACH_INTERFACE)
        port = next((each for each in ports.of_server(conn, server_id) if each.id == port_id), None)
        if port is None:
            raise NotFound("port", port_id, message=f"Port id {port_id} could not be found.")
        for kind in (ATTACH_INTERFACE.kind, DETACH_INTERFACE.kind):
            for other in actions.find(conn, server_id, is_open=True, kind=kind, limit=MOST_NICS):
                if msgspec.convert(other.input, NicGiven).port_id == port_id:
                    raise Conflict(f"The interface with port {port_id} of instance {server_id} is under way: {kind}")
        unplug(conn, port, now)
        given = NicGiven(host=server.host or "", port_id=port_id)
        action = servers.new_action(action_id, context, server, DETACH_INTERFACE, now, given)
        servers.begin(conn, server, DETACH_INTERFACE, action)
        return action

    await cloud.hand_over(await cloud.db.write(begin))


def unplug(conn: Connection, port: Port, now: datetime) -> None:
    """Have a port of a server be on no host any more, ahead of the command that says so; it stays the server's."""
    ports.update(conn, port.id, {"plugged": False, "status": DOWN}, now)
    for host in sorted(port.plugged_on):
        host_networks.touch_members(conn, host, [port])
        host_networks.advance(conn, host, now)


def keep(conn: Connection, server_id: str, port_id: str, now: datetime) -> None:
    """Have a port that a guest did not let go of be on its host again."""
    port = _of_server(conn, server_id, port_id)
    if port is not None and port.host is not None and not port.plugged_on:
        ports.update(conn, port.id, {"plugged": True, "status": ACTIVE if port.up else DOWN}, now)
        host_networks.touch_members(conn, port.host, [port])
        host_networks.touch_hosts(conn, [port.host])


def let_go(conn: Connection, server_id: str, port_id: str, now: datetime) -> None:
    """Have a port be a server's no more: removed if the cloud made it, else its user's own again."""
    server, held = rows.get(conn, server_id), ports.of_server(conn, server_id)
    for index, port in enumerate(held):
        if port.id == port_id and server is not None:
            server_ports.let_go(conn, [port], now)
            planned = (*server.networks[:index], *server.networks[index + 1 :])
            rows.change(conn, server_id, networks=planned, updated_at=now)


def _of_server(conn: Connection, server_id: str, port_id: str) -> Port | None:
    port = ports.get(conn, port_id)
    return port if port is not None and port.server_id == server_id else None


def _check(server: Server, begins: Begins) -> None:
    """Raise Conflict for a server that is busy, or that was never built."""
    if server.task_state is not None:
        raise Conflict(f"Cannot '{begins.kind}' instance {server.id} while it is in task_state {server.task_state}")
    if server.host is None or server.launched_at is None:
        raise Conflict(f"Cannot '{begins.kind}' instance {server.id}: it was never built, so there is no guest.")


def _planned(
    conn: Connection, context: Context, server: Server, asked: PlannedNic, fresh: str, now: datetime
) -> PlannedNic:
    """Check what is asked for as a create does; what is not there is another kind of error here."""
    _find(conn, context, asked)
    named = [asked] if asked.network_id or asked.port_id else None
    wanted = server_ports.Wanted(networks=named, hostname=server.hostname)
    room = quotas.room(conn, server.project_id)
    owner = msgspec.structs.replace(context, project_id=server.project_id)
    planned = server_ports.plan(conn, owner, wanted, room, fresh, now, _nothing_more)
    if not planned.nics:
        raise Invalid("Attach interface failed, no network specified.")
    return replace(planned.nics[0], device_tag=asked.device_tag)


def _nothing_more() -> NoReturn:
    raise Invalid("Attach interface failed, no network specified.")


def _find(conn: Connection, context: Context, asked: PlannedNic) -> None:
    """Raise NotFound for a network or a port that the caller does not see, Conflict for an address that is taken."""
    scope = network_room.scope(context)
    if asked.port_id and ports.get(conn, asked.port_id, scope) is None:
        raise NotFound("port", asked.port_id, message=f"Port id {asked.port_id} could not be found.")
    if asked.network_id and networks.get(conn, asked.network_id, scope) is None:
        raise NotFound("network", asked.network_id, message=f"Network {asked.network_id} could not be found.")
    if asked.fixed_ip and address_rows.taken(conn, asked.network_id, addresses.number_of(asked.fixed_ip)):
        raise Conflict(f"Fixed IP address {asked.fixed_ip} is already in use on instance network {asked.network_id}.")


def _plug(conn: Connection, server: Server, nic: PlannedNic, now: datetime) -> Port:
    """Make or take the port of a NIC that comes after all that the server has. Raises Conflict, OverQuota."""
    held, host = ports.of_server(conn, server.id), server.host or ""
    if len(held) >= MOST_NICS:
        raise Conflict(f"Instance {server.id} has {MOST_NICS} interfaces, and takes no more.")
    place = places.get(conn, host, now)
    known, below = subnets.with_networks(conn, [nic.network_id])
    binding = {
        **binding_of(server.id, "" if place is None else place.zone, host),
        "hostname": port_names.of_server(conn, known[nic.network_id], server.project_id, server.hostname),
        "device_tag": nic.device_tag,
        "nic": 1 + max((port.nic or 0 for port in held), default=-1),
    }
    if nic.made:
        quotas.demand(conn, server.project_id, {"port": 1})
        port = server_ports.make(conn, server.project_id, nic, binding, below[nic.network_id], now)
    else:
        port = server_ports.take(conn, nic, binding, now)
    host_networks.touch_members(conn, host, [port])
    host_networks.advance(conn, host, now)
    return port
