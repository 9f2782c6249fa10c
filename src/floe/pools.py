"""Threads for slow work: a small pool for each kind of it, in which callers take turns and only so many may wait.

One pool for everything would let one kind of work, and one caller, hold up all the others. A caller is a path of
words (project, user): each level shares its turns evenly among those below it, however many each of them has waiting.
When the queue is full, the caller with the most in it gives up its last, so that a flood displaces itself alone.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast

from floe.core.counters import Count, Counters
from floe.core.errors import Busy, Unavailable

P = ParamSpec("P")
T = TypeVar("T")

Caller = tuple[str, ...]
"""For whom work is done, from the widest (a project, an address) to the narrowest; of one length within a pool."""

QUEUED = Count("floe_pool_queued", "Pieces of slow work that had to wait for a thread", ("pool",))
REFUSED = Count("floe_pool_refused", "Pieces of slow work refused because too many waited", ("pool",))
_M_ARENA_MAX = -8
"""As in malloc.h."""
AGAIN = 2.0
"""Seconds after which one who was refused may find room."""


class Pool:
    """A few threads with a bounded, fair queue before them. For one event loop alone.

    `most_waiting` bounds the queue, `most_each` what one caller has in it. `when_idle` is called in a thread of the
    pool once nothing was done for `idle_seconds`.
    """

    def __init__(
        self,
        name: str,
        threads: int,
        *,
        most_waiting: int = 256,
        most_each: int = 128,
        counters: Counters | None = None,
        when_idle: Callable[[], object] | None = None,
        idle_seconds: float = 1.0,
    ) -> None:
        self.name, self.threads = name, threads
        self.most_waiting, self.most_each = most_waiting, most_each
        self._counters = counters or Counters()
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=f"floe-{name}")
        self._turns = _Turns()
        self._running = 0
        self._closed = False
        self._when_idle, self._idle_seconds = when_idle, idle_seconds
        self._idle: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many pieces of work wait for a thread."""
        return self._turns.size

    async def run(
        self,
        call: Callable[..., T],
        *args: Any,
        caller: Caller = ("",),
        first: Callable[[], None] | None = None,
        let_in: bool = False,
    ) -> T:
        """Return what `call` returns, run in a thread when it is the caller's turn.

        `first` is called on the event loop just before; what it raises is raised here and the work is not done.
        `let_in` is for work that goes on with some that was let in before, or that is bounded where it comes from: no
        bound refuses it, and nobody displaces it.
        Raises Busy when too much waits, also later, when others displace it. A caller that is cancelled does
        not wait for a thread that is at it.
        """
        if self._closed:
            raise Unavailable(f"The {self.name} pool is closed.")
        job = _Job(partial(call, *args), caller, first, asyncio.get_running_loop().create_future(), let_in)
        if self._running < self.threads:
            self._start(job)
        else:
            self._queue(job)
        try:
            return cast("T", await job.done)
        finally:
            self._turns.withdraw(job)

    def close(self) -> None:
        """Refuse what waits and let go of the threads; what is being done is done to its end."""
        self._closed = True
        if self._idle is not None:
            self._idle.cancel()
        while self._turns.size:
            self._turns.take().refuse(Unavailable(f"The {self.name} pool is closed."))
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _queue(self, job: _Job) -> None:
        if not job.let_in:
            if self._turns.of(job.caller) >= self.most_each:
                raise self._refusal("you have")
            if self._turns.size >= self.most_waiting:
                displaced = self._turns.displace(job.caller)
                if displaced is not None and displaced.let_in:
                    self._turns.add(displaced)  # it was its caller's last, and is again
                    displaced = None
                if displaced is None:
                    raise self._refusal("all callers together have")
                displaced.refuse(self._refusal("you have"))
        self._counters.add(QUEUED, self.name)
        self._turns.add(job)

    def _refusal(self, who: str) -> Busy:
        self._counters.add(REFUSED, self.name)
        what = f"Too many requests of this kind wait already ({who} as many as the {self.name} queue takes)"
        return Busy(f"{what}; try again in {AGAIN:g} s.", seconds=AGAIN)

    def _start(self, job: _Job) -> None:
        if job.done.done():  # its caller has gone
            return
        if job.first is not None:
            try:
                job.first()
            except Exception as error:
                job.refuse(error)
                return
        self._running += 1
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        loop = asyncio.get_running_loop()
        loop.run_in_executor(self._executor, job.work).add_done_callback(partial(self._ended, job))

    def _ended(self, job: _Job, future: asyncio.Future[Any]) -> None:
        self._running -= 1
        if future.cancelled():
            job.refuse(Unavailable(f"The {self.name} pool is closed."))
        elif (error := future.exception()) is not None:
            job.refuse(error)
        elif not job.done.done():
            job.done.set_result(future.result())
        while self._turns.size and self._running < self.threads:
            self._start(self._turns.take())
        if self._when_idle is not None and not self._running and not self._closed:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(self._idle_seconds, self._rest, self._when_idle)

    def _rest(self, call: Callable[[], object]) -> None:
        self._idle = None
        self._executor.submit(call)


