"""A guest that its host has forgotten, read from the rows anew."""

from __future__ import annotations

from datetime import datetime

import msgspec

from floe.cloud import host_networks, server_ports
from floe.conductor.guest_spec import guest_spec
from floe.core.actions import CREATE
from floe.core.errors import NotFound
from floe.core.given import CreateGiven, CreateSecrets
from floe.core.guests import GuestSpec
from floe.core.host_network import HostNetwork
from floe.store import actions, places, server_disks
from floe.store import servers as rows
from floe.store.engine import Connection


def guest_as_made(
    conn: Connection, server_id: str, host: str, dns_domain: str, now: datetime
) -> tuple[GuestSpec, HostNetwork]:
    """Return all that a host must know of a guest that it has forgotten, as its create has it, and of its ports.

    Raises NotFound.
    """
    server, place = rows.get(conn, server_id), places.get(conn, host, now)
    made = actions.find(conn, server_id, kind=CREATE.kind, limit=1)
    if server is None or place is None or not made:
        raise NotFound("server", server_id)
    ports = [port.port_id for port in server_ports.of_server(conn, server_id)]
    network = host_networks.part(conn, host, ports, dns_domain)
    disks, given = server_disks.of_server(conn, server), msgspec.convert(made[0].input, CreateGiven)
    return guest_spec(server, disks, given, CreateSecrets(), network, place.zone), network
