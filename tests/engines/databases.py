"""What tests have their databases from: files of SQLite, or a PostgreSQL of the tests'."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from postgres_server import PostgresServer

from floe.core.clock import Clock
from floe.store import migrate
from floe.store.engine import Database, Transactions


class NewDatabase(Protocol):
    """What makes databases, each known by a path, on which the time is that of a clock."""

    def __call__(self, path: Path, clock: Clock | None = None) -> Transactions:
        """Return one, to be opened."""
        ...


LentDatabases = Callable[[], AbstractContextManager[NewDatabase]]
"""Lends what makes databases; who borrowed them has closed them when they are given back."""


class Files:
    """Files of SQLite, each a copy of one that has all tables: to make those takes several times as long."""

    def __init__(self, folder: Path) -> None:
        self._empty = folder / "empty.db"
        migrate.ensure(self._empty)

    @contextmanager
    def lent(self) -> Iterator[NewDatabase]:
        """Lend databases that have all tables."""

        def make(path: Path, _clock: Clock | None = None) -> Transactions:
            if not path.exists():
                shutil.copyfile(self._empty, path)
            return Database(path)

        yield make


def opened(path: Path, url: str) -> Transactions:
    """Open a database of PostgreSQL, or a file where there is no `url`."""
    if url:
        from floe.store.postgres import Postgres

        db: Transactions = Postgres(url)
    else:
        db = Database(path)
    db.open()
    return db


_WIPE = """
DO $$ DECLARE name text; found bool; BEGIN
    SET LOCAL session_replication_role = replica;
    SET LOCAL lock_timeout = '5s';
    FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
        AND relname <> 'alembic_version' LOOP
        EXECUTE format('SELECT EXISTS (SELECT 1 FROM %I)', name) INTO found;
        IF found THEN EXECUTE format('DELETE FROM %I', name); END IF;
    END LOOP;
    FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S' LOOP
        PERFORM setval(name::regclass, 1, false);
    END LOOP;
END $$
"""


class PostgresDatabases:
    """A PostgreSQL of the tests', and databases in it, each a copy of another."""

    def __init__(self) -> None:
        import psycopg  # which tests on SQLite do without

        self.server = PostgresServer()
        self.server.start()
        self._admin = psycopg.connect(self.server.url(), autocommit=True)
        self._numbers = itertools.count(1)
        self.empty = self.copy_of("template0")
        """Has all tables."""
        migrate.ensure(self.empty)
        self._free: list[str] = []

    @contextmanager
    def lent(self) -> Iterator[NewDatabase]:
        """Lend databases that have all tables."""
        from floe.store.postgres import Postgres

        known: dict[Path, str] = {}

        def make(path: Path, clock: Clock | None = None) -> Transactions:
            if path not in known:
                known[path] = self.take()
            now = time.time if clock is None else lambda: clock.now().timestamp()
            return Postgres(known[path], now=now)

        yield make
        for url in known.values():
            self.give_back(url)

    def take(self) -> str:
        """Return a database with all tables, which nobody uses."""
        return self._free.pop() if self._free else self.copy_of(self.empty)

    def give_back(self, url: str) -> None:
        """Empty a database for whoever takes it next: to make one takes many times as long."""
        import psycopg

        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_WIPE)
        self._free.append(url)

    def copy_of(self, url: str) -> str:
        """Return a new database like that one, which nobody is connected to."""
        name, template = f"floe_{next(self._numbers)}", url.rpartition("/")[2]
        self._admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.server.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, and cut off whoever is connected to it."""
        self._admin.execute(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    def close(self) -> None:
        """Remove everything."""
        self._admin.close()
        self.server.remove()
