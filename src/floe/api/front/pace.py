"""How long a client may take: deadlines, and the pace at which bytes must come or go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_STALL = 1.0
"""A timer later than this was held up by this process itself: what the client sent meanwhile is looked at first."""
_SECOND_LOOK = 0.25


class Deadline:
    """A moment by which something must have happened. Moving it costs no timer unless it comes nearer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._at: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        """Whether something is awaited."""
        return self._at is not None

    def set(self, seconds: float) -> None:
        """Expire in so many seconds, unless set again or cleared before."""
        self._at = self._loop.time() + seconds
        if self._timer is not None and self._timer.when() > self._at:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._at, self._look)

    def clear(self) -> None:
        """Await nothing."""
        self._at = None

    def cancel(self) -> None:
        """Let go of the timer too: nothing is awaited any more."""
        self._at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._at is None:
            return
        late = self._loop.time() - self._at
        if late < 0 or late > _STALL:
            self._at = self._at if late < 0 else self._loop.time() + _SECOND_LOOK
            self._timer = self._loop.call_at(self._at, self._look)
            return
        self._at = None
        self._expired()


class Pace:
    """Whether bytes move at the least pace: none for `quiet` seconds, or few in `window` seconds, is too slow."""

    def __init__(self, *, quiet: float, rate: int, window: float, now: float) -> None:
        self._quiet = quiet
        self._rate = rate
        self._window = window
        self.began = self._last = now
        self._amount = 0

    def restart(self, now: float) -> None:
        """Begin anew: it was not the client who was waited for."""
        self.began = self._last = now
        self._amount = 0

    def moved(self, amount: int, now: float) -> None:
        """Note that bytes moved."""
        self._amount += amount
        self._last = now

    def too_slow(self, now: float) -> bool:
        """Judge, and begin a new window where one has ended well."""
        if now - self._last >= self._quiet:
            return True
        if now - self.began >= self._window:
            if self._amount < self._rate * (now - self.began):
                return True
            self.began, self._amount = now, 0
        return False

    def left(self, now: float) -> float:
        """Return in how many seconds the next judgement is due."""
        return max(0.01, min(self._last + self._quiet, self.began + self._window) - now)
