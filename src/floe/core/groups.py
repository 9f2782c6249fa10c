"""A group: users that are given roles together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A group as the database holds it."""

    id: str
    domain_id: str
    name: str
    description: str = ""
    properties: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """Further attributes that clients keep with it, by name."""
