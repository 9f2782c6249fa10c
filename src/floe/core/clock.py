"""Time: read through a clock that is handed in, so that tests and simulations own it.

All times in Floe are aware datetimes in UTC, or floats of seconds where only a duration counts.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Protocol

from floe.core.errors import Invalid


class Clock(Protocol):
    """Where the time comes from; `floe.assembly` hands in the machine's, a simulation its own."""

    def now(self) -> datetime:
        """Return the time of day, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...


class FixedClock:
    """A clock that stands still until it is moved; `seconds` since an arbitrary start."""

    def __init__(self, start: datetime = datetime(2030, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._seconds = 0.0

    def now(self) -> datetime:
        """Return the time it was last moved to."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds it was moved since its start."""
        return self._seconds

    def advance(self, seconds: float) -> None:
        """Move it forward."""
        self._now += timedelta(seconds=seconds)
        self._seconds += seconds


def month_before(moment: datetime) -> tuple[datetime, datetime]:
    """Return from when to when the month went that had ended before a moment. Raises Invalid before there was one."""
    try:
        end = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        end = end if end < moment else _month_earlier(end)
        return _month_earlier(end), end
    except (ValueError, OverflowError):
        raise Invalid(f"No month had ended before {moment.isoformat()}.") from None


def _month_earlier(first: datetime) -> datetime:
    return (first - timedelta(days=1)).replace(day=1)


@lru_cache(maxsize=4096)
def iso(moment: datetime | None) -> str | None:
    """Write a time as OpenStack does: `2030-01-01T00:00:00Z`, no fractions. Kept, as what is shown is polled again."""
    return None if moment is None else moment.isoformat()[:19] + "Z"


def iso_micro(moment: datetime | None) -> str | None:
    """Write a time with microseconds and no zone: `2030-01-01T00:00:00.000000`."""
    return None if moment is None else moment.isoformat(timespec="microseconds")[:26]


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    """Write a second since 1970; what is shown once is polled again, and much of a list is of the same second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def iso_of(microseconds: int) -> str:
    """Write, as `iso` does, a time in microseconds since 1970."""
    return _second(microseconds // 1_000_000) + "Z"


def iso_micro_of(microseconds: int | None) -> str | None:
    """Write, as `iso_micro` does, a time in microseconds since 1970."""
    if microseconds is None:
        return None
    return f"{_second(microseconds // 1_000_000)}.{microseconds % 1_000_000:06}"
