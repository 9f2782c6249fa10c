"""How addresses of either family are kept: as numbers that sort and compare alike on any database.

A number of `core.addresses` says its family. PostgreSQL keeps it as INET. SQLite's integers have 64 bits: there IPv4 is
one, as ever, and IPv6 16 bytes, which SQLite sorts after all integers and among each other by value. The column is
declared BIGINT, which leaves bytes as they are. So a release that knows IPv4 alone goes on working.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import TypeDecorator, TypeEngine

from floe.core.addresses import IPV4_ALL, Pool, number_of_either, text_of
from floe.store.schema import Json

_decode = msgspec.json.Decoder(tuple[tuple[int | str, int | str], ...]).decode


class Address(TypeDecorator[int]):
    """The number of an address, as `core.addresses` counts it."""

    impl = sa.BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the database's own type."""
        if dialect.name == "postgresql":
            from sqlalchemy.dialects import postgresql  # which a start on SQLite need not read

            return dialect.type_descriptor(postgresql.INET())
        return dialect.type_descriptor(sa.BigInteger())

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        """Return what turns a number into what is kept."""
        return _as_inet if dialect.name == "postgresql" else _as_integer_or_bytes

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        """Return what turns that into a number; handed out whole, since every row of a list goes through it."""
        return _of_inet if dialect.name == "postgresql" else _of_integer_or_bytes


def _as_integer_or_bytes(value: int | None) -> int | bytes | None:
    return value if value is None or value < IPV4_ALL else value.to_bytes(16)


def _of_integer_or_bytes(value: int | bytes | None) -> int | None:
    return int.from_bytes(value) if isinstance(value, bytes) else value


def _as_inet(value: int | None) -> str | None:
    return None if value is None else text_of(value)


def _of_inet(value: Any) -> int | None:
    return None if value is None else int(ip_address(str(value)))


class Pools(Json):
    """Pairs of addresses, first and last, as JSON: IPv4 as numbers, as ever, and IPv6, too wide for them, as text."""

    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Turn pools into JSON."""
        pools: Sequence[Pool] = value
        return msgspec.json.encode([[_plain(first), _plain(last)] for first, last in pools]).decode()

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[str | None], object]:
        """Turn JSON into pools; handed out whole, since every row of a list goes through it."""
        return _pools


def _plain(number: int) -> int | str:
    return number if number < IPV4_ALL else text_of(number)


def _pools(value: str | None) -> tuple[Pool, ...]:
    return tuple((_number(first), _number(last)) for first, last in _decode(value or "[]"))


def _number(kept: int | str) -> int:
    return number_of_either(kept) if isinstance(kept, str) else kept


class address_text(GenericFunction[str]):  # noqa: N801  # its name in SQL
    """An address as it is written."""

    type = sa.Text()
    inherit_cache = True


@compiles(address_text, "postgresql")
def _host(function: address_text, compiler: Any, **how: Any) -> str:
    return f"host({compiler.process(function.clauses, **how)})"


def teach(connection: sqlite3.Connection) -> None:
    """Give a connection to SQLite `address_text`."""
    connection.create_function("address_text", 1, _written, deterministic=True)


def _written(value: int | bytes | None) -> str | None:
    number = _of_integer_or_bytes(value)
    return None if number is None else text_of(number)
