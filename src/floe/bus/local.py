"""The bus of one process: asyncio queues, and the codec all the same, so that nothing slips in that cannot travel."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import get_args

from floe.bus.answering import Answering, result_of
from floe.bus.codec import decode, encode
from floe.bus.protocol import Back, CommandHandler, Listener, Taker
from floe.bus.queue import EventQueue
from floe.core.errors import Unavailable
from floe.core.messages import Command, Event, ForOne, Result

_FOR_ONE = get_args(ForOne)


class LocalBus:
    """Commands run as tasks of the serving side; events go through one queue per listener, which is bounded."""

    def __init__(self) -> None:
        self._hosts: dict[str, Answering] = {}
        self._listeners: list[EventQueue] = []
        self._sharing: deque[EventQueue] = deque()
        """Whose turn it is to take what is for one comes first."""
        self._closed = False

    async def request(self, host: str, command: Command, *, timeout: float) -> Result:
        """See `Bus.request`."""
        answering = self._hosts.get(host)
        if answering is None or self._closed:
            raise Unavailable(f"Host {host!r} does not answer: no agent serves it.")
        task = answering.start(encode(command))
        done, _ = await asyncio.wait({task}, timeout=timeout)
        if not done:
            raise Unavailable(f"Host {host!r} gave no answer to {type(command).__name__} in {timeout:g} s.")
        if task.cancelled():
            raise Unavailable(f"Host {host!r} stopped before it answered {type(command).__name__}.")
        return result_of(host, task.result())

    async def serve(self, host: str, handler: CommandHandler, *, back: Back | None = None) -> None:
        """See `Bus.serve`: this one is never away."""
        await self.withdraw(host)
        self._hosts[host] = Answering(host, handler)

    async def withdraw(self, host: str) -> None:
        """See `Bus.withdraw`: what runs there is cancelled, as if the agent had died."""
        if host in self._hosts:
            await self._hosts.pop(host).stop()

    async def publish(self, event: Event) -> None:
        """See `Bus.publish`."""
        data = encode(event)
        if not isinstance(event, _FOR_ONE):
            for listener in self._listeners:
                listener.put(decode(data))
        elif self._sharing:
            self._sharing[0].put(decode(data))
            self._sharing.rotate(-1)

    async def listen(self, handler: Listener) -> None:
        """See `Bus.listen`."""
        self._listeners.append(EventQueue(handler))

    async def share(self, handler: Taker) -> None:
        """See `Bus.share`."""
        self._sharing.append(EventQueue(handler))

    async def leave(self, handler: Listener | Taker) -> None:
        """See `Bus.leave`: what waits for it is dropped, as if who listened had died."""
        gone = [queue for queue in (*self._listeners, *self._sharing) if queue.handler == handler]
        self._listeners = [queue for queue in self._listeners if queue not in gone]
        self._sharing = deque(queue for queue in self._sharing if queue not in gone)
        await asyncio.gather(*(queue.close() for queue in gone))

    @property
    def trouble(self) -> str:
        """See `Bus.trouble`: it is in this process."""
        return ""

    async def idle(self) -> None:
        """Wait until all that was published has been handled; for trials and tests."""
        for queue in (*self._listeners, *self._sharing):
            await queue.idle()

    async def close(self) -> None:
        """See `Bus.close`."""
        self._closed = True
        queues = [*self._listeners, *self._sharing]
        self._listeners.clear()
        self._sharing.clear()
        for host in list(self._hosts):
            await self.withdraw(host)
        await asyncio.gather(*(queue.close() for queue in queues))
