"""A sample of each kind of message, with something in every field; made from the types, so that none is forgotten."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, get_args, get_origin

import msgspec

from floe.core.messages import Message

KINDS: dict[str, type] = {kind.__name__: kind for kind in get_args(Message)}


def sample(kind: type) -> Any:
    hints = typing.get_type_hints(kind)
    names = [
        field.name
        for field in (dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else msgspec.structs.fields(kind))
    ]
    return kind(**{name: _value(hints[name], name) for name in names})


def _value(hint: Any, name: str) -> Any:
    if get_origin(hint) is typing.Annotated:
        return _value(get_args(hint)[0], name)
    arguments = get_args(hint)
    if get_origin(hint) in {typing.Union, types.UnionType}:
        return _value(next(each for each in arguments if each is not type(None)), name)
    if get_origin(hint) is tuple:
        inner = arguments[0]
        if arguments[-1] is not Ellipsis:
            return tuple(_value(each, name) for each in arguments)
        if get_origin(inner) in {typing.Union, types.UnionType}:
            return tuple(_value(each, name) for each in get_args(inner))  # one of each
        return (_value(inner, name),)
    if get_origin(hint) in {dict, Mapping}:
        return {_value(arguments[0], "key"): _value(arguments[1], name)}
    if get_origin(hint) in {list, set, frozenset}:
        return get_origin(hint)([_value(arguments[0], name)])
    if get_origin(hint) is typing.Literal:
        return arguments[-1]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return list(hint)[-1]
    if isinstance(hint, typing.NewType):
        return _value(hint.__supertype__, name)
    if hint is Any:
        return f"any {name}"
    if hint is datetime:
        return datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    plain = {str: f"the {name}", int: 7, float: 1.5, bool: True, bytes: b"\x00\xff"}
    if hint not in plain and not dataclasses.is_dataclass(hint) and not issubclass(hint, msgspec.Struct):
        raise TypeError(f"no sample of {hint!r} is known, for {name}")
    return plain[hint] if hint in plain else sample(hint)
