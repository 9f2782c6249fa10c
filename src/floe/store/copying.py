"""All rows of one database to another, of whichever kind: for those who outgrow one machine. Nobody may be at work."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.errors import Conflict
from floe.store import audit, generations, migrate, port_bindings, quota_usages, triggers
from floe.store.migrate import HEAD, Where, alone, connected, shown
from floe.store.schema import load

_AT_ONCE = 500
"""Rows that are read, and written, together."""


def copy(source: Where, target: Where, tell: Callable[[str, int], None] = lambda _table, _rows: None) -> dict[str, int]:
    """Copy all rows, in one transaction; return how many, by table.

    The target is made, with a schema, if need be. `tell` is called for each table that was copied. Raises Conflict when
    the source is of another release, the target has rows, somebody is at work there, or what came is not what was.
    """
    if (found := migrate.current(source)) != HEAD:
        raise Conflict(
            f"The schema of {shown(source)} is {found or 'none'}, not {HEAD}: run `floe db upgrade` on it first."
        )
    migrate.ensure(target)
    with connected(source) as here, connected(target) as there, alone(here), alone(there):
        for which, conn in ((source, here), (target, there)):
            _nobody_at_work(which, conn)
        counts = _copy(here, there, target, tell)
        if (amiss := _differences(here, there)) != []:
            raise Conflict(f"What came to {shown(target)} is not what was, and was taken back: {'; '.join(amiss)}.")
    return counts


def check(where: Where) -> list[str]:
    """Return what is not right about a database: its version, what it keeps itself, and the counts it keeps."""
    found = migrate.current(where)
    if found != HEAD:
        return [f"its schema is {found or 'none'}, and this release's {HEAD}: run `floe db upgrade`"]
    with connected(where) as conn:
        amiss = [f"{name} has not the triggers of this release" for name, itself in _KEEPERS if not itself.kept(conn)]
        amiss += [f"{drift.owner} has {drift.there} {drift.resource}, counted are {drift.counted}"
                  for drift in quota_usages.drifted(conn)]  # fmt: skip
        return amiss + [
            f"the bindings of port {port} are not what its row says" for port in port_bindings.drifted(conn)
        ]


_KEEPERS = (("quota_usages", quota_usages), ("port_bindings", port_bindings), ("generations", generations))


def _copy(here: Connection, there: Connection, target: Where, tell: Callable[[str, int], None]) -> dict[str, int]:
    tables = load().sorted_tables
    for prefix in ("count_", "bind_", "generation_"):  # the rows that they would make are copied
        triggers.drop(there, prefix)
    there.execute(sa.delete(generations.generations))  # an empty database has counted its beginning
    for table in tables:
        if there.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() is not None:
            raise Conflict(f"{shown(target)} has rows in {table.name}: copy to an empty database.")
    counts = {}
    for table in tables:
        counts[table.name] = 0
        found = here.execute(sa.select(table).execution_options(yield_per=_AT_ONCE))
        for part in found.partitions():
            # By place: a column's key may be another than its name.
            there.execute(sa.insert(table), [dict(zip(table.c.keys(), row, strict=True)) for row in part])
            counts[table.name] += len(part)
        _go_on_from(there, table)
        tell(table.name, counts[table.name])
    for _, itself in _KEEPERS:
        itself.keep(there)
    return counts


def _go_on_from(conn: Connection, table: sa.Table) -> None:
    """Have the numbers that the database gives go on behind those that were copied."""
    column = table.autoincrement_column
    if column is not None and conn.dialect.name == "postgresql":
        highest = sa.func.coalesce(sa.func.max(column), 0) + 1
        sequence = sa.func.pg_get_serial_sequence(table.name, column.name)
        conn.execute(sa.select(sa.func.setval(sequence, highest, sa.false())).select_from(table))


def _nobody_at_work(where: Where, conn: Connection) -> None:
    if conn.dialect.name == "postgresql":
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'floe' AND pid <> pg_backend_pid()"
        )
        if others := conn.exec_driver_sql(query).scalar():
            raise Conflict(f"{others} connections of a cloud are at work on {shown(where)}: stop it first.")


def _differences(here: Connection, there: Connection) -> list[str]:
    """Compare how many rows there are, and what an audit of either finds."""
    found = []
    for table in load().sorted_tables:
        query = sa.select(sa.func.count()).select_from(table)
        if (was := here.scalar(query)) != (came := there.scalar(query)):
            found.append(f"{table.name} had {was} rows, and has {came}")
    if sorted(audit.instant(here)) != sorted(audit.instant(there)):
        found.append("an audit of them finds other things")
    return found
