"""Where hosts are and whether they live: the little of a host's row that every server's page needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from floe.core.hosts import DOWN_AFTER
from floe.store.engine import Connection
from floe.store.hosts import hosts


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A host's availability zone, and its state: UP, DOWN or MAINTENANCE."""

    zone: str
    state: str


_ALL = sa.select(
    hosts.c.name,
    hosts.c.availability_zone,
    hosts.c.enabled,
    hosts.c.connected,
    hosts.c.forced_down,
    hosts.c.last_seen,
)
_OF = _ALL.where(hosts.c.name.in_(sa.bindparam("names", expanding=True)))
_OF_ONE = _ALL.where(hosts.c.name == sa.bindparam("ident"))
_ZONES = sa.select(hosts.c.availability_zone).distinct()


def of(conn: Connection, names: Iterable[str], now: datetime) -> dict[str, Place]:
    """Return the places of these hosts by name; a host that is not known is left out."""
    wanted = sorted(set(names))
    if not wanted:
        return {}
    found = {}
    one = len(wanted) == 1
    rows = conn.execute(_OF_ONE, {"ident": wanted[0]}) if one else conn.execute(_OF, {"names": wanted})
    for name, zone, enabled, connected, forced_down, last_seen in rows:
        up = connected and not forced_down and now - last_seen < DOWN_AFTER
        found[name] = Place(zone=zone, state="DOWN" if not up else "UP" if enabled else "MAINTENANCE")
    return found


def zones(conn: Connection) -> set[str]:
    """Return the availability zones that hosts are in."""
    return set(conn.scalars(_ZONES))
