"""How the parts of a running cloud are, so far as a create needs them: each is `ok`, or says what is the matter.

Whoever asks, and however often, the parts are looked at once in a while: asking is no load.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from floe.cloud.cloud import Cloud
from floe.core.clock import Clock
from floe.core.errors import Unavailable
from floe.disk import DiskRoom
from floe.pools import alone
from floe.store import probes

log = logging.getLogger(__name__)

OK = "ok"
LOOK_EVERY = 2.0
"""Seconds for which what was seen is told again."""
WRITE_WITHIN = 2.0
"""Seconds that a write of one row may take."""
_MIB = 2**20
Parts = Callable[[], Awaitable[Mapping[str, str]]]
"""Returns the state of some parts by their names."""


class Health:
    """Asks all parts how they are: each of `parts` for some. Call it in the event loop."""

    def __init__(self, clock: Clock, parts: Sequence[Parts]) -> None:
        self._clock, self._asked = clock, parts
        self._parts: dict[str, str] = {}
        self._until = 0.0
        self._looking: asyncio.Task[dict[str, str]] | None = None

    async def parts(self) -> dict[str, str]:
        """Return the state of each part, at most `LOOK_EVERY` seconds old."""
        if self._clock.monotonic() >= self._until:
            if self._looking is None:
                self._looking = asyncio.get_running_loop().create_task(self._look())
            await asyncio.shield(self._looking)
        return dict(self._parts)

    async def stop(self) -> None:
        """Look no more."""
        await _end(self._looking)

    async def _look(self) -> dict[str, str]:
        try:
            self._parts = {name: state for parts in self._asked for name, state in (await parts()).items()}
            self._until = self._clock.monotonic() + LOOK_EVERY
            return self._parts
        finally:
            self._looking = None


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
        await _end(self._writing)

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


def good(parts: dict[str, str]) -> bool:
    """Say whether all parts are such that servers can be created; a part may be so and have more to say."""
    return all(state.split(":")[0] == OK for state in parts.values())


async def _end(task: asyncio.Task[Any] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.wait({task})
