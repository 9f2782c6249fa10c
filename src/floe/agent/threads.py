"""Blocking work off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Offload(Protocol):
    """Runs a blocking function somewhere it may block; a simulation hands in `in_place`."""

    async def __call__(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `call` returns."""
        ...


async def in_thread(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run in a thread; a cancelled caller goes on only when the call has ended, so that nothing overtakes it."""
    future = asyncio.ensure_future(asyncio.to_thread(call, *args, **kwargs))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            try:
                await asyncio.wait({future})
            except asyncio.CancelledError:  # told twice; the call must end all the same
                continue
        if not future.cancelled():
            future.exception()
        raise


async def in_place(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run here and now: for simulations, whose steps must not depend on threads."""
    return call(*args, **kwargs)
