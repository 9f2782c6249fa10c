"""What a process does that has the bytes of images: it performs their actions, its own and those of the dead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from floe.cloud import image_blobs, image_uploads
from floe.cloud.cloud import Cloud
from floe.cloud.own_actions import Begun, OwnActions
from floe.conductor.fleet import ConductorSettings
from floe.conductor.performing import Observer, Performer, unobserved
from floe.conductor.registry import image_sagas
from floe.conductor.runner import Runner
from floe.conductor.saga import Saga
from floe.conductor.stops import Fenced, Interrupted
from floe.conductor.sweeps import turning
from floe.core.errors import Unavailable
from floe.store import actions
from floe.store.engine import Connection

log = logging.getLogger(__name__)

_AT_ONCE = 256
"""Actions looked at in one round."""
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 300.0
_LOOKED_WITHIN = 2.0
"""Seconds for which a start waits for the image store, which may be away: all but images works without it."""


@dataclass(slots=True)
class _Watched:
    """An action as it was last seen to be written, and when it is taken up after it was left."""

    writes: int
    since: float
    again: float = 0.0
    wait: float = _FIRST_WAIT


class ImageActions:
    """Any number of processes do so, each for itself; conductors leave actions of images to them.

    Whoever is at an action writes now and then. One that has not for the time of a lease, by this process's own clock,
    is dead, or may be: times of two machines are never compared, so that a clock set forward ends no upload. Who starts
    at a `place` knows that the process before it there is dead. `own` is for the cloud that begins them.
    """

    def __init__(
        self,
        cloud: Cloud,
        *,
        settings: ConductorSettings | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        place: str | None = None,
        observer: Observer = unobserved,
        workflows: Callable[[Cloud], Mapping[str, Saga]] = image_sagas,
    ) -> None:
        self._cloud, self._sleep, self._place = cloud, sleep, place and f"{place} images"
        self._settings = replace(settings or ConductorSettings(), lease=cloud.settings.upload_lease)
        self.owner = actions.owner_at(self._place or "", cloud.new_id())
        """By which its leases are known; another one with every start."""
        self.runner = Runner(
            cloud.db,
            cloud.clock,
            workflows(cloud),
            Performer(_no_host, _no_host, observer),
            self._settings,
            owner=self.owner,
            sleep=sleep,
        )
        self.own = OwnActions(owner=self.owner, lease=self._settings.lease, perform=self._perform)
        self._watched: dict[str, _Watched] = {}
        self._after = ""
        self._rounds: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take over what a dead process left, and go on looking."""
        place = self._place
        if place and (broken := await self._cloud.db.write(lambda conn: actions.break_leases(conn, place))):
            log.info("%d uploads and deletes of images were left by the process before this one, which died", broken)
        if requeued := await image_blobs.recover(self._cloud):
            log.warning("uploads cut off by the last stop: %s", requeued)
        await self.settle()
        rounds = ((self.settle, self._settings.sweep), (self.slow, self._settings.slow_sweep))
        loop = asyncio.get_running_loop()
        looking = loop.create_task(self._remove_strays())
        self._rounds = [looking, *(loop.create_task(turning(work, seconds, self._sleep)) for work, seconds in rounds)]
        await asyncio.wait({looking}, timeout=_LOOKED_WITHIN)

    async def stop(self) -> None:
        """Let go of everything where it stands."""
        for task in self._rounds:
            task.cancel()
        await asyncio.gather(*self._rounds, return_exceptions=True)
        await self.runner.stop()

    async def idle(self) -> None:
        """Wait until nothing that was left is being done; for trials and tests."""
        await self.runner.idle()

    async def settle(self) -> None:
        """Look at some open actions, those after the last ones; take up what is due."""

        def read(conn: Connection) -> list[Any]:
            return actions.open_of_images(conn, self._after, _AT_ONCE)

        found = await self._cloud.db.read(read)
        whole = not self._after and len(found) < _AT_ONCE
        self._after = found[-1].id if len(found) == _AT_ONCE else ""
        if whole:
            there = {row.id for row in found}
            self._watched = {ident: seen for ident, seen in self._watched.items() if ident in there}
        for row in found:
            if not self.runner.has_in_hand(row.id) and self._due(row):
                self.runner.overtake(row.id)

    async def slow(self) -> None:
        """Give actions to bytes that none is at, and remove bytes that no row knows of."""
        await image_blobs.adopt(self._cloud)
        await self._remove_strays()

    # -- inside ---------------------------------------------------------------------------------------

    async def _remove_strays(self) -> None:
        try:
            await image_blobs.remove_strays(self._cloud)
        except Unavailable as error:
            log.warning("bytes that are no image's data are looked for later: %s", error.message)

    def _due(self, row: Any) -> bool:
        """Say whether to take an action up: when nobody has it, ever more seldom; else when its owner is silent."""
        now = self._cloud.clock.monotonic()
        seen = self._watched.get(row.id)
        if seen is None or (row.lease_owner is not None and seen.writes != row.writes):
            seen = self._watched[row.id] = _Watched(row.writes, now)
        if now < seen.again or (row.lease_owner is not None and now < seen.since + self._settings.lease):
            return False
        seen.again, seen.wait = now + seen.wait, min(2 * seen.wait, _LONGEST_WAIT)
        return True

    async def _perform(self, begun: Begun) -> None:
        try:
            await self.runner.perform(begun)
        except Fenced as error:
            raise image_uploads.ended(begun.action.subject_id) from error
        except Interrupted as error:
            raise Unavailable(str(error)) from error


async def _no_host(*_: Any, **__: Any) -> Any:
    raise TypeError("no host has a part in actions of images")
