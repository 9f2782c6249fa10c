"""Every table of a body, looked at for what msgspec cannot bear."""

from __future__ import annotations

import importlib
import pkgutil
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
import pytest
from msgspec import Meta

import floe.api
from floe.api.kit.body import Body, Uuid, either


class _Nested(msgspec.Struct):
    networks: Annotated[str, Meta(pattern="^[0-9]+$")] | Literal["none"]


def _tables() -> Iterator[tuple[str, Body]]:
    for module in pkgutil.walk_packages(floe.api.__path__, "floe.api."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, Body):
                yield f"{module.name}.{name}", value


def _unions(kind: Any, seen: frozenset[Any] = frozenset()) -> Iterator[tuple[Any, ...]]:
    """Give every union within a type, those within the fields of its objects too."""
    if get_origin(kind) in (typing.Union, types.UnionType):
        yield get_args(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in seen:
        for inner in typing.get_type_hints(kind, include_extras=True).values():
            yield from _unions(inner, seen | {kind})
    if get_origin(kind) is not Literal:
        for inner in get_args(kind):
            yield from _unions(inner, seen)


def _lost(members: tuple[Any, ...]) -> list[Any]:
    """Return the literals of a union that msgspec does not take: it holds them to the pattern of the text beside."""
    lost = []
    for member in members:
        for literal in get_args(member) if get_origin(member) is Literal else ():
            try:
                msgspec.convert(literal, typing.Union[members])  # noqa: UP007 -- of a tuple
            except msgspec.ValidationError:
                lost.append(literal)
    return lost


def test_no_field_unites_a_constrained_string_with_a_list() -> None:
    """msgspec 0.22 frees memory twice over such a type."""
    found = []
    for name, table in _tables():
        for field in (*table.fields, *table.siblings):
            for members in _unions(field.type):
                constrained = any(get_origin(m) is Annotated and get_args(m)[0] is str for m in members)
                if constrained and any(get_origin(m) in (list, tuple) for m in members):
                    found.append(f"{name}: {field.name}")
    assert found == []
    assert len(list(_tables())) > 20


def test_no_union_loses_a_half() -> None:
    found, counted = [], 0
    for name, table in _tables():
        for field in (*table.fields, *table.siblings):
            for members in _unions(field.type):
                counted += 1
                texts = [m for m in members if get_origin(m) is Annotated and get_args(m)[0] is str]
                if _lost(members) or len(texts) > 1:
                    found.append(f"{name}: {field.name}")
    assert found == []
    assert counted > 20


def test_a_lost_half_would_be_seen() -> None:
    assert _lost(get_args(Uuid | Literal[""])) == [""]
    assert _lost(get_args(int | Annotated[str, Meta(min_length=1)] | Literal["", "all"])) == [""]
    assert [_lost(members) for members in _unions(list[_Nested] | None)] == [[], ["none"]]
    assert _lost(get_args(int | Literal["", "-1"])) == []


@pytest.mark.parametrize("text", ["", "auto", "4d8858e3-0000-4000-8000-000000000001"])
def test_a_text_with_a_pattern_takes_others_as_well(text: str) -> None:
    kind = either(Uuid, "", "auto")
    assert msgspec.convert(text, kind) == text
    for other in (" ", "autos", "4d8858e3", text + "\n"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(other, kind)


def test_every_table_can_be_compiled_at_every_version_it_knows() -> None:
    for name, table in _tables():
        versions = {field.since for field in (*table.fields, *table.siblings)} | {(2, 96)}
        for version in versions:
            assert table._decoder(version) is not None, name
