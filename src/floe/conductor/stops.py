"""Why a run of an action stops without ending it: the action goes on elsewhere, or later."""

from __future__ import annotations

from datetime import datetime


class Fenced(Exception):
    """The action is no longer ours: it was cancelled, or another conductor took it. Change nothing more."""


class Postponed(Exception):
    """A host is down that the action needs: it goes on when that is back, or at a time."""

    def __init__(self, host: str, until: datetime) -> None:
        super().__init__(f"host {host} is down; this waits until it is back")
        self.host, self.until = host, until


class Interrupted(Exception):
    """The database or the store of bytes did not take something: the action goes on from its journal later."""
