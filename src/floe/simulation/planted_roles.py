"""Planted bugs of roles that share nothing but the database and the bus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from floe.core.actions import Action
from floe.simulation.planting import Planted, patched, through
from floe.store import actions, leases


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


def _all_are_free(conn: Any, now: datetime, most: int) -> list[str]:
    """Take what is open for what nobody holds."""
    return list(leases.held(conn))[:most]


def _run_out_long_ago(conn: Any, action_id: str) -> Action | None:
    """Take each lease for one that has run out."""
    found = _get(conn, action_id)
    return found and replace(found, lease_until=found.created_at - timedelta(days=1))


def _take_whatever(
    conn: Any, action: Action, seen: int, owner: str, state: str, now: Any, until: Any, *, silent: bool = False
) -> bool:
    """Take an action from whoever has it."""
    return _take(conn, action, seen, owner, state, now, until, silent=True)


_get, _take = actions.get, actions.take

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
    Planted(
        "lease-unheeded",
        "a conductor takes up what another one is at",
        patched(
            (actions, "waiting", _all_are_free), (actions, "get", _run_out_long_ago), (actions, "take", _take_whatever)
        ),
    ),
)
