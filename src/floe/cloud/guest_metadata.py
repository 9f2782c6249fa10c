"""What a guest may read about itself, and telling its host when that changes."""

from __future__ import annotations

import logging

from floe.cloud.cloud import Cloud
from floe.core.errors import HostFailure, Unavailable
from floe.core.guest_metadata import describe
from floe.core.messages import UpdateMetadata
from floe.core.servers import Server

log = logging.getLogger(__name__)
_SECONDS = 5.0


async def tell(cloud: Cloud, server: Server, zone: str) -> None:
    """Tell the server's host what its guest may read about itself now.

    Best effort: a host that does not hear it is told again when it comes back.
    """
    if server.host is None:
        return
    command = UpdateMetadata(server_id=server.id, metadata=describe(server, zone or cloud.settings.availability_zone))
    try:
        await cloud.bus.request(server.host, command, timeout=_SECONDS)
    except (HostFailure, Unavailable) as error:
        log.warning("metadata of server %s did not reach host %s: %s", server.id, server.host, error.message)
