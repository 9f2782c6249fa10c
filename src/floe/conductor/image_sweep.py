"""Finishes what uploads and deletes of images left undone: ends uploads that nobody is at, removes bytes in the end."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from floe.cloud import image_blobs
from floe.cloud.cloud import Cloud
from floe.core.errors import Unavailable
from floe.core.images import WRITING, ImageBlob
from floe.store import image_blobs as rows

log = logging.getLogger(__name__)

_AT_ONCE = 256
"""Rows looked at in one round."""
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 300.0


@dataclass(slots=True)
class _Watched:
    """A blob's row as it was last seen to change, and when it is looked at again after a failure."""

    beat: int
    since: float
    again: float = 0.0
    wait: float = _FIRST_WAIT


class ImageSweep:
    """An upload is dead when its row has not changed for the time of a lease, by this process's own clock.

    So no two machines' clocks are ever compared.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._watched: dict[str, _Watched] = {}
        self._after = ""

    async def settle(self) -> None:
        """Look at some rows, those after the last ones; end or remove what is due."""
        found = await self._cloud.db.read(lambda conn: rows.find(conn, after=self._after, limit=_AT_ONCE))
        whole = not self._after and len(found) < _AT_ONCE
        self._after = found[-1].id if len(found) == _AT_ONCE else ""
        if whole:
            there = {blob.id for blob in found}
            self._watched = {ident: seen for ident, seen in self._watched.items() if ident in there}
        for blob in found:
            if self._due(blob):
                await self._finish(blob)

    async def strays(self) -> None:
        """Remove bytes that no row knows of."""
        await image_blobs.remove_strays(self._cloud)

    def _due(self, blob: ImageBlob) -> bool:
        now = self._cloud.clock.monotonic()
        seen = self._watched.get(blob.id)
        if blob.state != WRITING:
            return seen is None or now >= seen.again
        if seen is None or seen.beat != blob.beat:
            self._watched[blob.id] = _Watched(blob.beat, now)
            return False
        return now >= max(seen.again, seen.since + self._cloud.settings.upload_lease)

    async def _finish(self, blob: ImageBlob) -> None:
        try:
            if blob.state == WRITING:
                log.warning("nobody is at the upload of image %s any more; it is ended", blob.image_id)
                await image_blobs.end(self._cloud, blob.id)
            else:
                await image_blobs.remove(self._cloud, blob.id)
        except Unavailable as error:
            now = self._cloud.clock.monotonic()
            seen = self._watched.setdefault(blob.id, _Watched(blob.beat, now))
            seen.again, seen.wait = now + seen.wait, min(2 * seen.wait, _LONGEST_WAIT)
            log.warning("bytes of image %s are removed later: %s", blob.image_id, error.message)
        else:
            self._watched.pop(blob.id, None)
