"""What the agents in guests are told when they first speak: the password that a guest was made with.

It is kept in memory alone, so that it lies on no disk, and for a while: who installs an agent later keeps the password
that was set since. The config drive, where there is one, says it too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial

import msgspec

from floe.core.clock import Clock
from floe.core.errors import HostFailure
from floe.core.guest_questions import admin_of
from floe.core.guests import GuestSpec
from floe.hypervisors.protocol import Hypervisor

log = logging.getLogger(__name__)

KEPT = 3600.0
"""Seconds in which an agent has to speak."""
_ALL = ""


class _Untold(msgspec.Struct, frozen=True):
    guest: GuestSpec
    password: str
    until: float


class FirstPasswords:
    """The passwords that guests on one host are still to be told."""

    def __init__(self, hypervisor: Hypervisor, clock: Clock) -> None:
        self._hypervisor, self._clock = hypervisor, clock
        self._untold: dict[str, _Untold] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """Of each guest one, however often its agent says that it is there, and one for all in turn."""

    def keep(self, guest: GuestSpec) -> None:
        """Have a guest that was made just now be told its password, if it was given one, and no earlier one's."""
        self.forget(guest.server_id)
        if password := guest.metadata.admin_password:
            self._untold[guest.server_id] = _Untold(guest, password, self._clock.monotonic() + KEPT)

    def forget(self, server_id: str) -> None:
        """Have a guest be told nothing: it is gone, or has another password."""
        self._untold.pop(server_id, None)

    def speaks(self, server_id: str) -> None:
        """Tell a guest in which an agent has begun to speak."""
        if server_id in self._untold:
            self._start(server_id, partial(self._tell, server_id))

    def look(self) -> None:
        """Tell those that could not be told before; it goes on beside, one guest after the other."""
        self._untold = {ident: untold for ident, untold in self._untold.items() if not self._is_late(untold)}
        if self._untold:
            self._start(_ALL, partial(self._tell_all, list(self._untold)))

    async def stop(self) -> None:
        """Tell nobody any more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell_all(self, server_ids: list[str]) -> None:
        for server_id in server_ids:
            await self._tell(server_id)

    async def _tell(self, server_id: str) -> None:
        untold = self._untold.get(server_id)
        if untold is None or self._is_late(untold):
            return
        made_of = untold.guest.rescue or untold.guest.image
        try:
            await self._hypervisor.set_password(untold.guest, admin_of(made_of.properties), untold.password)
        except HostFailure as error:
            log.debug("the guest of server %s was not told its password: %s", server_id, error.message)
            return
        if self._untold.get(server_id) is untold:
            self.forget(server_id)

    def _is_late(self, untold: _Untold) -> bool:
        return self._clock.monotonic() >= untold.until

    def _start(self, whom: str, work: Callable[[], Coroutine[None, None, None]]) -> None:
        if whom not in self._tasks:
            task = self._tasks[whom] = asyncio.get_running_loop().create_task(work())
            task.add_done_callback(lambda _task: self._tasks.pop(whom))
