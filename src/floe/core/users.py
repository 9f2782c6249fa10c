"""A user: somebody, or some program, that can prove who it is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from floe.core.errors import Invalid

MAX_PASSWORD = 1024
"""Characters of a password at most, so that hashing one has a bounded cost."""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user as the database holds it."""

    id: str
    domain_id: str
    name: str
    email: str | None = None
    description: str = ""
    enabled: bool = True
    default_project_id: str | None = None
    password_hash: str | None = None
    """None for a user that cannot log in with a password."""
    password_changed_at: datetime | None = None
    properties: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """Further attributes that clients keep with it, by name."""
    stamp: int = 0
    """Counted up when the password changes and when the user is disabled; tokens of an older stamp are dead."""


def check_password(text: str) -> None:
    """Raise Invalid unless `text` may be a password."""
    if not 1 <= len(text) <= MAX_PASSWORD:
        raise Invalid(f"A password has 1 to {MAX_PASSWORD} characters (this one has {len(text)}).")
