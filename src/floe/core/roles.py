"""Roles, and which others each of them implies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A role as the database holds it."""

    id: str
    name: str
    description: str = ""


Implications = Mapping[str, frozenset[str]]
"""From a role's id to the ids of those it implies directly."""


def expand(role_ids: Iterable[str], implications: Implications) -> frozenset[str]:
    """Return the roles and all that they imply, at any distance."""
    found: set[str] = set()
    waiting = list(role_ids)
    while waiting:
        role_id = waiting.pop()
        if role_id not in found:
            found.add(role_id)
            waiting.extend(implications.get(role_id, ()))
    return frozenset(found)
