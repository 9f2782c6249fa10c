"""How that is which all of a cloud stands on: the database, which is written to, and the room on the disk."""

from __future__ import annotations

import asyncio
import logging

from floe.cloud.cloud import Cloud
from floe.core.errors import Unavailable
from floe.core.health import OK
from floe.disk import DiskRoom
from floe.pools import alone
from floe.store import probes

log = logging.getLogger(__name__)

WRITE_WITHIN = 2.0
"""Seconds that a write of one row may take."""
_MIB = 2**20


class Ground:
    """What everything stands on: the database, which is written to, and the room on the disk."""

    def __init__(self, cloud: Cloud, room: DiskRoom) -> None:
        self._cloud, self._room = cloud, room
        self._writing: asyncio.Task[None] | None = None

    async def parts(self) -> dict[str, str]:
        """Say how both are."""
        return {"database": await self._database(), "disk": await alone(self._disk)}

    async def stop(self) -> None:
        """Wait for no write any more."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait({self._writing})

    async def _database(self) -> str:
        """Write a row; a write that does not come back is waited for by every later look, and none is added to it."""
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write())
        done, _ = await asyncio.wait({self._writing}, timeout=WRITE_WITHIN)
        if not done:
            return f"a write has not been done within {WRITE_WITHIN:g} s"
        error = self._writing.exception()
        if error is None:
            return OK
        log.warning("the database cannot be written to: %s", getattr(error, "message", error))
        return "it cannot be written to" if isinstance(error, Unavailable) else "it failed"

    async def _write(self) -> None:
        now = self._cloud.clock.now()
        await self._cloud.db.write(lambda conn: probes.put(conn, "health", now))

    def _disk(self) -> str:
        try:
            free, reserve, whole = self._room.sizes()
        except OSError as error:
            return f"it cannot be looked at: {error.strerror}"
        if free >= reserve:
            return OK
        return (
            f"{free // _MIB} MiB of {whole // _MIB} are free, less than the reserve of {reserve // _MIB}: "
            "no image data is taken"
        )
