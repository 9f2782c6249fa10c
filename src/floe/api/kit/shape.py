"""Replies as tables: the fields of a thing on the wire, each with the microversions that show it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, TypeVar

from floe.core.versions import Version

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Always:
    """The value of a field that is the same for all things."""

    value: Any

    def __call__(self, _thing: object) -> Any:
        """Return the value, whatever the thing."""
        return self.value


@dataclass(frozen=True, slots=True)
class Shown(Generic[T]):
    """One field of a reply: its wire name, how to get it from the thing, and who sees it when.

    A value that is an attribute of the thing, as it stands there, is given by that name. `only` limits a field to some
    callers by a predicate's name that the surface decides on (like `admin`), or by several of which one is enough.
    """

    name: str
    value: Callable[[T], Any] | str
    since: Version = (0, 0)
    until: Version = (9999, 9999)
    only: str | frozenset[str] | None = None
    sparse: bool = False
    """Whether it is left out where it is None."""


def meant(only: str | frozenset[str] | None, holds: Collection[str]) -> bool:
    """Say whether a field with that `only` is for those of whom this holds."""
    return only is None or (only in holds if isinstance(only, str) else not only.isdisjoint(holds))


Show = Callable[[T], dict[str, Any]]
"""Makes a JSON object of a thing."""


class Shape(Generic[T]):
    """A table of shown fields, compiled once per microversion and set of predicates that hold."""

    def __init__(self, fields: Sequence[Shown[T]]) -> None:
        self.fields = tuple(fields)
        self._compiled: dict[tuple[Version, frozenset[str]], Show[T]] = {}

    def show(self, thing: T, version: Version = (0, 0), holds: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Return the thing as a JSON object at that version."""
        return self.at(version, holds)(thing)

    def at(self, version: Version = (0, 0), holds: frozenset[str] = frozenset()) -> Show[T]:
        """Return what shows things at that version; of a list, each goes through it."""
        found = self._compiled.get((version, holds))
        if found is None:
            fields = [f for f in self.fields if f.since <= version <= f.until and meant(f.only, holds)]
            found = self._compiled[(version, holds)] = _compiled(fields)
        return found


def _compiled(fields: Sequence[Shown[T]]) -> Show[T]:
    show = _whole(fields)
    sparse = [f.name for f in fields if f.sparse]
    if not sparse:
        return show

    def without(thing: T) -> dict[str, Any]:
        found = show(thing)
        return {name: value for name, value in found.items() if value is not None or name not in sparse}

    return without


def _whole(fields: Sequence[Shown[T]]) -> Show[T]:
    """Return a function that gets all plain attributes in one call, which costs a third of a call for each."""
    computed = [(f.name, f.value) for f in fields if not isinstance(f.value, str | Always)]
    always = {f.name: f.value.value for f in fields if isinstance(f.value, Always)}
    plain = [f.value for f in fields if isinstance(f.value, str)]
    if len(fields) < 2 or not plain:
        return lambda thing: (
            {name: value(thing) for name, value in computed}
            | always
            | {f.name: getattr(thing, f.value) for f in fields if isinstance(f.value, str)}
        )
    names = [f.name for f in fields]
    # What is computed holds its place in the order by some other attribute.
    values = attrgetter(*(f.value if isinstance(f.value, str) else plain[0] for f in fields))

    def show(thing: T) -> dict[str, Any]:
        found = dict(zip(names, values(thing), strict=False))
        found.update(always)
        for name, value in computed:
            found[name] = value(thing)
        return found

    return show
