"""What the database itself does as rows change, so that it is done by every release that is at work.

A trigger is given as its table, its moment and its steps, which are the same statements everywhere. SQLite has them in
the trigger itself. PostgreSQL has them in a function of the trigger's name.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """What is done for each row of a table after something was done to it.

    `event` is INSERT, UPDATE OF columns, or DELETE; `when` and the statements of `steps` know the row as OLD and NEW.
    Write IS DISTINCT FROM where either may be NULL.
    """

    name: str
    table: str
    event: str
    when: str = ""
    steps: tuple[str, ...]

    def texts(self, dialect: str) -> tuple[str, ...]:
        """Return the statements that make it."""
        kept = self.kept_as(dialect)
        if dialect != "postgresql":
            return (kept,)
        what, comment = f"TRIGGER {self.name} ON {self.table}", kept.replace("'", "''")
        return (
            f"CREATE FUNCTION {self.name}() RETURNS trigger LANGUAGE plpgsql AS $floe${self._body}$floe$",
            f"CREATE TRIGGER {self.name} {self._made}",
            f"COMMENT ON {what} IS '{comment}'",  # it keeps statements in words of its own, and comments as they are
        )

    def kept_as(self, dialect: str) -> str:
        """Return by what the database shows that it is this one."""
        if dialect == "postgresql":
            return f"{self._made} {self._body}"
        when = f" WHEN {self.when.replace('IS DISTINCT FROM', 'IS NOT')}" if self.when else ""
        return f"CREATE TRIGGER {self.name} AFTER {self.event} ON {self.table}{when} BEGIN {self._steps} END"

    @property
    def _steps(self) -> str:
        return " ".join(f"{step};" for step in self.steps)

    @property
    def _body(self) -> str:
        return f"BEGIN {self._steps} RETURN NULL; END"

    @property
    def _made(self) -> str:
        when = f" WHEN ({self.when})" if self.when else ""
        return f"AFTER {self.event} ON {self.table} FOR EACH ROW{when} EXECUTE FUNCTION {self.name}()"


def there(conn: Connection, prefix: str) -> dict[str, tuple[str, str]]:
    """Return the triggers whose names begin so: of each its table, and what the database keeps of it."""
    if conn.dialect.name == "postgresql":
        query = (
            "SELECT t.tgname, c.relname, coalesce(obj_description(t.oid, 'pg_trigger'), '')"
            " FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
            " WHERE NOT t.tgisinternal AND c.relnamespace = current_schema()::regnamespace"
            " AND starts_with(t.tgname, :prefix)"
        )
    else:
        query = (
            "SELECT name, tbl_name, sql FROM sqlite_master"
            " WHERE type = 'trigger' AND substr(name, 1, length(:prefix)) = :prefix"
        )
    return {row[0]: (row[1], row[2]) for row in conn.execute(sa.text(query), {"prefix": prefix})}


def kept(conn: Connection, prefix: str, wanted: Iterable[Trigger]) -> bool:
    """Say whether just these triggers have names that begin so."""
    declared = {each.name: (each.table, each.kept_as(conn.dialect.name)) for each in wanted}
    return there(conn, prefix) == declared


def replace(conn: Connection, prefix: str, wanted: Iterable[Trigger]) -> None:
    """Make these triggers, in place of all whose names begin so.

    Those that are there as they should be stay: others work with their tables, which are not waited for.
    """
    dialect, found = conn.dialect.name, there(conn, prefix)
    missing = {each.name: each for each in wanted if found.pop(each.name, None) != (each.table, each.kept_as(dialect))}
    for name in _names(conn, prefix) - {each.name for each in wanted if each.name not in missing}:
        _drop(conn, name)
    for each in missing.values():
        for text in each.texts(dialect):
            conn.exec_driver_sql(text)


def drop(conn: Connection, prefix: str) -> None:
    """Remove all triggers whose names begin so."""
    for name in sorted(_names(conn, prefix)):
        _drop(conn, name)


def _names(conn: Connection, prefix: str) -> set[str]:
    """Return the names of what was made that begin so; functions of PostgreSQL stay when a table goes."""
    if conn.dialect.name != "postgresql":
        return set(there(conn, prefix))
    functions = sa.text(
        "SELECT proname FROM pg_proc"
        " WHERE pronamespace = current_schema()::regnamespace AND starts_with(proname, :prefix)"
    )
    return set(conn.scalars(functions, {"prefix": prefix}))


def _drop(conn: Connection, name: str) -> None:
    postgres = conn.dialect.name == "postgresql"
    conn.exec_driver_sql(f"DROP FUNCTION {name}() CASCADE" if postgres else f"DROP TRIGGER {name}")
