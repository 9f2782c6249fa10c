"""Every table of a body, looked at for what msgspec cannot bear."""

from __future__ import annotations

import importlib
import pkgutil
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

import floe.api
from floe.api.kit.body import Body


def _tables() -> Iterator[tuple[str, Body]]:
    for module in pkgutil.walk_packages(floe.api.__path__, "floe.api."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, Body):
                yield f"{module.name}.{name}", value


def _unions(kind: Any) -> Iterator[tuple[Any, ...]]:
    if get_origin(kind) in (typing.Union, types.UnionType):
        yield get_args(kind)
    for inner in get_args(kind):
        yield from _unions(inner)


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


def test_every_table_can_be_compiled_at_every_version_it_knows() -> None:
    for name, table in _tables():
        versions = {field.since for field in (*table.fields, *table.siblings)} | {(2, 96)}
        for version in versions:
            assert table._decoder(version) is not None, name
