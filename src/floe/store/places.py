"""Where hosts are and whether they live: the little of a host's row that every server's page needs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from floe.core.hosts import DOWN_AFTER
from floe.store.engine import Connection
from floe.store.hosts import hosts as every_host
from floe.store.hosts import zone as zone_of
from floe.store.listing import ByIds


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A host's availability zone, and its state: UP, DOWN or MAINTENANCE."""

    zone: str
    state: str


hosts = every_host.alias("place")
"""The table by a name of its own, so that it can be joined to what speaks of hosts already."""
COLUMNS = (
    hosts.c.name,
    zone_of(hosts),
    hosts.c.enabled,
    hosts.c.connected,
    hosts.c.forced_down,
    hosts.c.last_seen,
)
_BY_NAME = ByIds(sa.select(*COLUMNS), hosts.c.name)
_ZONES = sa.select(zone_of(hosts)).distinct()


def get(conn: Connection, name: str, now: datetime) -> Place | None:
    """Return the place of a host that is known."""
    return of(conn, (name,), now).get(name)


def of(conn: Connection, names: Collection[str], now: datetime) -> dict[str, Place]:
    """Return the places of these hosts by name; one that is not known is left out."""
    return {row[0]: place(row, now) for row in _BY_NAME.rows(conn, names)} if names else {}


def place(row: Sequence[Any], now: datetime) -> Place:
    """Return the place that the values of `COLUMNS` tell of."""
    _name, zone, enabled, connected, forced_down, last_seen = row
    up = connected and not forced_down and now - last_seen < DOWN_AFTER
    return Place(zone=zone, state="DOWN" if not up else "UP" if enabled else "MAINTENANCE")


def zones(conn: Connection) -> set[str]:
    """Return the availability zones that hosts are in."""
    return set(conn.scalars(_ZONES))
