"""A group: users that are given roles together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group as the database holds it."""

    id: str
    domain_id: str
    name: str
    description: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)
    """Further attributes that clients keep with it, by name."""
