"""Talk with the agents in guests, in threads for that alone: what they answer may take as long as they like."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

from floe.core.errors import Busy, Conflict, HostFailure, Unavailable
from floe.hypervisors.libvirt.connection import LibvirtConnection
from floe.pools import Pool

T = TypeVar("T")

_THREADS = 4
TURN_COMES_IN = 15.0
"""Seconds after which nobody waits any more for a thread."""
_NO_TURN = "Too many guests of this host are slow to answer just now; try again later."


class Talks:
    """Projects take turns, and a guest is asked one thing at a time: those that are slow hold up their own.

    libvirt itself lets whoever asks an agent that is at something wait for half a minute: nothing else may ask one.
    """

    def __init__(self, connection: LibvirtConnection) -> None:
        self._connection = connection
        self._pool = Pool("guest-agents", _THREADS, most_waiting=256, most_each=1)
        self._asked: set[str] = set()
        """Guests that are being asked something, or are to be."""

    async def ask(self, call: Callable[[Any], T], *, project: str, guest: str) -> T:
        """Call libvirt for what a guest has to answer. A caller that is cancelled does not wait for its end.

        Raises HostFailure: with cause `conflict` where the guest is asked already, `unavailable` where no turn comes.
        """
        loop = asyncio.get_running_loop()
        late, started = loop.time() + TURN_COMES_IN, False

        def begins() -> None:
            nonlocal started
            if loop.time() > late:
                raise HostFailure(_NO_TURN, stage="guest", cause=Unavailable.kind)
            started = True

        def work() -> T:
            try:
                return self._connection.asked(call)
            finally:
                with contextlib.suppress(RuntimeError):  # the loop is closed: there is nobody left to ask
                    loop.call_soon_threadsafe(self._asked.discard, guest)

        if guest in self._asked:
            text = "The guest is being asked something already; try again once it has answered."
            raise HostFailure(text, stage="guest", cause=Conflict.kind)
        self._asked.add(guest)
        try:
            return await self._pool.run(work, caller=(project, guest), first=begins)
        except Busy as error:
            raise HostFailure(_NO_TURN, stage="guest", cause=Unavailable.kind) from error
        finally:
            if not started:
                self._asked.discard(guest)

    def close(self) -> None:
        """Ask nothing more."""
        self._pool.close()