def share_memory() -> None:
    """Let all threads of this process have their memory from one place; to be called before there are any.

    By itself glibc keeps one for each thread, and of all but the first it gives nothing back.
    """
    option = getattr(ctypes.CDLL(None), "mallopt", None)
    if option is not None:
        option(_M_ARENA_MAX, 1)


def give_back_memory() -> None:
    """Give memory that this process has freed back to the machine; glibc would keep it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have no such call
    if trim is not None:
        trim(0)


async def alone(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `call` returns, run in a thread of its own: for short work that must not wait for other work."""
    executor = ThreadPoolExecutor(1, thread_name_prefix="floe-alone")
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, partial(call, *args, **kwargs))
    finally:
        executor.shutdown(wait=False)


async def to_the_end(work: asyncio.Future[T], give_up: Callable[[], object] = lambda: None) -> T:
    """Return what `work` gives; a cancelled caller goes on only when it has ended, so that nothing overtakes it.

    `give_up` is called then, to hurry it.
    """
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        give_up()
        while not work.done():
            try:
                await asyncio.wait({work})
            except asyncio.CancelledError:  # told twice; it must end all the same
                continue
        if not work.cancelled():
            work.exception()
        raise


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    work: Callable[[], Any]
    caller: Caller
    first: Callable[[], None] | None
    done: asyncio.Future[Any]
    let_in: bool

    def refuse(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class _Turns:
    """Jobs that wait, as a tree of callers. Each node gives turns to its children in rotation."""

    def __init__(self) -> None:
        self.size = 0
        self._children: OrderedDict[str, _Turns] = OrderedDict()
        self._jobs: deque[_Job] = deque()

    def add(self, job: _Job, depth: int = 0) -> None:
        self.size += 1
        if depth == len(job.caller):
            self._jobs.append(job)
            return
        self._children.setdefault(job.caller[depth], _Turns()).add(job, depth + 1)

    def take(self) -> _Job:
        """Take out the job whose turn it is."""
        self.size -= 1
        if not self._children:
            return self._jobs.popleft()
        name, child = next(iter(self._children.items()))
        job = child.take()
        self._children.move_to_end(name)
        self._forget_empty(name)
        return job

    def withdraw(self, job: _Job, depth: int = 0) -> bool:
        """Take a job out, if it still waits."""
        if depth == len(job.caller):
            found = job in self._jobs
            if found:
                self._jobs.remove(job)
        else:
            name = job.caller[depth]
            child = self._children.get(name)
            found = child is not None and child.withdraw(job, depth + 1)
            self._forget_empty(name)
        self.size -= found
        return found

    def of(self, caller: Caller) -> int:
        """Return how many jobs of a caller wait."""
        node: _Turns | None = self
        for name in caller:
            node = node._children.get(name) if node else None
        return node.size if node else 0

    def displace(self, caller: Caller) -> _Job | None:
        """Take out the last job of whoever has the most, unless the newcomer would have as many."""
        if not self._children:
            return None
        name, most = max(self._children.items(), key=lambda item: item[1].size)
        own = self._children.get(caller[0])
        if own is not most and (own.size if own else 0) + 1 < most.size:
            job: _Job | None = most._last()
        else:
            job = own.displace(caller[1:]) if own else None
        self.size -= job is not None
        self._forget_empty(name)
        return job

    def _last(self) -> _Job:
        self.size -= 1
        if not self._children:
            return self._jobs.pop()
        name, most = max(self._children.items(), key=lambda item: item[1].size)
        job = most._last()
        self._forget_empty(name)
        return job

    def _forget_empty(self, name: str) -> None:
        child = self._children.get(name)
        if child is not None and not child.size:
            del self._children[name]
