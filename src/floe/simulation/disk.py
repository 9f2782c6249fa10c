"""The disk of a machine, as the agent's blocking work finds it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from floe.agent.folders import remove_folder
from floe.simulation.machines import Machine, Pause

P = ParamSpec("P")
T = TypeVar("T")

_WRITES = frozenset({"_write", "_install", "write"})
"""The agent's functions that need room on the disk."""


class Disk:
    """The agent's blocking work, done at once: on a disk that may be full, by a process that may die at it."""

    def __init__(self, machine: Machine, pause: Pause) -> None:
        self._machine, self._pause = machine, pause

    async def __call__(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Offload`."""
        await self._pause("file")
        if self._machine.disk_full and getattr(call, "__name__", "") in _WRITES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        do: Callable[..., T] = call
        return (self._machine.removals.instead(do) if call is remove_folder else do)(*args, **kwargs)
