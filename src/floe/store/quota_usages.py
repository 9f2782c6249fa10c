"""How much there is of what quotas limit: a row for each owner and resource of which there is anything.

The database keeps the counts itself: triggers of the tables that are counted change them in the transaction that
changes the rows, whoever does that, an older release too. A table says what of it is counted where it is declared
(`info=counted(...)`); the triggers, the look for counts that are not what there is, and their mending come of that.
"""

# ruff: noqa: S608  # the text of a trigger has no parameters: what stands in it are names of our own tables

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.store import triggers
from floe.store.prepared import Prepared
from floe.store.schema import Ident, load, metadata
from floe.store.triggers import Trigger

quota_usages = sa.Table(
    "quota_usages",
    metadata,
    sa.Column("owner", Ident, primary_key=True),
    sa.Column("resource", sa.String(64), primary_key=True),
    sa.Column("used", sa.BigInteger, nullable=False),
)

EVERYBODY = "*"
"""The owner of what is counted for the whole cloud."""
_COUNTED = "counted"
_PREFIX = "count_"
"""How the names of all triggers begin that are kept here."""
_OF_OWNER = Prepared(
    sa.select(quota_usages.c.resource, quota_usages.c.used).where(quota_usages.c.owner == sa.bindparam("owner"))
)


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What of a table counts as how much of a resource. All but the name of the resource are columns."""

    resource: str
    owner: str | None
    """None: all that there is, of EVERYBODY."""
    amount: str | None = None
    """None: each row is one."""
    unless: tuple[str, ...] = ()
    """A row in which one of these is set is not counted. One without an owner is not counted either."""

    def whose(self, row: str) -> str:
        """Return the SQL for the owner of a row of that name."""
        return f"'{EVERYBODY}'" if self.owner is None else f"{row}.{self.owner}"


class Drift(NamedTuple):
    """A count that is not what there is."""

    owner: str
    resource: str
    counted: int
    there: int


def counted(*items: Counted) -> dict[Any, Any]:
    """Return what a table is declared with whose rows are counted: `sa.Table(..., info=counted(...))`."""
    return {_COUNTED: items}


def limited(table: sa.Table) -> bool:
    """Say whether a quota of their project, or of whoever else they are of, bounds a table's rows."""
    return any(item.amount is None and item.owner is not None for item in table.info.get(_COUNTED, ()))


def of(conn: Connection, owner: str) -> Counter[str]:
    """Return how much an owner (a project, a user, a server group) has, by resource; 0 of what it has none of."""
    return Counter({row.resource: row.used for row in _OF_OWNER.rows(conn, owner=owner)})


@functools.cache
def _drifts() -> Prepared:
    """Return what reads rows that are those of `Drift`."""
    u = quota_usages.c
    both = sa.union_all(
        sa.select(u.owner, u.resource, u.used.label("counted"), sa.literal(0).label("there")),
        *(_there_is(item, table) for table in _tables() for item in _counted(table)),
    ).subquery()
    counted, there = sa.func.sum(both.c.counted), sa.func.sum(both.c.there)
    return Prepared(
        sa.select(both.c.owner, both.c.resource, counted, there)
        .group_by(both.c.owner, both.c.resource)
        .having(counted != there)
    )


def _there_is(item: Counted, table: sa.Table) -> sa.Select[Any]:
    """Return the query for how much there is, by owner."""
    amount = table.c[item.amount] if item.amount else sa.literal(1)
    owner = table.c[item.owner] if item.owner else sa.literal(EVERYBODY)
    found = sa.select(owner, sa.literal(item.resource), sa.literal(0), sa.func.sum(amount)).select_from(table)
    found = found.where(*(table.c[name].is_(None) for name in item.unless))
    if item.owner is None:
        return found.having(sa.func.count() > 0)
    return found.where(owner.is_not(None)).group_by(owner)


def drifted(conn: Connection) -> list[Drift]:
    """Return all counts that are not what there is."""
    return [Drift(*row) for row in _drifts().tuples(conn)]


