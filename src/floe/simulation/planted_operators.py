"""Planted bugs in what operators say: that servers are locked, and which hosts make a zone."""

from __future__ import annotations

from typing import Any

from floe.cloud import servers
from floe.scheduler import select
from floe.scheduler.filters import availability_zone
from floe.simulation.planting import Planted, both, patched
from floe.store import allocations


def _whoever_sees_it(conn: Any, context: Any, server_id: str) -> Any:
    """Let everybody change a server who may see it."""
    return servers.visible(conn, context, server_id)


def _claim_wherever(conn: Any, wanted: Any, *, seen: Any = None, **options: Any) -> None:
    """Believe that a host is still in the zone that it was in when it was chosen."""
    _claim(conn, wanted, **options)


_claim = allocations.claim

_NO_ZONES = tuple(each for each in select.FILTERS if each.keep is not availability_zone.keep)
_CLAIMED_WHEREVER = patched((allocations, "claim", _claim_wherever))

OPERATORS = (
    Planted("lock-ignored", "a lock stops nobody", patched((servers, "changeable", _whoever_sees_it)), needs="lock"),
    Planted(
        "zone-ignored",
        "hosts of other zones than the one asked for are chosen, and claimed",
        both(patched((select, "FILTERS", _NO_ZONES)), _CLAIMED_WHEREVER),
        needs="zone",
    ),
    Planted(
        "zone-outside",
        "a host's zone is looked at before the transaction that claims, and not in it",
        _CLAIMED_WHEREVER,
        needs="zone",
    ),
)
