"""A group: users that are given roles together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group as the database holds it."""

    id: str
    domain_id: str
    name: str
    description: str = ""
