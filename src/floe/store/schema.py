"""What all tables share: one MetaData, the column types, and names for constraints.

Each noun's file declares its tables on `metadata`; `load` imports them all, for migrations and tests.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import TypeDecorator

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_KEPT = 256
"""Values of a column that are kept as they were read: most things have the same few, or none."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def known_moment(value: int) -> datetime:
    """Return the moment that is kept as this number."""
    return datetime.fromtimestamp(value / 1_000_000, UTC)


@lru_cache(maxsize=4096)
def moment(value: int | None) -> datetime | None:
    """Return the same, and None of none; kept, as what is read once is mostly read again."""
    return None if value is None else datetime.fromtimestamp(value / 1_000_000, UTC)


_decode = msgspec.json.Decoder().decode


def _value(value: str | None) -> object:
    return None if value is None else _decode(value)


class Moment(TypeDecorator[datetime]):
    """An aware UTC datetime, kept as microseconds since 1970: exact, sortable, quick to read on any database."""

    impl = sa.BigInteger
    cache_ok = True
    in_json = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Turn a datetime into microseconds."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[int | None], datetime | None]:
        """Turn microseconds into a datetime; handed out whole, since every row of a list goes through it."""
        return moment


Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""What the clock may be in (see `core.ahead`), in a column that once was narrower; SQLite's INTEGER has the room."""


class Json(TypeDecorator[Any]):
    """Any JSON value, kept as text. Dataclasses may be written; what is read back is plain."""

    impl = sa.Text
    cache_ok = True
    in_json = True

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:
        """Turn a value into JSON."""
        return None if value is None else msgspec.json.encode(value).decode()

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[str | None], object]:
        """Turn JSON into a value; handed out whole, since every row of a list goes through it."""
        return _value


class JsonOf(TypeDecorator[Any]):
    """JSON of one kind of value, as `Json` keeps it, read as what it is, which nothing can change: it may be shared."""

    impl = sa.Text
    cache_ok = True
    in_json = True

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind
        decode = msgspec.json.Decoder(kind).decode
        self._read: Callable[[str | None], Any] = lru_cache(_KEPT)(lambda text: None if text is None else decode(text))

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:
        """Turn a value into JSON."""
        return None if value is None else msgspec.json.encode(value).decode()

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[str | None], object]:
        """Turn JSON into a value; handed out whole, since every row of a list goes through it."""
        return self._read


GONE = sa.text("deleted_at IS NOT NULL")
"""Which rows an index for finding history has: those of things that are no more."""


@compiles(sa.Integer, "postgresql")
def _wide(_type: sa.Integer, _compiler: object, **_how: object) -> str:
    """Give every whole number 64 bits, as SQLite does: counts and sums outgrow 32, and what compares with them too."""
    return "BIGINT"


@compiles(sa.String, "postgresql")
def _text(_type: sa.String, _compiler: object, **_how: object) -> str:
    """Give every text the room that it takes, as SQLite does: what is too long is said before, in words of ours."""
    return "TEXT"


Ident = sa.String(64)
"""A UUID, or a name that serves as one."""
HostName = sa.String(255)
"""The name of a host: as long as DNS has them."""


_NO_TABLES = {"engine", "schema", "migrate", "migrations"}
_OTHERS = "postgres"
"""How the modules begin that have none, and bring what a start on SQLite can do without."""


def load() -> sa.MetaData:
    """Import every noun's tables and return the whole metadata."""
    import floe.store

    for module in pkgutil.iter_modules(floe.store.__path__):
        if module.name not in _NO_TABLES and not module.name.startswith(_OTHERS):
            importlib.import_module(f"floe.store.{module.name}")
    return metadata


def create_all(conn: Connection) -> None:
    """Make every table at once, as the migrations would; for tests that need no history."""
    if conn.dialect.name != "sqlite" or conn.exec_driver_sql("SELECT 1 FROM sqlite_master LIMIT 1").first():
        tables = load()
        if sa.inspect(conn).has_table("alembic_version"):
            return  # the migrations made it
        for index in (index for table in tables.sorted_tables for index in table.indexes):
            # Said here, not beside each index: to name PostgreSQL there costs every start the reading of its dialect.
            index.dialect_options[conn.dialect.name]["where"] = index.dialect_options["sqlite"]["where"]
        tables.create_all(conn)
        return
    for text in _texts():
        conn.exec_driver_sql(text)


@functools.cache
def _texts() -> tuple[str, ...]:
    """Return what makes an empty SQLite database have every table, index and trigger: as one has them that was made."""
    engine = sa.create_engine("sqlite://", hide_parameters=True)
    with engine.connect() as conn:
        load().create_all(conn)
        made = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
        found = conn.exec_driver_sql(made).all()
    engine.dispose()
    return tuple(row.sql for row in found)
