"""What is over is kept for a while and then forgotten, slice by slice, so that nobody waits for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from floe.cloud.cloud import Cloud
from floe.core.counters import Count
from floe.core.errors import Invalid
from floe.core.idempotency import KEPT
from floe.store import history as rows
from floe.store.engine import Connection
from floe.store.history import Kind, Rows

PURGED = Count("floe_purged_rows", "Rows of what is over that were forgotten.", ("table",))

_SESSION = timedelta(days=1)
"""Within which a write has been tried again for the last time, whatever happens."""

BREATH = 0.02
"""Seconds between slices, in which others write."""

Pause = Callable[[float], Awaitable[None]]


@dataclass(slots=True)
class Purge:
    """What was forgotten (or, on trial, would be), in rows by table; whether there is no more of it."""

    before: datetime | None
    rows: Rows = field(default_factory=dict)
    finished: bool = True

    def add(self, more: Rows) -> None:
        """Count more rows."""
        for table, number in more.items():
            self.rows[table] = self.rows.get(table, 0) + number


def horizon(cloud: Cloud) -> datetime | None:
    """Return the moment before which all that is over is history; None where it is kept for ever."""
    days = cloud.settings.history_days
    return cloud.clock.now() - timedelta(days=days) if days else None


async def purge(cloud: Cloud, before: datetime | None, *, pause: Pause, slices: int | None = None) -> Purge:
    """Forget what was over before a moment, and what has a term of its own; at most so many slices of it.

    It may be broken off at any slice, and two may do it at once.
    """
    made = Purge(before)
    for kind, moment in _due(cloud, before):
        while True:
            keys = await cloud.db.scan(partial(rows.find, kind=kind, before=moment))
            if not keys:
                break
            if slices is not None and slices <= 0:
                made.finished = False
                return made
            gone = await cloud.db.write(partial(rows.forget, kind=kind, keys=keys))
            if not gone:
                break  # another one is at it, or it is in use again: that is no slice
            for table, number in gone.items():
                cloud.counters.add(PURGED, table, amount=number)
            made.add(gone)
            slices = None if slices is None else slices - 1
            if len(keys) < kind.most:
                break
            await pause(BREATH)
    return made


async def trial(cloud: Cloud, before: datetime | None) -> Purge:
    """Return what a purge would forget."""
    made = Purge(before)

    due = _due(cloud, before)

    def read(conn: Connection) -> list[Rows]:
        return [rows.count(conn, kind, moment) for kind, moment in due]

    for counted in await cloud.db.scan(read):
        made.add(counted)
    return made


def demand_past(cloud: Cloud, before: datetime) -> datetime:
    """Return a moment that an operator names. Raises Invalid where it has not come yet."""
    now = cloud.clock.now()
    if before > now:
        raise Invalid(f"before must not lie in the future (it is {before.isoformat()}, now is {now.isoformat()}).")
    return before


def _due(cloud: Cloud, before: datetime | None) -> list[tuple[Kind, datetime]]:
    """Return the kinds of history, each with the moment before which it is forgotten."""
    now, days = cloud.clock.now(), cloud.settings.usage_days
    kinds = [(rows.REVOKED, now), (rows.KEYS, now - KEPT), (rows.WRITE_SESSIONS, now - _SESSION)]
    if before is not None:
        kinds += [
            (kind, before) for kind in (rows.SERVERS, rows.ACTIONS, rows.MIGRATIONS, rows.IMAGES, rows.CONDUCTORS)
        ]
    if days:
        kinds.append((rows.PAST, now - timedelta(days=days)))
    return kinds
