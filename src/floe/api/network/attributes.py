"""A thing's attributes as one table: who may write, see, filter and sort by each, and how its values are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Flag, auto
from typing import Any, Generic, TypeVar

from floe.api.kit.shape import Shape, Shown
from floe.api.network.converters import Convert, malformed, name_text, number, same, text

T = TypeVar("T")
Fields = dict[str, Any]
VARIES = object()
"""The constant of an attribute that is not the same for all things."""


class Use(Flag):
    """What a client may do with an attribute besides seeing it."""

    NONE = 0
    CREATE = auto()
    UPDATE = auto()
    WRITE = CREATE | UPDATE
    FILTER = auto()
    SORT = auto()
    LIST = FILTER | SORT
    ALL = WRITE | LIST


@dataclass(frozen=True, slots=True)
class Attribute(Generic[T]):
    """One attribute. `convert` reads its values wherever they stand, and `check` those in bodies besides.

    `field` is its name in the core; without one it is written with what `check` passes, and nothing comes of it. Where
    all things have the same value that is `constant`, and filters are compared with it.
    """

    name: str
    field: str = ""
    shown: Callable[[T], Any] | None = None
    use: Use = Use.NONE
    convert: Convert = same
    check: Convert = same
    filtered: Convert | None = None
    """How values of filters are read, where that is other than in bodies."""
    required: bool = False
    only: str | None = None
    """Who sees it and may filter by it, by a name that the surface decides on (like `admin`)."""
    constant: Any = VARIES

    def read(self, value: Any) -> Any:
        """Return the value in a body as the core knows it. Raises Invalid."""
        return self.check(self.convert(value, self.name), self.name)

    def read_filter(self, value: str) -> Any:
        """Return a value of a filter as the core knows it; of what may be nothing, the empty text is that."""
        found = (self.filtered or self.convert)(value, self.name)
        return "" if found is None else found


class Attributes(Generic[T]):
    """The attributes of one kind of thing."""

    def __init__(self, *attributes: Attribute[T]) -> None:
        self.by_name: Mapping[str, Attribute[T]] = {each.name: each for each in attributes}
        self.shape: Shape[T] = Shape([Shown(e.name, e.shown, only=e.only) for e in attributes if e.shown is not None])

    def read_new(self, sent: Mapping[str, Any]) -> Fields:
        """Return what a create asks for, by the core's names. Raises Invalid."""
        self._check_known(sent)
        for name, attribute in self.by_name.items():
            if attribute.required and name not in sent:
                raise malformed(f"Failed to parse request. Required attribute '{name}' not specified.")
            if Use.CREATE not in attribute.use and name in sent:
                raise malformed(f"Attribute '{name}' not allowed in POST.")
        return self._read(sent)

    def read_change(self, sent: Mapping[str, Any]) -> Fields:
        """Return what an update asks for, by the core's names. Raises Invalid."""
        self._check_known(sent)
        for name in sent:
            if Use.UPDATE not in self.by_name[name].use:
                raise malformed(f"Cannot update read-only attribute {name}.")
        return self._read(sent)

    def _check_known(self, sent: Mapping[str, Any]) -> None:
        unknown = sorted(sent.keys() - self.by_name.keys())
        if unknown:
            shown = ", ".join(unknown)
            raise malformed(f"Unrecognized attribute(s) '{shown if len(shown) <= 200 else shown[:200] + '...'}'.")

    def _read(self, sent: Mapping[str, Any]) -> Fields:
        found: Fields = {}
        for name, value in sent.items():
            attribute = self.by_name[name]
            read = attribute.read(value)
            if attribute.field and found.setdefault(attribute.field, read) != read:
                raise malformed(f"'{name}' does not match another attribute that means the same.")
        return found


ID: Attribute[Any] = Attribute("id", "id", lambda thing: thing.id, Use.LIST)
NAME: Attribute[Any] = Attribute("name", "name", lambda thing: thing.name, Use.ALL, check=name_text)
DESCRIPTION: Attribute[Any] = Attribute(
    "description", "description", lambda thing: thing.description, Use.WRITE | Use.FILTER, check=text(255)
)
OWNER: tuple[Attribute[Any], ...] = tuple(
    Attribute(name, "project_id", lambda thing: thing.project_id, Use.CREATE | Use.LIST, check=text(64))
    for name in ("project_id", "tenant_id")
)
"""Whose the thing is; both mean the same."""
REVISED: tuple[Attribute[Any], ...] = (
    Attribute("created_at", shown=lambda thing: _moment(thing.created_at)),
    Attribute("updated_at", shown=lambda thing: _moment(thing.updated_at)),
    Attribute("revision_number", "revision", lambda thing: thing.revision, Use.FILTER, filtered=number),
)


def fixed(
    name: str,
    value: Any,
    use: Use = Use.NONE,
    *,
    convert: Convert = same,
    check: Convert = same,
    only: str | None = None,
) -> Attribute[Any]:
    """Return an attribute that has the same value for all things."""
    return Attribute(name, "", lambda _: value, use, convert, check, only=only, constant=value)


def _moment(value: datetime) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")
