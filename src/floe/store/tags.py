"""Tags: short texts that users put on a thing, kept with its row, and how lists look for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

_decode = msgspec.json.Decoder(tuple[str, ...]).decode


class Tags(TypeDecorator[tuple[str, ...]]):
    """Texts in order, each as JSON on a line of its own: no JSON text has a line's end in it, so a line is a tag."""

    impl = sa.Text
    cache_ok = True
    in_json = True

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> str:
        """Turn tags into lines."""
        return "\n".join(("", *map(_line, value), "")) if value else ""

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[str], tuple[str, ...]]:
        """Turn lines into tags; handed out whole, since every row of a list goes through it."""
        return _tags


def tagged(column: sa.Column[Any]) -> Mapping[str, Callable[[Sequence[str]], sa.ColumnElement[bool]]]:
    """Return the conditions by the tags of a column, as the network API names them."""

    def has(tag: str) -> sa.ColumnElement[bool]:
        # Unlike LIKE it tells letters of different case apart, on any database.
        text = sa.type_coerce(column, sa.Text)
        return sa.func.replace(text, f"\n{_line(tag)}\n", "") != text

    return {
        "tags": lambda tags: sa.and_(*map(has, tags)),
        "tags-any": lambda tags: sa.or_(*map(has, tags)),
        "not-tags": lambda tags: sa.not_(sa.and_(*map(has, tags))),
        "not-tags-any": lambda tags: sa.not_(sa.or_(*map(has, tags))),
    }


def _line(tag: str) -> str:
    return msgspec.json.encode(tag).decode()


@lru_cache(maxsize=256)  # most things have none, or those that others have
def _tags(lines: str) -> tuple[str, ...]:
    return _decode(f"[{lines[1:-1].replace(chr(10), ',')}]") if lines else ()
