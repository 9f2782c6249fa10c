"""Resizes as their administrators see them: what each server was, what it is to be, and how far that is."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

OF_RESIZE: Final = "resize"
OF_MIGRATION: Final = "migration"
PREPARING, MIGRATING, FINISHED = "pre-migrating", "migrating", "finished"
CONFIRMING, CONFIRMED = "confirming", "confirmed"
REVERTING, REVERTED = "reverting", "reverted"
FAILED = "error"
OVER: Final = frozenset({CONFIRMED, REVERTED, FAILED})
"""What one is that nothing becomes of any more; one of which nobody knows what became may be settled after FAILED."""


class ServerMigration(msgspec.Struct, frozen=True, kw_only=True):
    """A server on its way from a flavor to another, on `source` and on `target`, once that is chosen.

    `project_id` and `user_id` are who asked for it. `number` is small, and greater than those of earlier ones.
    """

    number: int = 0
    id: str
    server_id: str
    project_id: str
    user_id: str
    kind: str
    status: str = PREPARING
    old_flavor_id: str
    new_flavor_id: str
    source: str
    target: str | None = None
    created_at: datetime
    updated_at: datetime | None = None


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which ones a caller asks for; None asks for nothing. `host` is source or target."""

    server_id: str | None = None
    project_id: str | None = None
    user_id: str | None = None
    kind: str | None = None
    status: str | None = None
    source: str | None = None
    host: str | None = None
    since: datetime | None = None
    before: datetime | None = None
