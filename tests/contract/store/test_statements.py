"""Every statement that the store keeps is one that PostgreSQL takes: it parses it and knows its types."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Iterator
from typing import Any

import psycopg
import sqlalchemy as sa

from floe.store import schema
from floe.store.engine import Connection
from floe.store.postgres import Postgres
from floe.store.prepared import Prepared


def kept() -> Iterator[tuple[str, Prepared]]:
    """Give all prepared statements, and all others that are there before anything is asked, each with a name."""
    schema.load()
    named = {
        id(value): f"{module}.{name}"
        for module, there in list(sys.modules.items())
        if module.startswith("floe.store")
        for name, value in vars(there).items()
    }
    for found in gc.get_objects():
        if isinstance(found, Prepared):
            yield named.get(id(found), str(found._statement)[:200]), found
    for module, there in list(sys.modules.items()):
        if module.startswith("floe.store"):
            for name, value in vars(there).items():
                if isinstance(value, sa.Select | sa.CompoundSelect | sa.Update | sa.Delete) and not _open(value):
                    yield f"{module}.{name}", Prepared(value)


def _open(statement: Any) -> bool:
    """Say whether a statement takes a list, or is a part of another one."""
    compiled = statement.compile()
    return bool(compiled.post_compile_params or compiled.literal_execute_params)


async def test_postgresql_takes_every_statement(postgres_url: str) -> None:
    db = Postgres(postgres_url)
    db.open()

    def look(conn: Connection) -> dict[str, str]:
        driver: Any = conn.connection.driver_connection
        wrong = {}
        for name, prepared in kept():
            try:
                compiled = prepared._compile(conn.dialect)
            except TypeError:
                continue  # it takes a list, and so is run by SQLAlchemy
            driver.execute("SAVEPOINT one")
            try:
                psycopg.RawCursor(driver).execute(f"PREPARE tried AS {compiled.text}")
                driver.execute("DEALLOCATE tried")
            except psycopg.Error as error:
                unknown = re.search(r'relation "(\w+)" does not exist', str(error))
                if unknown is None or unknown[1] in schema.metadata.tables:  # else it is of a test's own table
                    wrong[name] = f"{error} in {compiled.text}"
            driver.execute("ROLLBACK TO SAVEPOINT one")
        return wrong

    assert len(list(kept())) > 200
    assert db.read_now(look) == {}
    db.close()
