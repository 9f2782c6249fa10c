"""What a bus does: commands to one host, events from all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from floe.core.messages import Command, Event, Result

CommandHandler = Callable[[Command], Awaitable[Result]]
EventHandler = Callable[[Event], Awaitable[None]]


class Bus(Protocol):
    """Carries commands, results and events; remembers nothing, so that whoever needs certainty asks again.

    Shipped: `bus.local.LocalBus` (one process).
    """

    async def request(self, host: str, command: Command, *, timeout: float) -> Result:
        """Send a command to a host and return its result.

        Raises HostFailure when the host answers `Failed`, and Unavailable when there is no such host or no
        answer within `timeout` seconds (the command may then have been carried out, or may be yet).
        """
        ...

    async def serve(self, host: str, handler: CommandHandler) -> None:
        """Answer the commands to a host with `handler` from now on, several at a time."""
        ...

    async def withdraw(self, host: str) -> None:
        """Answer no more commands to a host."""
        ...

    async def publish(self, event: Event) -> None:
        """Tell all listeners; returns when the event is on its way."""
        ...

    async def listen(self, handler: EventHandler) -> None:
        """Hand every event from now on to `handler`, in the order they came from each host."""
        ...

    async def close(self) -> None:
        """End all serving and listening; requests that wait are answered Unavailable."""
        ...
