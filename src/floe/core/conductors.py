"""Conductors: the processes that place servers and carry out actions, and when each counts as up."""

from __future__ import annotations

from datetime import datetime

import msgspec

from floe.core.hosts import DOWN_AFTER


class ConductorRole(msgspec.Struct, frozen=True, kw_only=True):
    """A conductor as the database holds it, by the name of the machine that it runs on."""

    host: str
    number: int = 0
    connected: bool = True
    """False once it said itself that it stops."""
    started_at: datetime
    last_seen: datetime

    def is_up(self, now: datetime) -> bool:
        """Say whether it counts as up: it writes that it lives as often as it writes when hosts were heard of."""
        return self.connected and now - self.last_seen < DOWN_AFTER
