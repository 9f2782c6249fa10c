"""An event loop without time and without the outside: virtual seconds pass when there is nothing else to do.

All that runs belongs to a `Process`, by its context. A process that is killed runs no further instruction: what it
was about to do is dropped where it stands, as the kernel does it, `finally` blocks included. One that is stalled goes
on later, as if nothing had happened, which is what a stopped or starved process believes.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from functools import partial
from typing import Any, NoReturn, TypeVar, TypeVarTuple, Unpack

Args = TypeVarTuple("Args")
T = TypeVar("T")

_PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


_BLOCKING = 0.001
"""Seconds that blocking work takes."""


class Deadlock(Exception):
    """Nothing is left to run, and what was waited for has not come."""


class Process:
    """One life of one program. It is its context: tasks and callbacks begun in it inherit it."""

    def __init__(self, name: str, loop: VirtualLoop) -> None:
        self.name = name
        self.alive = True
        self.stalled = False
        self.resumed_at = float("-inf")
        """When it last went on after it had stood still."""
        self._deferred: list[asyncio.Handle] = []
        self._loop = loop
        self._context = contextvars.copy_context()
        self._context.run(_PROCESS.set, self)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine in this process; one that is dead does nothing with it."""
        task: asyncio.Task[Any] = self._loop.create_task(work, context=self._context.copy())
        return task

    def call(self, fn: Callable[..., Any], *args: Any) -> None:
        """Call a function in this process, soon."""
        self._loop.call_soon(fn, *args, context=self._context.copy())

    def kill(self) -> None:
        """End it, whatever it is doing."""
        self.alive = False

    def stall(self, seconds: float) -> None:
        """Let it do nothing for a while, and then all of what it would have done."""
        if not self.stalled:
            self.stalled = True
            self._loop.call_later(seconds, self._resume, context=contextvars.Context())

    def defer(self, handle: asyncio.Handle) -> None:
        """Keep what is to run when it is no longer stalled."""
        self._deferred.append(handle)

    def _resume(self) -> None:
        self.stalled = False
        self.resumed_at = self._loop.time()
        waiting, self._deferred = self._deferred, []
        self._loop.resume(waiting)

    async def die(self) -> NoReturn:
        """End the process that this runs in, here."""
        self.kill()
        await asyncio.Future(loop=self._loop)
        raise AssertionError("a dead process went on")


def current() -> Process | None:
    """Return the process that this runs in."""
    return _PROCESS.get()


class VirtualLoop(asyncio.BaseEventLoop):
    """Callbacks in the order in which they were asked for, timers in the order of their times."""

    def __init__(self) -> None:
        super().__init__()
        self._seconds = 0.0
        self._kept: list[asyncio.Task[Any]] = []
        self.steps = 0
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        """Return the virtual seconds since the start."""
        return self._seconds

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Args]], T], *args: *Args
    ) -> asyncio.Future[T]:
        """Do blocking work at once, and tell of it a little later: others go on meanwhile."""
        future: asyncio.Future[T] = self.create_future()
        try:
            done = partial(_tell, future, future.set_result, func(*args))
        except Exception as error:
            done = partial(_tell, future, future.set_exception, error)
        self.call_later(_BLOCKING, done)
        return future

    def resume(self, handles: list[asyncio.Handle]) -> None:
        """Run what was put off."""
        self._ready.extend(handles)  # type: ignore[attr-defined]

    def abandon(self) -> None:
        """Let go of what still runs, without a word; the loop is of no use after it."""
        self.set_exception_handler(lambda _loop, _what: None)
        for task in self._kept:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._ready.clear()  # type: ignore[attr-defined]
        self._scheduled.clear()  # type: ignore[attr-defined]
        for task in self._kept:
            coro = task.get_coro()
            if not task.done() and coro is not None:
                with contextlib.suppress(BaseException):  # what is left of it may not give in at once
                    coro.close()
        self._kept.clear()
        self.close()

    def _make_task(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(work, loop=loop, **options)
        self._kept.append(task)
        return task

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled  # type: ignore[attr-defined]
        while not ready:
            if not scheduled:
                raise Deadlock(f"nothing happens any more, {self._seconds:.3f} s after the start")
            timer = heapq.heappop(scheduled)
            timer._scheduled = False
            if timer._cancelled:
                continue
            self._seconds = max(self._seconds, timer._when)
            ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            process = handle._context.get(_PROCESS)
            if process is not None:
                if not process.alive:
                    continue
                if process.stalled:
                    process.defer(handle)
                    continue
            self.steps += 1
            handle._run()

    def _process_events(self, event_list: Any) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody else could wake it."""


def _tell(future: asyncio.Future[Any], tell: Callable[[Any], None], what: Any) -> None:
    if not future.done():
        tell(what)
