"""Numbers that hosts remember: ahead of all that were given out before, even where the database is an older copy.

Where only what is there were counted, a copy would give numbers out again that hosts have heard of already, and be
refused, or be taken for whoever had them first.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

BELIEVABLE = 2**53
"""No number of ours comes near this one: a host that says that it has heard of it is not believed."""

_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)


def of_clock(now: datetime) -> int:
    """Return the least number that is given out at a moment: milliseconds since 1970."""
    return (now - _EPOCH) // _MILLISECOND


def after(known: int, now: datetime) -> int:
    """Return the number that comes after the latest that is known of.

    It is what the clock says, and one more than the latest where that is ahead of the clock: a clock may go back.
    """
    return max(known + 1, of_clock(now))
