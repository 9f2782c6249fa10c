"""Planted bugs in what operators say: that servers are locked, and which hosts make a zone or an aggregate."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from floe.cloud import servers
from floe.conductor.demands import Demands, Met
from floe.scheduler import select
from floe.scheduler.filters import aggregates as in_aggregates
from floe.scheduler.filters import availability_zone
from floe.simulation.planting import Planted, both, patched
from floe.store import aggregates, allocations, hosts


def _whoever_sees_it(conn: Any, context: Any, server_id: str) -> Any:
    """Let everybody change a server who may see it."""
    return servers.visible(conn, context, server_id)


def _claim_wherever(conn: Any, wanted: Any, *, seen: Any = None, **options: Any) -> None:
    """Believe that a host is still in the zone that it was in when it was chosen."""
    _claim(conn, wanted, **options)


def _met_at_no_generation(self: Demands, conn: Any, asked: Any) -> Met:
    """Work out what meets demands, and not say of what state of the aggregates."""
    known: Any = None
    return Met(known, _met(self, conn, asked).by_demand)


def _claim_in_any_aggregate(conn: Any, wanted: Any, *, seen: Any = None, **options: Any) -> None:
    """Compare with the host's aggregates as they are by now, which were read after it was chosen."""
    now = hosts.get(conn, wanted.host)
    if seen is not None and now is not None:
        seen = replace(seen, aggregates=now.aggregates)
    _claim(conn, wanted, seen=seen, **options)


def _never_another(_conn: Any) -> int:
    """Know of no change of aggregates."""
    return 0


_claim = allocations.claim
_met = Demands.met

_NO_AGGREGATES = tuple(each for each in select.FILTERS if each.keep is not in_aggregates.keep)
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
    Planted(
        "demands-ignored",
        "hosts are chosen that are not in the aggregates that the flavor asks for",
        patched((select, "FILTERS", _NO_AGGREGATES)),
        needs="drives",
    ),
    Planted(
        "aggregates-outside",
        "which aggregates a host is in is looked at before the transaction that claims, and not in it",
        patched((allocations, "claim", _claim_in_any_aggregate)),
        needs="drives",
    ),
    Planted(
        "metadata-outside",
        "the metadata of aggregates is looked at before the transaction that claims, and not in it",
        patched((Demands, "met", _met_at_no_generation)),
        needs="drives",
    ),
    Planted(
        "metadata-kept",
        "which aggregates meet a demand is known for ever",
        patched((aggregates, "generation", _never_another)),
        needs="drives",
    ),
)
