"""Roles, and which others each of them implies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from floe.core.names import fold


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A role as the database holds it."""

    id: str
    name: str
    description: str = ""
    properties: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """Further attributes that clients keep with it, by name."""


def policy_names(held: Iterable[Role], known: Iterable[Role]) -> frozenset[str]:
    """Return what rules know the roles somebody holds by: their names without case.

    Where an older database holds `Admin` beside `admin`, it goes on being another role: it has the name it is written
    with.
    """
    exact = {role.name for role in known}
    return frozenset(role.name if fold(role.name) in exact else fold(role.name) for role in held)


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
