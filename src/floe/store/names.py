"""Columns by which things are found by name without case: their names, folded.

A table's `folded` follows its `name` at every write. An older release on the same database writes names alone;
`refold` makes good for that at the next start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.names import fold

FOLDED = "folded"


def folded() -> sa.Column[str | None]:
    """Return the column for a table with a `name`."""
    return sa.Column(FOLDED, sa.Text, index=True)


def with_folded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is written to a table, with what its name is found by if there is one."""
    return {**values, "folded": fold(values["name"])} if "name" in values else dict(values)


def stale(conn: Connection, table: sa.Table) -> dict[str, str]:
    """Return the names of the rows, by id, that an older release wrote: `folded` does not follow them."""
    query = sa.select(table.c.id, table.c.name, table.c.folded).where(
        sa.or_(table.c.folded.is_(None), sa.func.lower(table.c.name) != table.c.folded)
    )
    return {row.id: row.name for row in conn.execute(query) if row.folded != fold(row.name)}


def refold(conn: Connection, table: sa.Table) -> None:
    """Set `folded` where it does not follow `name`."""
    for ident, name in stale(conn, table).items():
        conn.execute(sa.update(table).where(table.c.id == ident).values(folded=fold(name)))
