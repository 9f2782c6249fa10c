"""Blocking work off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

from floe.pools import Pool, alone, to_the_end

P = ParamSpec("P")
T = TypeVar("T")


class Offload(Protocol):
    """Runs a blocking function somewhere it may block; a simulation hands in `in_place`."""

    async def __call__(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `call` returns; a cancelled caller goes on only when the call has ended."""
        ...


class Threads:
    """The threads that the agents of a process share. What they do is bounded by their commands, so none is refused."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def __call__(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Offload`."""
        work = self._pool.run(partial(call, *args, **kwargs), let_in=True)
        return await to_the_end(asyncio.ensure_future(work))


async def in_thread(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run in a thread of its own. See `Offload`."""
    return await to_the_end(asyncio.ensure_future(alone(call, *args, **kwargs)))


async def in_place(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run here and now: for simulations, whose steps must not depend on threads."""
    return call(*args, **kwargs)
