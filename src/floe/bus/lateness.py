"""Commands that come late change nothing: how a host knows, without anybody's clock being right. Pure.

A host counts on a clock of its own, and says in all that it sends what that said. Who asks it knows from that, for ever
after, what the host's clock has passed for certain; and so, when it sends a command, what that will have passed when it
gives up waiting. A host whose clock is there refuses the command: it may be overtaken by others, of whoever gave up or
took over. Nothing but the clocks' rates is assumed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import msgspec

from floe.bus.envelope import Envelope, Word

DRIFT = 0.002
"""By which share two clocks may run apart: four times what time services slew a clock by."""
_MOST_HOSTS, _MOST_SEEN = 100_000, 100_000


class _Heard(msgspec.Struct, frozen=True):
    run: str
    ahead: float
    """By how much the host's clock was ahead of ours at least, when that was heard."""
    at: float
    ended: str
    """The run before it, which may not know yet that it is over."""


class HostClocks:
    """What who asks knows of hosts' clocks; `now` is its own."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._heard: OrderedDict[str, _Heard] = OrderedDict()

    def heard(self, host: str, run: str, clock: float) -> bool:
        """Note what a host said of its clock; False if it was a run of it that is known to be over."""
        now, before = self._now(), self._heard.get(host)
        if before is not None and before.ended == run:
            return False
        ahead = clock - now
        if before is None or before.run != run or ahead >= _ahead(before, now):
            self._heard[host] = _Heard(run, ahead, now, "" if before is None else before.ended)
            self._heard.move_to_end(host)
            if len(self._heard) > _MOST_HOSTS:
                self._heard.popitem(last=False)
        return True

    def began(self, host: str, run: str, clock: float) -> None:
        """Note that a run of a host begins, or goes on: any other is over."""
        before = self._heard.get(host)
        if before is not None and before.run != run:
            over = before.run or before.ended
            self._heard[host] = _Heard(run, clock - self._now(), self._now(), over if over != run else "")
        else:
            self.heard(host, run, clock)

    def ended(self, host: str, run: str) -> None:
        """Note that a run of a host is over; unless another one is known, none is."""
        known = self._heard.get(host)
        if known is not None and known.run == run:
            self._heard[host] = _Heard("", 0.0, self._now(), run)

    def until(self, host: str, seconds: float) -> tuple[str, float]:
        """Return a host's run, and what its clock will have passed in so many seconds; no run where it is not known."""
        known = self._heard.get(host)
        if known is None or not known.run:
            return "", 0.0
        now = self._now()
        return known.run, now + _ahead(known, now) + seconds * (1 - DRIFT)


def _ahead(known: _Heard, now: float) -> float:
    return known.ahead - DRIFT * (now - known.at)


class Punctual:
    """What a host takes: commands for this run of it, in time, and each once; `now` is its clock."""

    def __init__(self, run: str, now: Callable[[], float]) -> None:
        self.run, self._now = run, now
        self._seen: dict[tuple[str, int], float] = {}

    def clock(self) -> float:
        """Return what the clock says."""
        return self._now()

    def refusal(self, asked: Envelope) -> Word | None:
        """Return why a command is not carried out, None if it is; nothing is said to one that came before (NONE)."""
        if asked.run != self.run:
            return Word.AGAIN
        now, which = self._now(), (asked.by, asked.number)
        if now >= asked.until:
            return Word.LATE
        if which in self._seen:
            return Word.NONE
        if len(self._seen) >= _MOST_SEEN:
            self._seen = {key: until for key, until in self._seen.items() if until > now}
            if len(self._seen) >= _MOST_SEEN:
                return Word.LATE  # so many at once are no longer told apart
        self._seen[which] = asked.until
        return None
