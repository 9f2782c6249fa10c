"""A noun of an API declared once: its fields, on their way in and out, and what the cloud does for it.

What calls there are, how bodies and replies are wrapped, paged and refused, is the *dialect* of an API's family, which
is the surface's own: nothing here knows a path, an envelope or a status.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Flag, auto
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from floe.api.kit.body import Body, Field
from floe.api.kit.call import Route
from floe.api.kit.policy import Policies
from floe.api.kit.shape import Always, Shape, Shown
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Invalid
from floe.core.listing import Listing
from floe.core.versions import Version

T = TypeVar("T")

Values = dict[str, Any]
"""Of a thing or a part of it, by the wire's names or by the core's."""
Convert = Callable[[Any, str], Any]
"""(value, name of its field) -> what the core knows it as. Raises Invalid."""
VARIES = object()
"""The constant of a field that is not the same for all things."""


def same(value: Any, _name: str) -> Any:
    """Take a value as it is."""
    return value


class Use(Flag):
    """What a client may do with a field besides seeing it."""

    NONE = 0
    CREATE = auto()
    UPDATE = auto()
    WRITE = CREATE | UPDATE
    FILTER = auto()
    SORT = auto()
    LIST = FILTER | SORT
    ALL = WRITE | LIST


class Wire(msgspec.Struct, Generic[T], frozen=True):
    """One field. `convert` reads its values wherever they stand, and `check` those in bodies besides.

    `to` is its name in the core: "" is the same, and with None it is written with what `check` passes, and nothing
    comes of it. Where all things have the same value that is `constant`, and filters are compared with it.
    """

    name: str
    to: str | None = ""
    use: Use = Use.NONE
    convert: Convert = same
    check: Convert = same
    filtered: Convert | None = None
    """How values of filters are read, where that is other than in bodies."""
    shown: Callable[[T], Any] | str | bool = True
    """What is shown of a thing, or where in it that stands; True is the core's field, False is nothing."""
    sparse: bool = False
    """Whether a reply does without it where it is None."""
    required: bool = False
    """Whether a create has to have it; of a field of updates alone, an update."""
    type: Any = Any
    """What its JSON is, on surfaces that have a body decoded by types."""
    only: str | frozenset[str] | None = None
    """Who sees it and may filter by it, by a name that the surface decides on (like `admin`), or by any of several."""
    constant: Any = VARIES
    since: Version = (0, 0)
    until: Version = (9999, 9999)

    @property
    def field(self) -> str:
        """Its name in the core, "" if nothing comes of it."""
        return self.name if self.to == "" else self.to or ""

    def read(self, value: Any) -> Any:
        """Return the value in a body as the core knows it. Raises Invalid."""
        return self.check(self.convert(value, self.name), self.name)

    def read_filter(self, value: str) -> Any:
        """Return a value of a filter as the core knows it; of what may be nothing, the empty text is that."""
        found = (self.filtered or self.convert)(value, self.name)
        return "" if found is None else found


class Fields(Generic[T]):
    """The fields of one kind of thing."""

    def __init__(self, *wires: Wire[T]) -> None:
        self.wires = wires
        self.by_name: Mapping[str, Wire[T]] = {wire.name: wire for wire in wires}
        self.shape: Shape[T] = Shape(
            [Shown(w.name, _shown(w), w.since, w.until, w.only, w.sparse) for w in wires if w.shown is not False]
        )

    def body(self, name: str, use: Use, *, strict: bool = True) -> Body:
        """Return the table of a body with the fields that may be written so; a create alone needs what is required."""
        return Body(
            name,
            [
                Field(w.name, w.type, w.required and (use is not Use.UPDATE or w.use is use), w.since, w.until)
                for w in self.wires
                if use & w.use
            ],
            strict=strict,
        )

    def read(self, sent: Mapping[str, Any], version: Version = (0, 0), use: Use = Use.NONE) -> Values:
        """Return values in a body by the core's names; all of `sent` are known to it. Raises Invalid."""
        found: Values = {}
        known = {wire.name: wire for wire in self.wires if wire.since <= version <= wire.until and use in wire.use}
        for name, value in sent.items():
            wire = known[name]
            read = wire.read(value)
            if wire.field and found.setdefault(wire.field, read) != read:
                raise Invalid(f"'{name}' does not match another attribute that means the same.", reason="malformed")
        return found

    def named(self, use: Use) -> str:
        """Return the names of the fields that may be used so, for whoever used another."""
        return ", ".join(sorted(name for name, wire in self.by_name.items() if use in wire.use))


