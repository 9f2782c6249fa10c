"""Replies as tables: the fields of a thing on the wire, each with the microversions that show it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from itertools import repeat
from operator import attrgetter
from typing import Any, Generic, TypeVar

import msgspec

from floe.core.versions import Version

T = TypeVar("T")

_KEPT = 64
"""How many ways of showing a page are kept: which fields of things are asked for is up to clients."""


class Always(msgspec.Struct, frozen=True):
    """The value of a field that is the same for all things."""

    value: Any

    def __call__(self, _thing: object) -> Any:
        """Return the value, whatever the thing."""
        return self.value


class Of(msgspec.Struct, frozen=True):
    """The value of a field that follows from one attribute of the thing alone: how a list of many gets it soonest."""

    attribute: str
    make: Callable[[Any], Any]

    def __call__(self, thing: object) -> Any:
        """Return the value for one thing."""
        return self.make(getattr(thing, self.attribute))


class Shown(msgspec.Struct, Generic[T], frozen=True):
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
Link = tuple[str, Callable[[T], Any]]
"""A field that a thing has on some surface besides its own: its name, and what makes its value of the thing."""
Page = Callable[[Sequence[T]], Iterator[Any]]
"""Makes of things what is encoded as their JSON objects, each as it is asked for."""


class Shape(Generic[T]):
    """A table of shown fields, compiled once per microversion and set of predicates that hold."""

    def __init__(self, fields: Sequence[Shown[T]]) -> None:
        self.fields = tuple(fields)
        self._compiled: dict[tuple[Version, frozenset[str]], Show[T]] = {}
        self._pages = lru_cache(_KEPT)(self._columns)

    def show(self, thing: T, version: Version = (0, 0), holds: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Return the thing as a JSON object at that version."""
        return self.at(version, holds)(thing)

    def at(self, version: Version = (0, 0), holds: frozenset[str] = frozenset()) -> Show[T]:
        """Return what shows things at that version; of a list, each goes through it."""
        found = self._compiled.get((version, holds))
        if found is None:
            found = self._compiled[(version, holds)] = _compiled(self._shown(version, holds))
        return found

    def page(
        self,
        things: Sequence[T],
        version: Version = (0, 0),
        holds: frozenset[str] = frozenset(),
        *,
        names: frozenset[str] = frozenset(),
        link: Link[T] | None = None,
    ) -> Iterator[Any]:
        """Return the things as `show` makes them, ready to be encoded; with `names`, no other fields.

        Of each field all values are got in turn, without a call for each thing where the field is an attribute, and
        the object is a Struct that was made for these fields: a third of what as many dicts cost.
        """
        kind, columns = self._pages(version, holds, names, link and link[0])
        values = [column(things) for column in columns]
        return map(kind, *values) if link is None else map(kind, *values, map(link[1], things))

    def ways_kept(self) -> int:
        """Return for how many ways of showing a page there is a Struct."""
        return self._pages.cache_info().currsize

    def _shown(self, version: Version, holds: frozenset[str]) -> list[Shown[T]]:
        return [f for f in self.fields if f.since <= version <= f.until and meant(f.only, holds)]

    def _columns(
        self, version: Version, holds: frozenset[str], names: frozenset[str], link: str | None
    ) -> tuple[Callable[..., Any], list[Page[T]]]:
        fields = {f.name: f for f in self._shown(version, holds) if not names or f.name in names}
        if not fields and link is None:
            return (lambda _nothing: {}), [lambda things: repeat((), len(things))]
        return _struct([*fields, *([] if link is None else [link])]), [_column(f) for f in fields.values()]


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


def _struct(names: Sequence[str]) -> Callable[..., Any]:
    """Return what makes an object of values in the order of these names."""
    keys = [f"field_{at}" for at, _ in enumerate(names)]
    return msgspec.defstruct(
        "Shown", [(key, Any) for key in keys], rename=dict(zip(keys, names, strict=True)), frozen=True, gc=False
    )


def _column(field: Shown[T]) -> Page[T]:
    """Return what gets the values of a field, of things one by one."""
    if isinstance(field.value, Always):
        value = field.value.value
        return lambda things: repeat(value, len(things))
    get = attrgetter(field.value) if isinstance(field.value, str) else field.value
    if isinstance(field.value, Of) and not field.sparse:
        source, make = attrgetter(field.value.attribute), field.value.make
        return lambda things: map(make, map(source, things))
    if not field.sparse:
        return lambda things: map(get, things)

    def present(thing: T) -> Any:
        value = get(thing)
        return msgspec.UNSET if value is None else value

    return lambda things: map(present, things)
