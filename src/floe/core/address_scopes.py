"""Address scopes: between the subnet pools of one, no address means two things, so routers may pass it on."""

from __future__ import annotations

from datetime import datetime

import msgspec


class AddressScope(msgspec.Struct, frozen=True, kw_only=True):
    """An address scope as the database holds it."""

    id: str
    project_id: str
    name: str = ""
    description: str = ""
    ip_version: int = 4
    shared: bool = False
    """Whether any project may give its subnet pools to it; once so, it stays so."""
    tags: tuple[str, ...] = ()
    created_at: datetime
    updated_at: datetime
    revision: int = 0
