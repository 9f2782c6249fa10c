"""Functions of SQL that databases name differently."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import NullType


class length_of_array(GenericFunction[int]):  # noqa: N801  # its name in SQL
    """How many values are in an array of JSON, kept as text."""

    type = sa.Integer()
    inherit_cache = True


@compiles(length_of_array)
def _of_text(function: length_of_array, compiler: Any, **how: Any) -> str:
    return f"json_array_length({compiler.process(function.clauses, **how)})"


@compiles(length_of_array, "postgresql")
def _of_json(function: length_of_array, compiler: Any, **how: Any) -> str:
    return f"json_array_length(CAST({compiler.process(function.clauses, **how)} AS json))"


class place_in(GenericFunction[int]):  # noqa: N801  # its name in SQL
    """Where in a text another one begins, counted from 1; 0 where it does not stand there."""

    type = sa.Integer()
    inherit_cache = True


@compiles(place_in)
def _instr(function: place_in, compiler: Any, **how: Any) -> str:
    return f"instr({compiler.process(function.clauses, **how)})"


@compiles(place_in, "postgresql")
def _strpos(function: place_in, compiler: Any, **how: Any) -> str:
    return f"strpos({compiler.process(function.clauses, **how)})"


class is_one_of(GenericFunction[bool]):  # noqa: N801
    """Whether a text, or a whole number, is one of those in an array of JSON, however many: one statement for all.

    It is a condition without a type: of a truth value SQLAlchemy would have SQLite see whether it equals 1, and for
    that no index serves.
    """

    type = NullType()  # type: ignore[assignment]
    inherit_cache = True


@compiles(is_one_of)
def _in_each(function: is_one_of, compiler: Any, **how: Any) -> str:
    value, array = (compiler.process(clause, **how) for clause in function.clauses)
    return f"{value} IN (SELECT value FROM json_each({array}))"  # noqa: S608  # of statements of ours


@compiles(is_one_of, "postgresql")
def _in_elements(function: is_one_of, compiler: Any, **how: Any) -> str:
    value, array = (compiler.process(clause, **how) for clause in function.clauses)
    element = f"json_array_elements_text(CAST({array} AS json))"
    if isinstance(next(iter(function.clauses)).type, sa.Integer):
        element = f"CAST({element} AS bigint)"
    # As an array, which is made once: an index serves for it as for a list of values.
    return f"{value} = ANY (ARRAY(SELECT {element}))"


def array_of(values: Iterable[str | int]) -> str:
    """Return the array that `is_one_of` takes."""
    return msgspec.json.encode(list(values)).decode()
