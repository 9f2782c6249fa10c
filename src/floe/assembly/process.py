"""A process: parts that start one upon the other and stop the other way round, and say how they are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import msgspec

from floe.assembly.health import Health
from floe.core.clock import Clock
from floe.core.errors import Unavailable

log = logging.getLogger(__name__)

_AGAIN = 1.0
"""Seconds between two tries of a part whose engine is not there."""


_NONE: Mapping[str, Any] = MappingProxyType({})


class Part(Protocol):
    """One of the things that a process is made of: it starts, stops, and says of what it has how that is."""

    def start(self) -> Awaitable[None]:
        """Begin, with the parts before it started. Raises FloeError with what is missing."""
        ...

    def stop(self) -> Awaitable[None]:
        """End; a part whose start failed, or never came, has nothing to do here."""
        ...

    def parts(self) -> Awaitable[dict[str, str]]:
        """Return the state of each thing by its name: `ok`, or what is the matter."""
        ...


async def nothing() -> None:
    """Do nothing."""


async def no_parts() -> dict[str, str]:
    """Tell of nothing."""
    return {}


class Plain(msgspec.Struct, frozen=True, kw_only=True):
    """A part of three functions."""

    start: Callable[[], Awaitable[None]] = nothing
    stop: Callable[[], Awaitable[None]] = nothing
    parts: Callable[[], Awaitable[dict[str, str]]] = no_parts


class Process:
    """Parts, from the ground to the roof.

    For those of them that are `engines`, by their names, a start waits until they are there, and says so meanwhile.
    """

    def __init__(self, clock: Clock, parts: Sequence[Part], *, engines: Mapping[str, Part] = _NONE) -> None:
        self._parts, self._engines = parts, engines
        self._started: list[Part] = []
        self._state = "starting"
        """Why the process does not serve, "" while it does."""
        self._leaving = False
        self._health = Health(clock, [part.parts for part in parts])

    async def health(self) -> dict[str, str]:
        """Return the state of each part: `ok`, or what is the matter."""
        if self._leaving:
            return {"process": "stopping"}
        return {"process": self._state} if self._state else await self._health.parts()

    async def start(self) -> None:
        """Bring everything up, from the ground to the roof. Raises FloeError with what is missing."""
        try:
            for part in self._parts:
                await self._begin(part)
        except BaseException:
            await self.stop()
            raise
        self._state = ""

    def leave(self) -> None:
        """Say from now on that this process is about to stop; it serves on."""
        self._leaving = True

    async def stop(self) -> None:
        """Take everything down again, from the roof to the ground; guests go on running."""
        self.leave()
        await self._health.stop()
        while self._started:
            await self._end(self._started.pop())

    async def _begin(self, part: Part) -> None:
        engine = next((name for name, each in self._engines.items() if each is part), "")
        self._state = f"starting: it waits for the {engine}" if engine else "starting"
        told = ""
        while True:
            self._started.append(part)
            try:
                await part.start()
                return
            except Unavailable as error:
                if not engine:
                    raise
                await self._end(self._started.pop())  # what it had begun it begins anew
                if error.message != told:
                    told = error.message
                    log.warning("the start waits for the %s: %s", engine, told)
                await asyncio.sleep(_AGAIN)

    async def _end(self, part: Part) -> None:
        try:
            await part.stop()
        except Exception:
            log.exception("stopping %s failed", type(part).__name__)
