"""For how long the machine of a host has been up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from floe.agent.threads import Offload
from floe.core.errors import HostFailure
from floe.core.host_uptime import ReadUptime, Uptime, told
from floe.core.messages import Result

_RECORD, _USER = 384, 7
"""Bytes of an entry of utmp(5) on Linux, and the kind of those who are logged in."""


def handlers(offload: Offload) -> dict[type, Callable[[Any], Awaitable[Result]]]:
    """Return what is done on a command about it."""

    async def read_uptime(_command: ReadUptime) -> Result:
        return Uptime(text=await offload(read))

    return {ReadUptime: read_uptime}


def read(proc: Path = Path("/proc"), utmp: Path = Path("/run/utmp")) -> str:
    """Return what the machine's kernel says. Raises HostFailure where it does not."""
    try:
        seconds = int(float((proc / "uptime").read_text().split()[0]))
        one, five, fifteen, *_ = (proc / "loadavg").read_text().split()
    except (OSError, ValueError, IndexError) as error:
        raise HostFailure("The host does not say for how long it is up.", detail=repr(error)) from error
    return told(datetime.now().astimezone(), seconds, _logged_in(utmp), (one, five, fifteen))


def _logged_in(utmp: Path) -> int:
    try:
        entries = utmp.read_bytes()
    except OSError:  # a machine may have none
        return 0
    starts = range(0, len(entries) - _RECORD + 1, _RECORD)
    return sum(int.from_bytes(entries[at : at + 2], "little") == _USER for at in starts)
