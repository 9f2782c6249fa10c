"""For how long a machine has been up, as `uptime` of procps says it, which clients take apart. Pure."""

from __future__ import annotations

from datetime import datetime

import msgspec

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


class ReadUptime(msgspec.Struct, frozen=True, kw_only=True):
    """For how long has the machine been up? Answered by `Uptime`."""


class Uptime(msgspec.Struct, frozen=True, kw_only=True):
    """What its `uptime` says."""

    text: str


def told(now: datetime, seconds: int, users: int, load: tuple[str, str, str]) -> str:
    """Return it in one line: the machine's time, days and hours, who is logged in, and the load of 1, 5, 15 minutes."""
    days, hours, minutes = seconds // _DAY, seconds % _DAY // _HOUR, seconds % _HOUR // _MINUTE
    up = f"{hours:2}:{minutes:02}" if hours else f"{minutes} min"
    if days:
        up = f"{days} day{'s' * (days > 1)}, {up}"
    who = f"{users} user{'s' * (users != 1)}"
    return f" {now:%H:%M:%S} up {up},  {who},  load average: {', '.join(load)}"
