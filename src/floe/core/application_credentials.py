"""Application credentials: a secret that lets a program act for its user in one project."""

from __future__ import annotations

from datetime import datetime

import msgspec

MOST = 1000
"""How many a user may have."""
RESOURCE = "application_credential"
"""What they are counted as, by user."""


class ApplicationCredential(msgspec.Struct, frozen=True, kw_only=True):
    """An application credential as the database holds it; the secret itself is nowhere."""

    id: str
    user_id: str
    project_id: str
    name: str
    description: str | None = None
    secret_hash: str
    unrestricted: bool = False
    """Whether it may make and delete application credentials."""
    expires_at: datetime | None = None
    role_ids: tuple[str, ...] = ()
