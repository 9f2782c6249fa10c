"""Commands and their answers, as every bus has them: they run as tasks, several at a time, and each is answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from floe.bus.codec import decode, encode
from floe.bus.protocol import CommandHandler, host_failure
from floe.core.messages import Failed, Result

log = logging.getLogger(__name__)


class Answering:
    """What runs on one host."""

    def __init__(self, host: str, handler: CommandHandler) -> None:
        self._host, self._handler = host, handler
        self._running: set[asyncio.Task[bytes]] = set()

    def start(self, data: bytes, reply: Callable[[bytes], Awaitable[None]] | None = None) -> asyncio.Task[bytes]:
        """Carry out a command; the task's result is the answer, which is given to `reply` too."""
        work = _answer(self._handler, data, reply)
        task = asyncio.get_running_loop().create_task(work, name=f"command-{self._host}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def stop(self) -> None:
        """Break off what runs, as if the agent had died."""
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


async def _answer(handler: CommandHandler, data: bytes, reply: Callable[[bytes], Awaitable[None]] | None) -> bytes:
    command = decode(data)
    try:
        answer = encode(await handler(command))  # type: ignore[arg-type]  # only commands are sent to hosts
    except Exception as error:
        log.exception("command %s failed", type(command).__name__)
        answer = encode(Failed(kind="internal", message=f"The host failed unexpectedly: {type(error).__name__}."))
    if reply is not None:
        await reply(answer)
    return answer


def result_of(host: str, data: bytes) -> Result:
    """Return what a host answered. Raises HostFailure when it answered that it failed."""
    result = decode(data)
    if isinstance(result, Failed):
        raise host_failure(host, result)
    return result  # type: ignore[return-value]  # what a handler returns is a Result by its type
