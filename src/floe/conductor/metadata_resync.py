"""Guests may read about themselves what their servers' rows say, though their host missed being told."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from functools import partial

from floe.cloud import guest_metadata
from floe.cloud.cloud import Cloud
from floe.core.guest_metadata import fingerprint
from floe.core.messages import HostUp
from floe.store import guests, hosts, servers

OVERLAP = timedelta(seconds=60)
"""What changed so shortly before the last comparison is compared again: it may have been on its way."""

_TOGETHER = 200
"""Guests compared before others get their turn: some 3 ms."""


class MetadataResync:
    """Compares what a host says its guests were told with the rows: all at first, then what changed since.

    Hosts take turns, so that however many come back together, nobody waits for all of them.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._agreed: dict[str, datetime] = {}
        """When a host was last found to know all of its guests."""
        self._turn = asyncio.Lock()

    async def compare(self, event: HostUp) -> bool:
        """Tell the host again what it does not know of its guests; say whether there was nothing to tell."""
        now = self._cloud.clock.now()
        if not event.told:
            return True
        async with self._turn:
            host = await self._cloud.db.read(partial(hosts.get, name=event.host))
            zone = host.zone if host is not None else event.availability_zone
            outdated = await self._outdated(event, zone)
        for server_id in outdated:
            server = await self._cloud.db.read(partial(servers.get, server_id=server_id))
            if server is not None and server.host == event.host:
                await guest_metadata.tell(self._cloud, server, zone)
        if not outdated:
            self._agreed[event.host] = now
        return not outdated

    async def _outdated(self, event: HostUp, zone: str) -> list[str]:
        """Return the servers whose guests were told something else than what their rows say."""
        last, after = self._agreed.get(event.host), 0
        look = partial(
            guests.described,
            host=event.host,
            zone=zone,
            since=None if last is None else last - OVERLAP,
            limit=_TOGETHER,
        )
        found = []
        while part := await self._cloud.db.read(partial(look, after=after)):
            for guest in part:
                known = event.told.get(guest.server_id)
                if known is not None and known != fingerprint(guest.metadata):
                    found.append(guest.server_id)
            after = part[-1].number
            await asyncio.sleep(0)
        return found
