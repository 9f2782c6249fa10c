"""Replies as tables: the fields of a thing on the wire, each with the microversions that show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from floe.core.versions import Version

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shown(Generic[T]):
    """One field of a reply: its wire name, how to get it from the thing, and who sees it when.

    `only` limits a field to some callers by a predicate's name that the surface decides on (like `admin`).
    """

    name: str
    value: Callable[[T], Any]
    since: Version = (0, 0)
    until: Version = (9999, 9999)
    only: str | None = None


class Shape(Generic[T]):
    """A table of shown fields, compiled once per microversion and set of predicates that hold."""

    def __init__(self, fields: Sequence[Shown[T]]) -> None:
        self.fields = tuple(fields)
        self._compiled: dict[tuple[Version, frozenset[str]], tuple[tuple[str, Callable[[T], Any]], ...]] = {}

    def show(self, thing: T, version: Version = (0, 0), holds: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Return the thing as a JSON object at that version."""
        pairs = self._compiled.get((version, holds))
        if pairs is None:
            pairs = self._compile(version, holds)
        return {name: value(thing) for name, value in pairs}

    def _compile(self, version: Version, holds: frozenset[str]) -> tuple[tuple[str, Callable[[T], Any]], ...]:
        pairs = tuple(
            (f.name, f.value)
            for f in self.fields
            if f.since <= version <= f.until and (f.only is None or f.only in holds)
        )
        self._compiled[(version, holds)] = pairs
        return pairs
