"""A page of things is what each of them is alone, whatever is asked for of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from floe.api.kit.resource import Fields, Wire, constant
from floe.api.kit.shape import Of


class _Thing(msgspec.Struct, frozen=True):
    ident: str
    size: int = 0
    note: str | None = None
    parts: tuple[str, ...] = ()


FIELDS: Fields[_Thing] = Fields(
    Wire("id", "ident"),
    constant("kind:of", None),
    Wire("size", until=(1, 4)),
    Wire("size", shown=lambda thing: thing.size or "", since=(1, 5)),
    Wire("note", sparse=True),
    Wire("twice", shown=lambda thing: [*thing.parts, *thing.parts], only="admin"),
    Wire("secret", shown=False),
    Wire("many", shown=Of("parts", len)),
    Wire("shouted", shown=Of("note", lambda note: note and note.upper()), sparse=True),
)
THINGS = [_Thing("a"), _Thing("b", 3, "said", ("x", "y")), _Thing("c", 0, None, ("z",))]


def _decoded(things: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(list(things)))


NAMES = [frozenset[str](), *map(frozenset, (["id"], ["note"], ["twice", "size"], ["many", "shouted"], ["no such"]))]


@pytest.mark.parametrize("version", [(1, 4), (1, 5)])
@pytest.mark.parametrize("holds", [frozenset[str](), frozenset({"admin"})])
@pytest.mark.parametrize("names", NAMES)
def test_a_page_has_of_each_thing_what_it_shows_alone(
    version: tuple[int, int], holds: frozenset[str], names: frozenset[str]
) -> None:
    alone = [FIELDS.shape.show(thing, version, holds) for thing in THINGS]
    asked = [{name: value for name, value in thing.items() if not names or name in names} for thing in alone]
    found = _decoded(FIELDS.shape.page(THINGS, version, holds, names=names))
    assert found == asked
    assert [list(thing) for thing in found] == [list(thing) for thing in asked]


def test_a_page_of_nothing_is_empty_and_one_with_links_has_them_last() -> None:
    assert _decoded(FIELDS.shape.page([])) == []
    linked = _decoded(FIELDS.shape.page(THINGS, (1, 5), link=("links", lambda thing: [thing.ident])))
    assert [(list(thing)[-1], thing["links"]) for thing in linked] == [
        ("links", ["a"]),
        ("links", ["b"]),
        ("links", ["c"]),
    ]


def test_things_are_made_ready_as_they_are_asked_for() -> None:
    made = []
    fields: Fields[_Thing] = Fields(Wire("id", shown=lambda thing: made.append(thing.ident) or thing.ident))
    page = fields.shape.page(THINGS)
    next(page)
    assert made == ["a"]


def test_which_fields_are_asked_for_is_up_to_clients_and_only_so_many_ways_are_kept() -> None:
    for number in range(500):
        list(FIELDS.shape.page(THINGS, names=frozenset({f"unknown-{number}"})))
    assert FIELDS.shape.ways_kept() <= 64
