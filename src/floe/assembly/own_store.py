"""The image store of a process that is an API too, as its hosts send images there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

from floe.agent.image_copy import CHUNK
from floe.cloud import snapshots
from floe.cloud.cloud import Cloud
from floe.core.image_tickets import ImageTicket, authorization
from floe.pools import Pool


class OwnStore:
    """See `agent.snapshots.SnapshotStore`: the image store of this process itself."""

    def __init__(self, cloud: Cloud, threads: Pool) -> None:
        self._cloud, self._threads = cloud, threads

    async def send(self, ticket: ImageTicket, file: Path, size: int, told: Callable[[int], None]) -> None:
        """See `SnapshotStore.send`."""
        shown = authorization(ticket, "PUT")
        await snapshots.take(self._cloud, shown, ticket.blob, self._pieces(file, told), announced=size)

    async def _pieces(self, file: Path, told: Callable[[int], None]) -> AsyncIterator[bytes]:
        sent = 0
        with file.open("rb") as reader:
            while piece := await self._threads.run(reader.read, CHUNK, let_in=True):
                yield piece
                told(sent := sent + len(piece))
