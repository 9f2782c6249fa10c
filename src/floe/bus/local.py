"""The bus of one process: asyncio queues, and the codec all the same, so that nothing slips in that cannot travel."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, get_args

from floe.bus.codec import decode, encode
from floe.bus.protocol import CommandHandler, Listener, Taker, host_failure
from floe.core.errors import Unavailable
from floe.core.messages import Command, Event, Failed, ForOne, Result

log = logging.getLogger(__name__)

MOST_WAITING = 100_000
"""Events that wait for one listener: many more than there are when ten thousand hosts start at once."""
_FOR_ONE = get_args(ForOne)


class LocalBus:
    """Commands run as tasks of the serving side; events go through one queue per listener, which is bounded."""

    def __init__(self) -> None:
        self._hosts: dict[str, CommandHandler] = {}
        self._running: dict[str, set[asyncio.Task[bytes]]] = {}
        self._listeners: list[_Queue] = []
        self._sharing: deque[_Queue] = deque()
        """Whose turn it is to take what is for one comes first."""
        self._closed = False

    async def request(self, host: str, command: Command, *, timeout: float) -> Result:
        """See `Bus.request`."""
        handler = self._hosts.get(host)
        if handler is None or self._closed:
            raise Unavailable(f"Host {host!r} does not answer: no agent serves it.")
        task = self._start(host, _answer(handler, encode(command)))
        done, _ = await asyncio.wait({task}, timeout=timeout)
        if not done:
            raise Unavailable(f"Host {host!r} gave no answer to {type(command).__name__} in {timeout:g} s.")
        if task.cancelled():
            raise Unavailable(f"Host {host!r} stopped before it answered {type(command).__name__}.")
        result = decode(task.result())
        if isinstance(result, Failed):
            raise host_failure(host, result)
        return result  # type: ignore[return-value]  # what a handler returns is a Result by its type

    async def serve(self, host: str, handler: CommandHandler) -> None:
        """See `Bus.serve`."""
        self._hosts[host] = handler

    async def withdraw(self, host: str) -> None:
        """See `Bus.withdraw`: what runs there is cancelled, as if the agent had died."""
        self._hosts.pop(host, None)
        tasks = self._running.pop(host, set())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def publish(self, event: Event) -> None:
        """See `Bus.publish`."""
        data = encode(event)
        if not isinstance(event, _FOR_ONE):
            for listener in self._listeners:
                listener.put(data)
        elif self._sharing:
            self._sharing[0].put(data)
            self._sharing.rotate(-1)

    async def listen(self, handler: Listener) -> None:
        """See `Bus.listen`."""
        self._listeners.append(_Queue(handler))

    async def share(self, handler: Taker) -> None:
        """See `Bus.share`."""
        self._sharing.append(_Queue(handler))

    async def leave(self, handler: Listener | Taker) -> None:
        """See `Bus.leave`: what waits for it is dropped, as if who listened had died."""
        gone = [queue for queue in (*self._listeners, *self._sharing) if queue.handler == handler]
        self._listeners = [queue for queue in self._listeners if queue not in gone]
        self._sharing = deque(queue for queue in self._sharing if queue not in gone)
        await asyncio.gather(*(queue.close() for queue in gone))

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
        for host in list(self._running):
            await self.withdraw(host)
        await asyncio.gather(*(queue.close() for queue in queues))

    def _start(self, host: str, work: Coroutine[Any, Any, bytes]) -> asyncio.Task[bytes]:
        running = self._running.setdefault(host, set())
        task = asyncio.get_running_loop().create_task(work, name=f"command-{host}")
        running.add(task)
        task.add_done_callback(running.discard)
        return task


async def _answer(handler: CommandHandler, data: bytes) -> bytes:
    command = decode(data)
    try:
        return encode(await handler(command))  # type: ignore[arg-type]  # only commands are sent to hosts
    except Exception as error:
        log.exception("command %s failed", type(command).__name__)
        return encode(Failed(kind="internal", message=f"The host failed unexpectedly: {type(error).__name__}."))


class _Queue:
    """What waits for one handler, which is handed one event after the other."""

    def __init__(self, handler: Callable[[Any], Awaitable[None]]) -> None:
        self.handler = handler
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(MOST_WAITING)
        self._lost = 0
        self._task = asyncio.get_running_loop().create_task(self._drain(), name="bus-listener")

    def put(self, data: bytes) -> None:
        """Let an event wait; what there is no room for is lost, as on any bus whose listener is too slow."""
        try:
            self._waiting.put_nowait(data)
        except asyncio.QueueFull:
            self._lost += 1
            if self._lost == 1:
                log.error("%d events wait for a listener: further ones are lost until it has caught up", MOST_WAITING)

    async def idle(self) -> None:
        """Wait until all that was put was handled."""
        await self._waiting.join()

    async def close(self) -> None:
        """Hand over nothing more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _drain(self) -> None:
        while True:
            event = decode(await self._waiting.get())
            if self._lost and self._waiting.empty():
                log.warning("a listener has caught up; %d events were lost", self._lost)
                self._lost = 0
            try:
                await self.handler(event)
            except Exception:
                log.exception("listener failed on %s", type(event).__name__)
            finally:
                self._waiting.task_done()
