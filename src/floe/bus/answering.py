"""Commands and their answers, as every bus has them: they run as tasks, several at a time, and each is answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, get_args

from floe.bus.codec import decode, encode
from floe.bus.protocol import CommandHandler, host_failure
from floe.core.errors import HostFailure, NotAcceptable
from floe.core.messages import Command, Failed, Result

log = logging.getLogger(__name__)
T = TypeVar("T")

_COMMANDS: tuple[type, ...] = get_args(Command)
_RESULTS: tuple[type, ...] = get_args(Result)


class Answering:
    """What runs on one host."""

    def __init__(self, host: str, handler: CommandHandler) -> None:
        self._host, self._handler = host, handler
        self._running: dict[asyncio.Task[Any], None] = {}

    def start(self, data: bytes, reply: Callable[[bytes], Awaitable[None]] | None = None) -> asyncio.Task[bytes]:
        """Carry out a command; the task's result is the answer, which is given to `reply` too."""
        return self.run(_answer(self._handler, data, reply))

    def run(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do something else in the name of the host."""
        task = asyncio.get_running_loop().create_task(work, name=f"command-{self._host}")
        self._running[task] = None
        task.add_done_callback(lambda done: self._running.pop(done, None))
        return task

    async def stop(self) -> None:
        """Break off what runs, as if the agent had died."""
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


async def _answer(handler: CommandHandler, data: bytes, reply: Callable[[bytes], Awaitable[None]] | None) -> bytes:
    answer = encode(await _carried_out(handler, data))
    if reply is not None:
        await reply(answer)
    return answer


async def _carried_out(handler: CommandHandler, data: bytes) -> Result:
    try:
        command = decode(data)
    except ValueError as error:
        return _not_known(error)
    what = type(command).__name__
    if not isinstance(command, _COMMANDS):
        return _not_known(f"{what} is no command")
    try:
        return await handler(command)  # type: ignore[arg-type]  # it was looked at
    except Exception as error:
        log.exception("command %s failed", what)
        return Failed(kind="internal", message=f"The host failed unexpectedly: {type(error).__name__}.")


def _not_known(why: object) -> Failed:
    log.warning("a command is refused that this release does not know: %s", why)
    return Failed(kind=NotAcceptable.kind, message=f"The host's release of Floe does not know how: {why}.")


def result_of(host: str, data: bytes) -> Result:
    """Return what a host answered. Raises HostFailure when it answered that it failed, or what is no answer here."""
    try:
        result = decode(data)
    except ValueError as error:
        text = f"The host answered what this release of Floe does not know: {error}."
        raise HostFailure(text, host=host, cause=NotAcceptable.kind) from error
    if isinstance(result, Failed):
        raise host_failure(host, result)
    if not isinstance(result, _RESULTS):
        text = f"The host answered with {type(result).__name__}, which is no answer."
        raise HostFailure(text, host=host, cause=NotAcceptable.kind)
    return result  # type: ignore[return-value]  # it was looked at
