"""How often something changed that is kept in memory, made of many rows: as often as it is read, one row is.

The database itself counts, by triggers, in the transaction that changes the rows, whoever does that, an older release
too. What was made of the rows when a number was read holds as long as the same number is read.
"""

# ruff: noqa: S608  # the text of a trigger has no parameters: what stands in it are names of our own tables

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.store import triggers
from floe.store.prepared import Prepared
from floe.store.schema import Ident, load, metadata
from floe.store.triggers import Trigger

generations = sa.Table(
    "generations",
    metadata,
    sa.Column("subject", Ident, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
)

_CHANGES = "generation_of"
_PREFIX = "generation_"
"""How the names of all triggers begin that are kept here."""
_NUMBER = Prepared(sa.select(generations.c.number).where(generations.c.subject == sa.bindparam("subject")))


def changes(*columns: str) -> dict[Any, Any]:
    """Return what a table is declared with whose changes are counted: of these columns, and of rows that come or go."""
    return {_CHANGES: columns}


def get(conn: Connection, subject: str) -> int:
    """Return how often a table changed, by its name; 0 before the first time."""
    found = _NUMBER.plain(conn, subject=subject)
    return int(found[0][0]) if found else 0


def kept(conn: Connection) -> bool:
    """Say whether the triggers are there, as the tables declare them. A migration that makes a table anew loses its."""
    return triggers.kept(conn, _PREFIX, _wanted())


def keep(conn: Connection) -> None:
    """Make the triggers; what changed without them is a change now."""
    triggers.replace(conn, _PREFIX, _wanted())
    for table in _tables():
        for step in _count(table.name):
            conn.exec_driver_sql(step)


@sa.event.listens_for(metadata, "after_create")
def _made_at_once(_metadata: sa.MetaData, conn: Connection, *, tables: Collection[sa.Table], **_kw: Any) -> None:
    """Follow `schema.create_all`, as `migrate.ensure` follows the migrations; some tables alone are not counted."""
    if {generations, *_tables()} <= set(tables):
        keep(conn)


def _wanted() -> list[Trigger]:
    return [each for table in _tables() for each in _triggers(table)]


def _tables() -> Iterator[sa.Table]:
    return (table for table in load().sorted_tables if _CHANGES in table.info)


def _triggers(table: sa.Table) -> Iterator[Trigger]:
    columns, steps = table.info[_CHANGES], _count(table.name)
    differs = " OR ".join(f"OLD.{name} IS DISTINCT FROM NEW.{name}" for name in columns)
    for event, when in (("INSERT", ""), (f"UPDATE OF {', '.join(columns)}", differs), ("DELETE", "")):
        name = f"{_PREFIX}{table.name}_{event.partition(' ')[0].lower()}"
        yield Trigger(name=name, table=table.name, event=event, when=when, steps=steps)


def _count(subject: str) -> tuple[str, str]:
    # No ON CONFLICT: that of the statement which sets a trigger off would be taken instead.
    return (
        f"INSERT INTO generations SELECT '{subject}', 0 "
        f"WHERE NOT EXISTS (SELECT 1 FROM generations WHERE subject = '{subject}')",
        f"UPDATE generations SET number = number + 1 WHERE subject = '{subject}'",
    )