def constant(name: str, value: Any, use: Use = Use.NONE, *, shown: bool = True, **how: Any) -> Wire[Any]:
    """Return a field that has the same value for all things."""
    return Wire(name, None, use, shown=shown and Always(value), constant=value, **how)


Create = Callable[[Cloud, Context, list[Values]], Awaitable[Sequence[T]]]
"""Makes several things, all of them or none."""
Find = Callable[[Cloud, Context, Listing], Awaitable[Sequence[T]]]
Show = Callable[[Cloud, Context, Any], Awaitable[T]]
Update = Callable[[Cloud, Context, Any, Values, int | None], Awaitable[T]]
Delete = Callable[[Cloud, Context, Any, int | None], Awaitable[None]]
"""What is done with a thing by its id, if it is at the revision that the caller has seen."""
Retag = Callable[[Cloud, Context, str, Callable[[tuple[str, ...]], tuple[str, ...]]], Awaitable[tuple[str, ...]]]
"""Changes a thing's tags by a function of those that it has."""


class Member(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A further call of one thing: the last part of its path, the fields that it takes, and what is done.

    What that gives is the thing as it is then, or with `shown` something else, whose reply that makes of its id and it.
    """

    method: str
    name: str
    takes: Fields[T]
    act: Callable[[Cloud, Context, Any, Values], Awaitable[Any]]
    shown: Callable[[str, Any], Values] | None = None


class Extension(msgspec.Struct, frozen=True):
    """What says that a surface has a noun, where the family lets clouds leave nouns out."""

    alias: str
    name: str
    about: str


class Above(msgspec.Struct, frozen=True):
    """The noun whose parts a noun's things are: its plural, and by which core field a part says of which it is."""

    plural: str
    field: str


class Dialect(Protocol):
    """How an API's family speaks of any noun."""

    def routes(self, resource: Resource[Any]) -> tuple[Route, ...]:
        """Return the calls of a noun."""

    def policies(self, resource: Resource[Any]) -> Policies:
        """Return who may do what with it."""


class Resource(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One kind of thing: its words, its fields, and what `floe.cloud` does for it; without a function, no such call.

    Parameters of a list that are no filter on a field stand in `besides`, each with how its texts are read; what they
    ask for is the listing's `also`. Where things are parts of others (`above`), lists and creates are of the parts of
    one, and a thing is asked for by the pair of that one's id and its own.
    """

    name: str
    plural: str
    dialect: Dialect
    fields: Fields[T]
    find: Find[T]
    show: Show[T]
    create: Create[T] | None = None
    update: Update[T] | None = None
    delete: Delete | None = None
    retag: Retag | None = None
    besides: Mapping[str, Callable[[list[str]], Any]] = msgspec.field(default_factory=dict)
    members: tuple[Member[T], ...] = ()
    extension: Extension | None = None
    above: Above | None = None

    @property
    def routes(self) -> tuple[Route, ...]:
        """The calls of the noun."""
        return self.dialect.routes(self)

    @property
    def policies(self) -> Policies:
        """Who may do what with it."""
        return self.dialect.policies(self)


def _shown(wire: Wire[T]) -> Callable[[T], Any] | str:
    return wire.field if isinstance(wire.shown, bool) else wire.shown
