"""The bus between machines in a simulation: the product's own, with somebody who hears what is asked and done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import get_args

from floe.bus.codec import encode
from floe.bus.nats import NatsBus
from floe.bus.protocol import Back, CommandHandler, Listener, Taker
from floe.cloud.audit import Violation
from floe.core.messages import Command, Event, ForOne, Result

_FOR_ONE = get_args(ForOne)
Told = Callable[[str, Command], None]
Answered = Callable[[str, Command, Result], None]


class Handed:
    """Which events for one there were, and which were handed to somebody, whole: told apart by what they say."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._published: list[tuple[float, bytes, str]] = []
        self._taken: dict[bytes, float] = {}

    def published(self, event: Event) -> None:
        """One is on its way."""
        self._published.append((self._time(), encode(event), type(event).__name__))

    def taken(self, event: Event) -> None:
        """One has come."""
        self._taken[encode(event)] = self._time()

    def lost(self, since: float, until: float) -> list[Violation]:
        """Return those of that time that came to nobody."""
        return [
            Violation("an event for one came to nobody", what, f"published at {when:.3f}")
            for when, data, what in self._published
            if since <= when <= until and self._taken.get(data, -1.0) < when
        ]


class HeardBus:
    """See `Bus`. `asked` is told of each question, and how long that waits; `came` of what a host takes."""

    def __init__(
        self,
        bus: NatsBus,
        *,
        pause: Callable[[str], Awaitable[None]],
        note: Callable[..., None],
        handed: Handed,
        asked: Callable[[str, Command, float], None],
        came: Told,
        told: Told,
        answered: Answered,
    ) -> None:
        self._bus, self._pause, self._note, self._handed = bus, pause, note, handed
        self._takers: dict[Taker, Taker] = {}
        self._asked, self._came, self._told, self._answered = asked, came, told, answered

    async def request(self, host: str, command: Command, *, timeout: float) -> Result:
        """See `Bus.request`."""
        self._note("ask", host, type(command).__name__)
        self._asked(host, command, timeout)
        return await self._bus.request(host, command, timeout=timeout)

    async def serve(self, host: str, handler: CommandHandler, *, back: Back | None = None) -> None:
        """See `Bus.serve`."""

        async def handle(command: Command) -> Result:
            self._came(host, command)
            await self._pause("bus.arrive")
            self._told(host, command)
            result = await handler(command)
            self._answered(host, command, result)
            self._note("answer", host, type(command).__name__, encode(result)[1:9])
            return result

        await self._bus.serve(host, handle, back=back)

    async def withdraw(self, host: str) -> None:
        """See `Bus.withdraw`."""
        await self._bus.withdraw(host)

    async def publish(self, event: Event) -> None:
        """See `Bus.publish`."""
        if isinstance(event, _FOR_ONE):
            self._handed.published(event)
        await self._bus.publish(event)

    async def listen(self, handler: Listener) -> None:
        """See `Bus.listen`."""
        await self._bus.listen(handler)

    async def share(self, handler: Taker) -> None:
        """See `Bus.share`."""

        async def take(event: ForOne) -> None:
            self._handed.taken(event)
            await handler(event)

        self._takers[handler] = take
        await self._bus.share(take)

    async def leave(self, handler: Listener | Taker) -> None:
        """See `Bus.leave`."""
        await self._bus.leave(self._takers.pop(handler, handler))  # type: ignore[arg-type]

    @property
    def trouble(self) -> str:
        """See `Bus.trouble`."""
        return self._bus.trouble

    async def close(self) -> None:
        """See `Bus.close`."""
        await self._bus.close()
