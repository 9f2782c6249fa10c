"""Planted bugs in deletes that are put off."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from floe.core.servers import Server
from floe.simulation.planting import Planted, patched
from floe.store import servers as server_rows
from floe.store.engine import Connection

_change = server_rows.change


def _all_are_due(conn: Connection, now: datetime, most: int) -> list[str]:
    """Take every server that is soft-deleted to be over."""
    table = server_rows.servers
    return [row.id for row in conn.execute(table.select().where(table.c.reclaim_at.is_not(None)).limit(most))]


def _always_overdue(self: Server, now: datetime) -> bool:
    """Look at nothing again in the write."""
    return True


def _drops(what: Callable[[Any], bool]) -> Callable[..., None]:
    """Return what writes all columns of a server, but some times at which it is reclaimed."""

    def change(conn: Connection, server_id: str, *, only_in: str | None = None, **values: Any) -> None:
        if "reclaim_at" in values and what(values["reclaim_at"]):
            del values["reclaim_at"]
        if values:
            _change(conn, server_id, only_in=only_in, **values)

    return change


PUT_OFF = (
    Planted(
        "reclaimed-early",
        "soft-deleted servers are reclaimed at the next look, whatever their time",
        patched((server_rows, "due", _all_are_due), (Server, "overdue", _always_overdue)),
        needs="put-off",
    ),
    Planted(
        "never-reclaimed",
        "a soft-deleted server is not noted to be reclaimed",
        patched((server_rows, "change", _drops(lambda at: at is not None))),
        needs="put-off",
    ),
    Planted(
        "restored-to-be-reclaimed",
        "a server that is restored is reclaimed all the same",
        patched((server_rows, "change", _drops(lambda at: at is None))),
        needs="put-off",
    ),
)
