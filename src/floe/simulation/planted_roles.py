"""Planted bugs of roles that share nothing but the database and the bus."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from floe.simulation.planting import Planted, patched, through
from floe.store import actions


def _all_of_them(there: Sequence[Any], _dice: Random) -> Sequence[Any]:
    """Hand what is for one to everybody."""
    return there


def _none_of_them(_there: Sequence[Any], _dice: Random) -> Sequence[Any]:
    """Hand what is for one to nobody."""
    return []


def _break_all(conn: Any, place: str) -> int:
    """Trust that whoever starts is alone."""
    held = actions.actions.update().where(actions.actions.c.lease_owner.is_not(None))
    return int(conn.execute(held.values(lease_owner=None, lease_until=None)).rowcount)


ROLES = (
    Planted(
        "one-taken-by-all",
        "an event for one is taken by all who share",
        through(takers=_all_of_them),
    ),
    Planted(
        "one-taken-by-none",
        "an event for one is taken by nobody",
        through(takers=_none_of_them),
    ),
    Planted(
        "leases-of-the-living",
        "a conductor that starts breaks the leases of all others",
        patched((actions, "break_leases", _break_all)),
    ),
)
