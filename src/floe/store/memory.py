"""A database in memory, in the caller's thread, that is put back to a template in no time: for simulations.

One connection and one engine serve any number of runs one after the other, so that statements are compiled once.
What runs on it runs to its end before anybody else does: there is nothing to wait for, and nothing to lock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.pool import StaticPool

from floe.store import address_columns
from floe.store.schema import create_all

T = TypeVar("T")


class MemoryStore:
    """The rows. `commits` counts since the last `reset`."""

    def __init__(self) -> None:
        self._raw = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._raw.execute("PRAGMA foreign_keys=ON")
        address_columns.teach(self._raw)
        self._engine = sa.create_engine(
            "sqlite://", creator=lambda: self._raw, poolclass=StaticPool, hide_parameters=True
        )
        self._conn = self._engine.connect()
        self._template = sqlite3.connect(":memory:", check_same_thread=False)
        self._busy = False
        self.commits = 0
        self.write(create_all)
        self.keep()

    def keep(self) -> None:
        """Make what is there now the template."""
        self._raw.backup(self._template)

    def reset(self) -> None:
        """Go back to the template."""
        self._conn.rollback()
        self._template.backup(self._raw)
        self._busy = False
        self.commits = 0

    def write(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` and commit; what it raises undoes it."""
        assert not self._busy, "a transaction inside another one would wait for ever"
        self._busy = True
        self._raw.execute("BEGIN IMMEDIATE")
        try:
            result = fn(self._conn)
        except BaseException:
            self._raw.rollback()
            self._conn.rollback()
            raise
        finally:
            self._busy = False
        self._raw.commit()
        self._conn.commit()
        self.commits += 1
        return result

    def read(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn`; it must not write."""
        assert not self._busy, "a read inside a write would not see what was written"
        self._raw.execute("BEGIN")
        try:
            return fn(self._conn)
        finally:
            self._raw.rollback()
            self._conn.rollback()

    def close(self) -> None:
        """Let go of it."""
        self._conn.close()
        self._engine.dispose()
        self._raw.close()
        self._template.close()
