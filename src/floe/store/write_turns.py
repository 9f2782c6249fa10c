"""Writes that wait for a thread: those of one project one after the other, those of different ones beside each other.

What a project changes is counted in its own rows, so that its transactions would only be in each other's way; and a
project with many keeps nobody else waiting.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Generic, TypeVar

from floe.core.errors import Busy, StoreUnavailable

T = TypeVar("T")

MOST_WAITING = 4096
"""Writes of projects beyond which none is let in; what the cloud does for itself always is."""
_AGAIN = 2.0
"""Seconds after which one who was refused may find room."""


class Turns(Generic[T]):
    """A queue for several threads, each of which iterates over it until it was closed and is empty.

    Each time it is given what waits, `most` items at most, which may be changed.
    """

    def __init__(self, most: int = 1) -> None:
        self.most = most
        self._changed = threading.Condition()
        self._ready: deque[tuple[T, str]] = deque()
        self._behind: dict[str, deque[T]] = {}
        """What waits for what its owner has under way, or in the queue before it."""
        self._there = 0
        self._closed = False

    def add(self, item: T, owner: str, *, let_in: bool = False) -> None:
        """Put in an item; "" owns any number at once, and no bound refuses it, nor what is to be `let_in`.

        Raises Busy, or Unavailable once it was closed.
        """
        with self._changed:
            if self._closed:
                raise StoreUnavailable("The database is closed.")
            if owner and not let_in and self._there >= MOST_WAITING:
                raise Busy(f"{self._there} writes wait already; try again in {_AGAIN:g} s.", seconds=_AGAIN)
            self._there += 1
            if owner in self._behind:
                self._behind[owner].append(item)
                return
            if owner:
                self._behind[owner] = deque()
            self._ready.append((item, owner))
            self._changed.notify()

    def __iter__(self) -> Iterator[tuple[list[T], Callable[[], None]]]:
        """Give items, and what is to be called when they are done."""
        while True:
            with self._changed:
                while not self._ready:
                    if self._closed and not self._there:
                        return
                    self._changed.wait()
                items, owners = self._take()
            yield items, partial(self._done, len(items), owners)

    def close(self) -> None:
        """Let nothing more in."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _take(self) -> tuple[list[T], list[str]]:
        """Take what waits, the first of each owner before the second of any; and whose it is."""
        taken = [self._ready.popleft() for _ in range(min(self.most, len(self._ready)))]
        items, owners = [item for item, _ in taken], [owner for _, owner in taken if owner]
        more = deque(owners)
        while more and len(items) < self.most:
            owner = more.popleft()
            if behind := self._behind[owner]:
                items.append(behind.popleft())
                more.append(owner)
        return items, owners

    def _done(self, number: int, owners: list[str]) -> None:
        with self._changed:
            self._there -= number
            for owner in owners:
                if behind := self._behind[owner]:
                    self._ready.append((behind.popleft(), owner))
                    self._changed.notify()
                else:
                    del self._behind[owner]
            if self._closed and not self._there:
                self._changed.notify_all()
