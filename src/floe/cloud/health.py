"""How the parts of a running cloud are, so far as a create needs them: each is `ok`, or says what is the matter.

Whoever asks, and however often, the parts are looked at once in a while: asking is no load.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from floe.cloud.cloud import Cloud
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the conductor knows. `late` is for how many seconds its rounds are overdue, 0 when they are not."""

    alive: Sequence[str]
    down: Sequence[str]
    late: float


class Health:
    """Looks at database, disk, hosts and conductor. Call it in the event loop."""

    def __init__(self, cloud: Cloud, room: DiskRoom, seen: Callable[[], Seen]) -> None:
        self._cloud, self._room, self._seen = cloud, room, seen
        self._parts: dict[str, str] = {}
        self._until = 0.0
        self._looking: asyncio.Task[dict[str, str]] | None = None
        self._writing: asyncio.Task[None] | None = None

    async def parts(self) -> dict[str, str]:
        """Return the state of each part, at most `LOOK_EVERY` seconds old."""
        if self._cloud.clock.monotonic() >= self._until:
            if self._looking is None:
                self._looking = asyncio.get_running_loop().create_task(self._look())
            await asyncio.shield(self._looking)
        return dict(self._parts)

    async def stop(self) -> None:
        """Look no more."""
        for task in (self._looking, self._writing):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})

    async def _look(self) -> dict[str, str]:
        try:
            seen = self._seen()
            self._parts = {
                "database": await self._database(),
                "disk": await alone(self._disk),
                "bus": OK,
                "conductor": OK if not seen.late else f"its rounds have not turned for {seen.late:.0f} s",
                "hosts": _hosts(seen),
            }
            self._until = self._cloud.clock.monotonic() + LOOK_EVERY
            return self._parts
        finally:
            self._looking = None

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


def _hosts(seen: Seen) -> str:
    count = len(seen.alive) + len(seen.down)
    if not seen.alive:
        return f"none of {count} is alive" if count else "there is none"
    return f"{OK}: {len(seen.alive)} of {count} are alive" if seen.down else OK
