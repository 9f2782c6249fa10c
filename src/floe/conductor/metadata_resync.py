"""Guests may read about themselves what their servers' rows say, though their host missed being told."""

from __future__ import annotations

from datetime import datetime, timedelta

from floe.cloud import guest_metadata
from floe.cloud.cloud import Cloud
from floe.core.guest_metadata import describe, fingerprint
from floe.core.messages import HostUp
from floe.store import guests

_OVERLAP = timedelta(seconds=60)
"""What changed so shortly before the last comparison is compared again: it may have been on its way."""


class MetadataResync:
    """Compares what a host says its guests were told with the rows: all at first, then what changed since."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._agreed: dict[str, datetime] = {}
        """When a host was last found to know all of its guests."""

    async def compare(self, event: HostUp) -> bool:
        """Tell the host again what it does not know of its guests; say whether there was nothing to tell."""
        now, last = self._cloud.clock.now(), self._agreed.get(event.host)
        since = None if last is None else last - _OVERLAP
        agrees = True
        for server in await self._cloud.db.read(lambda conn: guests.described(conn, event.host, since)):
            known = event.told.get(server.id)
            if known is not None and known != fingerprint(describe(server, event.availability_zone)):
                agrees = False
                await guest_metadata.tell(self._cloud, server, event.availability_zone)
        if agrees:
            self._agreed[event.host] = now
        return agrees
