"""What the database itself does as rows change, so that it is done by every release that is at work."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.engine import Connection


def texts(bodies: Mapping[str, str]) -> dict[str, str]:
    """Return the statements that make triggers, of what follows their names."""
    return {name: f"CREATE TRIGGER {name} {body}" for name, body in bodies.items()}


def there(conn: Connection, prefix: str) -> dict[str, str]:
    """Return the triggers whose names begin so, with the statements that made them."""
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name GLOB ?"
    return {row[0]: row[1] for row in conn.exec_driver_sql(query, (f"{prefix}*",))}


def replace(conn: Connection, prefix: str, wanted: Mapping[str, str]) -> None:
    """Make these triggers, in place of all whose names begin so."""
    for name in there(conn, prefix):
        conn.exec_driver_sql(f"DROP TRIGGER {name}")
    for text in wanted.values():
        conn.exec_driver_sql(text)
