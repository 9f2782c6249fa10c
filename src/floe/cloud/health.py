"""How that is which all of a cloud stands on: the database, which is written to, the room on the disk, and images."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from floe.blobs.protocol import Blobs
from floe.cloud.cloud import Cloud
from floe.core.errors import FloeError, NotFound, Unavailable
from floe.core.health import OK
from floe.disk import DiskRoom
from floe.pools import alone
from floe.store import probes

log = logging.getLogger(__name__)

WRITE_WITHIN = 2.0
"""Seconds that a write of one row may take, and an answer of the image store."""
_NO_BLOB = "00000000-0000-0000-0000-000000000000"
"""That there is none says that the store works."""
_MIB = 2**20


class _Trial:
    """Something that is tried; a try that does not come back is waited for by every later look, and none is added."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._trying: asyncio.Future[None] | None = None

    async def done(self) -> None:
        """Try it. Raises what it raises, and TimeoutError when it takes longer than `WRITE_WITHIN`."""
        if self._trying is None or self._trying.done():
            self._trying = asyncio.ensure_future(self._work())
        finished, _ = await asyncio.wait({self._trying}, timeout=WRITE_WITHIN)
        if not finished:
            raise TimeoutError
        self._trying.result()

    async def stop(self) -> None:
        """Call a try off."""
        if self._trying is not None:
            self._trying.cancel()
            await asyncio.wait({self._trying})


class ImageStore:
    """An image store that may be away while all else works: one across a network."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._asking = _Trial(self._ask)

    async def parts(self) -> dict[str, str]:
        """Say how it is."""
        try:
            await self._asking.done()
        except TimeoutError:
            return {"images": f"the image store has not answered within {WRITE_WITHIN:g} s"}
        except FloeError as error:
            return {"images": error.message}
        return {"images": OK}

    async def stop(self) -> None:
        """Wait for no answer any more."""
        await self._asking.stop()

    async def _ask(self) -> None:
        with suppress(NotFound):
            async for _ in self._blobs.read(_NO_BLOB):
                return


class Ground:
    """What everything stands on: the database, which is written to, and the room on the disk."""

    def __init__(self, cloud: Cloud, room: DiskRoom) -> None:
        self._cloud, self._room = cloud, room
        self._writing = _Trial(self._write)

    async def parts(self) -> dict[str, str]:
        """Say how both are."""
        return {"database": await self._database(), "disk": await alone(self._disk)}

    async def stop(self) -> None:
        """Wait for no write any more."""
        await self._writing.stop()

    async def _database(self) -> str:
        try:
            await self._writing.done()
        except TimeoutError:
            return f"a write has not been done within {WRITE_WITHIN:g} s"
        except Exception as error:
            log.warning("the database cannot be written to: %s", getattr(error, "message", error))
            return "it cannot be written to" if isinstance(error, Unavailable) else "it failed"
        return OK

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
