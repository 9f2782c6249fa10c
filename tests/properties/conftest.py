"""A database in memory for the properties of what is kept in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import StaticPool

from floe.store import address_columns, schema

Transaction = Callable[[], AbstractContextManager[Connection]]


@pytest.fixture(scope="module")
def made() -> Iterator[Engine]:
    """All tables, and no constraints between them."""
    engine = sa.create_engine("sqlite://", poolclass=StaticPool, connect_args={"isolation_level": None})
    with engine.connect() as conn:
        raw: Any = conn.connection.driver_connection
        address_columns.teach(raw)
        schema.create_all(conn)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def transaction(made: Engine) -> Transaction:
    """Return what begins a transaction, of which all that is done inside is undone at the end."""

    @contextmanager
    def begun() -> Iterator[Connection]:
        with made.connect() as conn:
            conn.exec_driver_sql("BEGIN")
            yield conn
            conn.exec_driver_sql("ROLLBACK")

    return begun
