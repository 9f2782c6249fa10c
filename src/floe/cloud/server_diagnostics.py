"""What a server's guest has used, as its host counts it just now; nothing of it is kept."""

from __future__ import annotations

from datetime import datetime

import msgspec

from floe.cloud import servers
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Conflict, HostFailure, NotFound
from floe.core.guest_questions import Diagnostics, ReadDiagnostics
from floe.core.servers import Server
from floe.store import hosts
from floe.store.engine import Connection

_SECONDS = 30.0


class Diagnosed(msgspec.Struct, frozen=True, kw_only=True):
    """A server, what its guest has used, and the type of hypervisor that it runs on."""

    server: Server
    used: Diagnostics
    hypervisor: str
    now: datetime


async def show(cloud: Cloud, context: Context, server_id: str) -> Diagnosed:
    """Return what a server's guest has used. Raises NotFound, Unavailable, and Conflict where it does not run."""

    def look(conn: Connection) -> tuple[Server, str]:
        server = servers.visible(conn, context, server_id)
        if server.host is None:
            raise Conflict(f"Instance {server_id} is not ready: it is on no host, and in vm_state {server.vm_state}.")
        host = hosts.get(conn, server.host)
        return server, "" if host is None else host.hypervisor_type

    server, hypervisor = await cloud.db.read(look)
    host = server.host or ""
    try:
        used = await cloud.bus.request(host, ReadDiagnostics(server_id=server_id), timeout=_SECONDS)
    except HostFailure as error:
        if error.cause not in {Conflict.kind, NotFound.kind}:
            raise
        raise Conflict(
            f"Cannot 'get_diagnostics' instance {server_id} while it is in power state "
            f"{server.power_state.name.lower()}: {error.message}"
        ) from error
    if not isinstance(used, Diagnostics):
        raise HostFailure("The host answered something else.", host=host)
    return Diagnosed(server=server, used=used, hypervisor=hypervisor, now=cloud.clock.now())
