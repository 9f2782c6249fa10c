"""What lists of this surface are asked for: filters with Keystone's operators, order, and a page.

`name=web` is exact; `name__contains`, `__startswith` and `__endswith` compare parts, with an i before the operator
(`name__icontains`) without case. What comes after them is taken as it is: there are no wildcards. Every filter given
must fit, also one given twice. As in Keystone, parameters and operators that are not known change nothing, but where
a list says that it takes no others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from floe.api.kit.call import Call, Reply
from floe.api.kit.paging import MAX_LIMIT, next_link
from floe.api.kit.query import items
from floe.api.kit.values import field_fault, moment, whole
from floe.core.errors import Invalid, NotFound
from floe.core.names import fold

Object = Mapping[str, Any]
Test = Callable[[str], Callable[[Any], bool]]
"""The text of a filter -> whether a value fits. Raises Invalid for a text that no value could have."""

_TRUE = frozenset({"True", "TRUE", "true", "", "1", "y", "Y", "on", "ON", "yes"})
_FALSE = frozenset({"False", "FALSE", "false", "0", "n", "N", "off", "OFF", "no"})
_IDENT = re.compile(r"[a-zA-Z0-9-]{1,64}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}|default")
_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "contains": lambda value, part: part in value,
    "startswith": lambda value, part: value.startswith(part),
    "endswith": lambda value, part: value.endswith(part),
}
_WHEN = ("lt", "lte", "gt", "gte", "eq", "neq")


class Filter(msgspec.Struct, frozen=True):
    """One attribute that a list can be filtered by."""

    name: str
    test: Test
    text: bool = True
    """Whether the operators for parts of a text apply to it."""
    of: str = ""
    """The attribute that it looks at, where that has another name."""


def text(name: str) -> Filter:
    """Filter by any text."""
    return Filter(name, lambda wanted: lambda value: value == wanted)


def ident(
    name: str, *, shape: re.Pattern[str] = _IDENT, like: str = "letters, digits and hyphens, 64 at most"
) -> Filter:
    """Filter by an id."""

    def test(wanted: str) -> Callable[[Any], bool]:
        if not shape.fullmatch(wanted):
            raise Invalid(field_fault(name, f"{wanted[:80]!r} is no id: it must be {like}"))
        return lambda value: value == wanted

    return Filter(name, test)


def region(name: str) -> Filter:
    """Filter by the id of a region, which may be any text."""
    return ident(name, shape=re.compile(".{1,255}", re.DOTALL), like="of 1 to 255 characters")


def uuid(name: str) -> Filter:
    """Filter by an id that is a UUID, or the default domain's."""
    return ident(name, shape=_UUID, like="a UUID, or 'default'")


def called(longest: int) -> Filter:
    """Filter by name, which is compared without case."""

    def test(wanted: str) -> Callable[[Any], bool]:
        if not wanted.strip() or len(wanted) > longest:
            raise Invalid(field_fault("name", f"{wanted[:80]!r} is no name of 1 to {longest} characters"))
        folded = fold(wanted)
        return lambda value: isinstance(value, str) and fold(value) == folded

    return Filter("name", test)


def among(name: str, *choices: str) -> Filter:
    """Filter by one of some words."""

    def test(wanted: str) -> Callable[[Any], bool]:
        if wanted not in choices:
            raise Invalid(field_fault(name, f"{wanted[:80]!r} is not one of {', '.join(choices)}"))
        return lambda value: value == wanted

    return Filter(name, test)


def flag(name: str) -> Filter:
    """Filter by what is true or false; a bare `?name` is true."""

    def test(wanted: str) -> Callable[[Any], bool]:
        if wanted not in _TRUE | _FALSE:
            raise Invalid(field_fault(name, f"{wanted[:80]!r} is neither true nor false"))
        return lambda value: value is (wanted in _TRUE)

    return Filter(name, test, text=False)


def never(name: str) -> Filter:
    """Filter by an attribute of federated users, of which there are none."""
    return Filter(name, lambda _: lambda _value: False)


