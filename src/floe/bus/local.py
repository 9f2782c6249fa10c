"""The bus of one process: asyncio queues, and the codec all the same, so that nothing slips in that cannot travel."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from floe.bus.codec import decode, encode
from floe.bus.protocol import CommandHandler, EventHandler
from floe.core.errors import HostFailure, Unavailable
from floe.core.messages import Command, Event, Failed, Result

log = logging.getLogger(__name__)


class LocalBus:
    """Commands run as tasks of the serving side; events go through one queue per listener."""

    def __init__(self) -> None:
        self._hosts: dict[str, CommandHandler] = {}
        self._running: dict[str, set[asyncio.Task[bytes]]] = {}
        self._queues: list[asyncio.Queue[bytes]] = []
        self._listeners: set[asyncio.Task[None]] = set()
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
            raise HostFailure(
                result.message,
                host=host,
                stage=result.stage,
                detail=result.detail,
                cause=result.kind,
                steps=result.steps,
            )
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
        for queue in self._queues:
            queue.put_nowait(data)

    async def listen(self, handler: EventHandler) -> None:
        """See `Bus.listen`."""
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._queues.append(queue)
        task = asyncio.get_running_loop().create_task(_drain(queue, handler), name="bus-listener")
        self._listeners.add(task)
        task.add_done_callback(self._listeners.discard)

    async def close(self) -> None:
        """See `Bus.close`."""
        self._closed = True
        self._queues.clear()
        for host in list(self._running):
            await self.withdraw(host)
        for task in list(self._listeners):
            task.cancel()
        await asyncio.gather(*self._listeners, return_exceptions=True)

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


async def _drain(queue: asyncio.Queue[bytes], handler: EventHandler) -> None:
    while True:
        event = decode(await queue.get())
        try:
            await handler(event)  # type: ignore[arg-type]  # only events are published
        except Exception:
            log.exception("listener failed on %s", type(event).__name__)
