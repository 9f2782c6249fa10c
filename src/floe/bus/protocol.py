"""What a bus does: commands to one host, events to all or to one of those who listen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from floe.core.errors import HostFailure
from floe.core.messages import Command, Event, Failed, ForAll, ForOne, Result

CommandHandler = Callable[[Command], Awaitable[Result]]
Listener = Callable[[ForAll], Awaitable[None]]
Back = Callable[[], Awaitable[None]]
Taker = Callable[[ForOne], Awaitable[None]]


class Bus(Protocol):
    """Carries commands, results and events; remembers nothing, so that whoever needs certainty asks again.

    What kind an event is of says who hears it: see `core.messages`. Shipped: `bus.local.LocalBus` (one process).
    """

    async def request(self, host: str, command: Command, *, timeout: float) -> Result:
        """Send a command to a host and return its result.

        Raises HostFailure when the host answers `Failed`, and Unavailable when there is no such host or no
        answer within `timeout` seconds (the command may then have been carried out, or may be yet).
        """
        ...

    async def serve(self, host: str, handler: CommandHandler, *, back: Back | None = None) -> None:
        """Answer the commands to a host with `handler` from now on, several at a time.

        `back` is called when events of the host may have been lost, because the bus was away for a while.
        """
        ...

    async def withdraw(self, host: str) -> None:
        """Answer no more commands to a host."""
        ...

    async def publish(self, event: Event) -> None:
        """Tell whom it concerns; returns when the event is on its way. One that cannot be sent is lost."""
        ...

    async def listen(self, handler: Listener) -> None:
        """Hand every event for all from now on to `handler`, in the order they came from each host."""
        ...

    async def share(self, handler: Taker) -> None:
        """Hand events for one from now on to `handler`: each to one of those who share, whichever it is.

        One after the other, in the order in which those that are handed to it came from each host. An event that
        nobody shares in, or whose taker dies, is lost.
        """
        ...

    async def leave(self, handler: Listener | Taker) -> None:
        """Hand nothing more to a handler that was given to `listen` or `share`."""
        ...

    @property
    def trouble(self) -> str:
        """Why nothing is carried now; empty while the bus is there."""
        ...

    async def close(self) -> None:
        """End all serving, listening and sharing; requests that wait are answered Unavailable."""
        ...


def host_failure(host: str, failed: Failed) -> HostFailure:
    """Return what a host's failure is raised as."""
    return HostFailure(
        failed.message,
        host=host,
        stage=failed.stage,
        detail=failed.detail,
        cause=failed.kind,
        steps=failed.steps,
        heard=failed.heard,
    )
