"""Events that come over NATS, to those of this process who listen or share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, get_args

from floe.bus import subjects
from floe.bus.codec import decode
from floe.bus.connection import Delivered, Interest
from floe.bus.envelope import Envelope
from floe.bus.lateness import HostClocks
from floe.bus.parts import Parts
from floe.bus.queue import EventQueue
from floe.bus.wire import FORGED, UNKNOWN, Wire
from floe.core.messages import ForAll, ForOne

_MOST_TAKERS = 1000
_FOR_ALL: tuple[type, ...] = get_args(ForAll)
_FOR_ONE: tuple[type, ...] = get_args(ForOne)

Handler = Callable[[Any], Awaitable[None]]


class Hearing:
    """Who hears what is for all, and who takes what is for one."""

    def __init__(self, wire: Wire, clocks: HostClocks) -> None:
        self._wire, self._clocks = wire, clocks
        self._heard: list[tuple[EventQueue, list[Interest]]] = []
        self._keeps = False
        self._shared = Parts(wire.clock, lambda: None)
        """Large events for one: all who share have all but the last part, which is given to one of them."""
        self._takers: OrderedDict[tuple[str, int], EventQueue] = OrderedDict()
        """Who was given the last part, until the others have come."""

    async def listen(self, handler: Handler) -> None:
        """See `Bus.listen`."""
        queue, parts = EventQueue(handler), self._wire.parts()

        def told(came: Delivered) -> None:
            event = self._wire.put(parts, came.subject, came)
            if event is not None:
                self._take_in(queue, came, event, _FOR_ALL)

        await self._hear(queue, [Interest(pattern, told) for pattern in subjects.FOR_ALL])

    async def share(self, handler: Handler) -> None:
        """See `Bus.share`."""
        if not self._keeps:
            self._keeps = True
            for pattern in subjects.PARTS:
                await self._wire.hear(Interest(pattern, self._kept))
        queue = EventQueue(handler)
        take = partial(self._taken, queue)
        await self._hear(queue, [Interest(pattern, take, subjects.TAKERS) for pattern in subjects.FOR_ONE])

    async def leave(self, handler: Handler) -> None:
        """See `Bus.leave`."""
        for queue, interests in [heard for heard in self._heard if heard[0].handler == handler]:
            self._heard.remove((queue, interests))
            for interest in interests:
                await self._wire.connection.ignore(interest)
            await queue.close()

    async def idle(self) -> None:
        """Wait until all that was received has been handled."""
        for queue, _ in self._heard:
            await queue.idle()

    async def stop(self) -> None:
        """Hand over nothing more."""
        for queue, _ in self._heard:
            await queue.close()
        self._heard.clear()

    # -- inside ---------------------------------------------------------------------------------------

    async def _hear(self, queue: EventQueue, interests: list[Interest]) -> None:
        self._heard.append((queue, interests))
        for interest in interests:
            await self._wire.hear(interest)

    def _taken(self, queue: EventQueue, came: Delivered) -> None:
        part = self._wire.read(came)
        if part is None:
            return
        if part.part[1] == 1:
            self._take_in(queue, came, part, _FOR_ONE)
            return
        self._takers[part.by, part.number] = queue
        if len(self._takers) > _MOST_TAKERS:
            self._takers.popitem(last=False)
        self._keep(part, came)

    def _kept(self, came: Delivered) -> None:
        part = self._wire.read(came)
        if part is not None and part.part[1] > 1:
            self._keep(part, came)

    def _keep(self, part: Envelope, came: Delivered) -> None:
        event = self._shared.put(subjects.speaker(came.subject), part)
        queue = None if event is None else self._takers.pop((part.by, part.number), None)
        if event is not None and queue is not None:
            self._take_in(queue, came, event, _FOR_ONE)

    def _take_in(self, queue: EventQueue, came: Delivered, said: Envelope, kinds: tuple[type, ...]) -> None:
        """Let an event wait for its listener, unless who said it is not whom it names."""
        try:
            event: Any = decode(said.body)
        except ValueError as error:
            self._wire.unread(UNKNOWN, came.subject, error)
            return
        speaker, what = subjects.speaker(came.subject), type(event).__name__
        if not isinstance(event, kinds):
            self._wire.unread(UNKNOWN, came.subject, f"{what} is not told there")
        elif speaker != subjects.speaker(subjects.event(event)):  # type: ignore[arg-type]  # it is one of `kinds`
            self._wire.unread(FORGED, came.subject, f"{what} of another")
        else:
            if speaker and said.run:
                self._clocks.heard(speaker, said.run, said.clock)
            queue.put(event)
