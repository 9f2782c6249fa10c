"""Who is being answered on a host: how many connections a guest may have, and all of them together."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

Who = tuple[str, str]
"""A network or router, and an address there."""


class Callers:
    """Counts connections. Where there are too many in all, the guest with the most of them loses its oldest."""

    def __init__(self, *, per_guest: int, most: int) -> None:
        self._per_guest = per_guest
        self._most = most
        self._tasks: dict[Who, OrderedDict[asyncio.Task[None], None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, who: Who, task: asyncio.Task[None]) -> str | None:
        """Let a connection in; return what was refused or ended for it: `guest_full`, then it is not in, or `full`."""
        if len(self._tasks.get(who, ())) >= self._per_guest:
            return "guest_full"
        ended = None
        if self._count >= self._most:
            busiest = max(self._tasks, key=lambda each: len(self._tasks[each]))
            oldest = next(iter(self._tasks[busiest]))
            self.leave(busiest, oldest)
            oldest.cancel()
            ended = "full"
        self._tasks.setdefault(who, OrderedDict())[task] = None
        self._count += 1
        return ended

    def leave(self, who: Who, task: asyncio.Task[None]) -> None:
        """Forget a connection, if it is still known."""
        own = self._tasks.get(who, OrderedDict())
        if task not in own:
            return
        del own[task]
        self._count -= 1
        if not own:
            del self._tasks[who]
