"""What a host has forgotten of a guest, read from the rows anew, and what it has heard of that the rows have not."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from msgspec.structs import replace

from floe.cloud import host_networks, server_ports, server_resize
from floe.cloud.cloud import Cloud
from floe.cloud.new_servers import made_of
from floe.conductor.flow import Flow
from floe.conductor.guest_spec import guest_spec
from floe.core import ahead
from floe.core.errors import HostFailure, NotFound
from floe.core.given import CreateSecrets
from floe.core.guests import GuestSpec
from floe.core.host_network import HostNetwork
from floe.core.messages import ChangePower
from floe.core.snapshot_commands import TakeSnapshot
from floe.store import places, server_disks
from floe.store import servers as rows
from floe.store.engine import Connection

BEHIND = "The host was told something later of this guest than the cloud knows of, so nothing was changed. Ask again."


OfGuest = TypeVar("OfGuest", ChangePower, TakeSnapshot)


async def told_anew(cloud: Cloud, host: str, command: OfGuest) -> OfGuest:
    """Return a command for a host that has forgotten the guest: with all of it, as its create has it.

    Raises NotFound.
    """
    now, domain = cloud.clock.now(), cloud.settings.dns_domain

    def read(conn: Connection) -> OfGuest:
        guest, network = guest_as_made(conn, command.server_id, host, domain, now)
        return replace(command, guest=guest, network=network)

    return await cloud.db.read(read)


def guest_as_made(
    conn: Connection, server_id: str, host: str, dns_domain: str, now: datetime, *, former: bool = False
) -> tuple[GuestSpec, HostNetwork]:
    """Return all that a host must know of a guest that it has forgotten, as its create has it, and of its ports.

    Or of what it was before it was to be another one: `former`. Raises NotFound.
    """
    server = rows.get(conn, server_id)
    if server is None:
        raise NotFound("server", server_id)
    network, zone = surroundings(conn, server_id, host, dns_domain, now)
    disks = server.former.disks if former and server.former else server_disks.of_server(conn, server)
    server = server_resize.former_of(server) if former else server
    return guest_spec(server, disks, made_of(conn, server), CreateSecrets(), network, zone), network


def surroundings(
    conn: Connection, server_id: str, host: str, dns_domain: str, now: datetime
) -> tuple[HostNetwork, str]:
    """Return what a host must know of the ports of a server, and its zone. Raises NotFound."""
    place = places.get(conn, host, now)
    if place is None:
        raise NotFound("host", host)
    ports = [port.port_id for port in server_ports.of_server(conn, server_id)]
    return host_networks.part(conn, host, ports, dns_domain), place.zone


async def catch_up(flow: Flow, error: HostFailure) -> None:
    """Have what is asked for next be ahead of a later wish of which the host heard and the rows did not.

    This one is not done: whether it was asked for before that or after, nobody knows, and what its user has done
    since is not to be undone. Raises HostFailure.
    """
    if error.heard < ahead.BELIEVABLE and await flow.alongside(
        lambda conn: rows.catch_up(conn, flow.action.subject_id, error.heard)
    ):
        raise HostFailure(BEHIND, host=error.host, detail=error.message, cause=error.cause) from error