def count_anew(conn: Connection) -> list[Drift]:
    """Make all counts what there is; return those that were not. Others may count what they change meanwhile."""
    found, u = drifted(conn), quota_usages.c
    for owner, resource, counted, there in found:
        which = sa.and_(u.owner == owner, u.resource == resource)
        if conn.execute(sa.update(quota_usages).where(which).values(used=u.used + there - counted)).rowcount == 0:
            conn.execute(sa.insert(quota_usages).values(owner=owner, resource=resource, used=there - counted))
        conn.execute(sa.delete(quota_usages).where(which, u.used == 0))
    return found


# -- triggers ---------------------------------------------------------------------------------------------


def kept(conn: Connection) -> bool:
    """Say whether the triggers are there, as the tables declare them. A migration that makes a table anew loses its."""
    return triggers.kept(conn, _PREFIX, _wanted())


def keep(conn: Connection) -> None:
    """Make the triggers, and count anew what was not counted without them."""
    triggers.replace(conn, _PREFIX, _wanted())
    count_anew(conn)


@sa.event.listens_for(metadata, "after_create")
def _made_at_once(_metadata: sa.MetaData, conn: Connection, *, tables: Collection[sa.Table], **_kw: Any) -> None:
    """Follow `schema.create_all`, as `migrate.ensure` follows the migrations; some tables alone are not counted."""
    if {quota_usages, *_tables()} <= set(tables):
        keep(conn)


def _wanted() -> list[Trigger]:
    return [trigger for table in _tables() for trigger in _triggers(table)]


def _tables() -> Iterator[sa.Table]:
    return (table for table in load().sorted_tables if _COUNTED in table.info)


def _counted(table: sa.Table) -> tuple[Counted, ...]:
    found: tuple[Counted, ...] = table.info[_COUNTED]
    return found


def _triggers(table: sa.Table) -> Iterator[Trigger]:
    items = _counted(table)
    columns = sorted({name for item in items for name in (item.owner, item.amount, *item.unless) if name})
    differs = " OR ".join(f"OLD.{name} IS DISTINCT FROM NEW.{name}" for name in columns)
    more = tuple(step for item in items for step in _more(item))
    less = tuple(step for item in items for step in _less(item))
    name = f"{_PREFIX}{table.name}"
    yield Trigger(name=f"{name}_insert", table=table.name, event="INSERT", steps=more)
    if columns:
        changed = f"UPDATE OF {', '.join(columns)}"
        yield Trigger(name=f"{name}_update", table=table.name, event=changed, when=differs, steps=(*more, *less))
    yield Trigger(name=f"{name}_delete", table=table.name, event="DELETE", steps=less)


def _more(item: Counted) -> tuple[str, ...]:
    # No ON CONFLICT: that of the statement which sets the trigger off would be taken instead.
    key, holds, one = _in_trigger("NEW", item)
    return (
        f"INSERT INTO quota_usages SELECT {item.whose('NEW')}, '{item.resource}', 0 WHERE {holds} "
        f"AND NOT EXISTS (SELECT 1 FROM quota_usages WHERE {key})",
        f"UPDATE quota_usages SET used = used + {one} WHERE {key} AND {holds}",
    )


def _less(item: Counted) -> tuple[str, ...]:
    key, holds, one = _in_trigger("OLD", item)
    return (
        f"UPDATE quota_usages SET used = used - {one} WHERE {key} AND {holds}",
        f"DELETE FROM quota_usages WHERE {key} AND used = 0",
    )


def _in_trigger(row: str, item: Counted) -> tuple[str, str, str]:
    """Return which count a row belongs to, when it does, and what it adds."""
    owner = item.whose(row)
    holds = " AND ".join((f"{owner} IS NOT NULL", *(f"{row}.{name} IS NULL" for name in item.unless)))
    amount = f"{row}.{item.amount}" if item.amount else "1"
    return f'"owner" = {owner} AND "resource" = \'{item.resource}\'', holds, amount
