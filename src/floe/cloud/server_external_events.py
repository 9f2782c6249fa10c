"""What other services say of servers: whether it is taken, and what is done about it.

What happens to guests, their ports and disks is the cloud's own doing, and it hears of that from its hosts, so nothing
waits for these events. That a network changed is believed: the server's host is told anew what its network should be.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from floe.cloud import host_networks
from floe.cloud.cloud import Cloud
from floe.store import servers as rows
from floe.store.engine import Connection

NETWORK_CHANGED = "network-changed"
NEED_A_TAG = frozenset({"volume-extended", "power-update", "accelerator-request-bound"})
"""Events that mean nothing without what they are about."""
MOST = 256
"""Events that are taken at once."""
TAKEN, NO_TAG, NO_SERVER, NO_HOST = 200, 400, 404, 422
"""What becomes of an event, as Nova counts it."""


class ExternalEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a server; `tag` is what it is about, such as a port."""

    name: str
    server_id: str
    tag: str | None = None


async def take(cloud: Cloud, events: Sequence[ExternalEvent]) -> list[int]:
    """Take events; return what becomes of each."""

    def look(conn: Connection) -> dict[str, tuple[bool, str | None]]:
        found = {server_id: rows.get(conn, server_id) for server_id in {event.server_id for event in events}}
        return {server_id: (server is not None, server.host if server else None) for server_id, server in found.items()}

    places = await cloud.db.scan(look)
    became = [_judged(event, *places[event.server_id]) for event in events]
    changed = {
        places[event.server_id][1] or ""
        for event, code in zip(events, became, strict=True)
        if code == TAKEN and event.name == NETWORK_CHANGED
    }
    if changed:
        await cloud.db.write(lambda conn: host_networks.touch_hosts(conn, sorted(changed)))
        await cloud.network_nudge()
    return became


def _judged(event: ExternalEvent, there: bool, host: str | None) -> int:
    if not there:
        return NO_SERVER
    if event.name in NEED_A_TAG and event.tag is None:
        return NO_TAG
    return TAKEN if host else NO_HOST
