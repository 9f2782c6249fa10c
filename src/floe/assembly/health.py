"""How the parts of a process are: whoever asks, and however often, they are looked at once in a while.

Asking is no load.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from floe.core.clock import Clock

log = logging.getLogger(__name__)

LOOK_EVERY = 2.0
"""Seconds for which what was seen is told again."""
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
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})

    async def _look(self) -> dict[str, str]:
        try:
            self._parts = {name: state for parts in self._asked for name, state in (await _told(parts)).items()}
            self._until = self._clock.monotonic() + LOOK_EVERY
            return self._parts
        finally:
            self._looking = None


async def _told(parts: Parts) -> Mapping[str, str]:
    """Return what some parts tell, or that they do not: whoever asks is told of the others all the same."""
    try:
        return await parts()
    except Exception as error:
        log.warning("a part does not say how it is: %s", error)
        return {"unknown": f"a part does not say how it is: {getattr(error, 'message', type(error).__name__)}"}
