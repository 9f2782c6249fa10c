"""What a guest may read about itself, and telling its host when that changes."""

from __future__ import annotations

import logging

from floe.cloud.cloud import Cloud
from floe.core.errors import HostFailure, Unavailable
from floe.core.guest_metadata import describe
from floe.core.messages import UpdateMetadata
from floe.core.servers import Server
from floe.store import hosts, servers
from floe.store.engine import Connection

log = logging.getLogger(__name__)
_SECONDS = 5.0
_TIMES = 3
"""How often a host is told of one guest in a row, however often its server changes meanwhile."""


async def tell(cloud: Cloud, server: Server, zone: str) -> None:
    """Tell the server's host what its guest may read about itself now.

    Best effort: a host that does not hear it is told again when it comes back. Two who tell a host at the same time may
    be heard in either order, so each looks whether what it told is still so, and tells it again where it is not.
    """

    def look(conn: Connection) -> tuple[Server | None, str]:
        host = None if server.host is None else hosts.get(conn, server.host)
        return servers.get(conn, server.id), zone if host is None else host.zone

    latest: Server | None = server
    zone = zone or cloud.settings.availability_zone
    for _ in range(_TIMES):
        if latest is None or latest.host is None or latest.host != server.host:
            return
        says = describe(latest, zone)
        try:
            command = UpdateMetadata(server_id=server.id, metadata=says)
            await cloud.bus.request(latest.host, command, timeout=_SECONDS)
        except (HostFailure, Unavailable) as error:
            log.warning("metadata of server %s did not reach host %s: %s", server.id, latest.host, error.message)
            return
        latest, zone = await cloud.db.read(look)
        if latest is not None and describe(latest, zone) == says:
            return