def expiry(name: str) -> Filter:
    """Filter by when a password expires, which none does: `lt:2030-01-31T12:00:00Z`."""

    def test(wanted: str) -> Callable[[Any], bool]:
        operator, _, when = wanted.partition(":")
        moment(when if operator in _WHEN else wanted, name)
        return lambda _value: False

    return Filter(name, test, text=False)


def tags(name: str, fits: Callable[[set[str], set[str]], bool]) -> Filter:
    """Filter by tags that are asked for, separated by commas: `fits(asked, there)`."""

    def test(wanted: str) -> Callable[[Any], bool]:
        asked = set(items(wanted, name))
        return lambda there: fits(asked, set(there))

    return Filter(name, test, text=False, of="tags")


class Filters:
    """The filters that one list takes. `sorts` lets `sort_key` and `sort_dir` order it; `only` refuses all else."""

    def __init__(self, *filters: Filter, sorts: bool = False, only: bool = False) -> None:
        self._filters = {one.name: one for one in filters}
        self._sorts = sorts
        self._only = only

    async def listed(self, call: Call, key: str, path: str, things: Iterable[Object]) -> Reply:
        """Answer with what fits, in the order and the page asked for. Raises Invalid, NotFound for the marker.

        All things are made ready before they are compared, so they come from a generator, and in pieces.
        """
        tests = [test for name, wanted in call.query if (test := self._test(name, wanted)) is not None]
        text, marker = call.one("limit"), call.one("marker")
        limit = whole(text, "limit", high=MAX_LIMIT, cut=True) if text else MAX_LIMIT
        each = call.cloud.turns.each
        objects = self._ordered(call, [item async for item in each(things)])
        if marker:
            ids = [item["id"] for item in objects]
            if marker not in ids:
                raise NotFound("marker", marker, message=f"Marker {marker[:80]!r} is the id of nothing in this list.")
            objects = objects[ids.index(marker) + 1 :]
        found = [item async for item in each(objects) if all(test(item) for test in tests)]
        links: dict[str, str | None] = {"next": None, "self": call.url(path), "previous": None}

        def more(taken: int) -> dict[str, Any]:
            if taken == len(found):
                return {"links": links}
            if not taken:
                return {"links": links, "truncated": True}
            # Keystone's place for it is in `links`, where openstacksdk overlooks it; it reads the second.
            following = next_link(call, path, found[taken - 1]["id"])
            return {"links": {**links, "next": following}, "next": following, "truncated": True}

        return Reply(200, {key: iter(found[:limit])}, more=more)

    def _test(self, given: str, wanted: str) -> Callable[[Object], bool] | None:
        name, part, operator = given.partition("__")
        known = self._filters.get(name)
        if self._only and (known is None or part):
            raise Invalid(f"Query parameter {given[:80]!r} is not known here; known are: {', '.join(self._filters)}.")
        if known is None:
            return None
        if not part:
            fits, attribute = known.test(wanted), known.of or name
            return lambda item: fits(item.get(attribute))
        compare = _OPERATORS.get(operator.removeprefix("i"))
        if compare is None:
            return None
        if not known.text:
            raise Invalid(f"Query parameter {given[:80]!r}: {name} is no text that could be compared in part.")
        return _part_test(name, wanted, compare, fold if operator.startswith("i") else str)

    def _ordered(self, call: Call, objects: Sequence[Object]) -> list[Object]:
        """Sort by the key asked for; as in Keystone, one that the things do not have sorts nothing."""
        direction, sort_key = call.one("sort_dir") or "asc", call.one("sort_key")
        if self._sorts and direction not in {"asc", "desc"}:
            raise Invalid(field_fault("sort_dir", f"{direction[:80]!r} is neither asc nor desc"))
        if not self._sorts or not sort_key or not all(isinstance(item.get(sort_key), str) for item in objects):
            return list(objects)
        return sorted(objects, key=lambda item: str(item[sort_key]), reverse=direction == "desc")


def _part_test(
    name: str, wanted: str, compare: Callable[[str, str], bool], prepare: Callable[[str], str]
) -> Callable[[Object], bool]:
    part = prepare(wanted)

    def test(item: Object) -> bool:
        value = item.get(name)
        return isinstance(value, str) and compare(prepare(value), part)

    return test
