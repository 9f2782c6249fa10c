"""How long steps took that a host did."""

from __future__ import annotations

import msgspec


class StepTime(msgspec.Struct, frozen=True, kw_only=True):
    """One step done on a host: seconds since the epoch, seconds of duration, and a remark for the trace."""

    name: str
    started: float
    seconds: float
    remark: str = ""
