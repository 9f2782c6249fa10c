"""Replies as bytes: lists are made ready and written piece by piece, and none is larger than a bound.

A list stands in a body as a generator of its things: `{"servers": (view(call, each) for each in found)}`. Making a
thousand things ready takes longer than all else of a request; so it happens here, with room for others in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from floe.cloud.turns import PIECE, Turns
from floe.core.errors import TooLarge

MOST_BYTES = 8 << 20
"""Bytes of a JSON reply at most. A list that would be larger ends early and links to the rest, or is refused."""

More = Callable[[int], Mapping[str, Any]]
"""Given how many things of the list were written: what else stands in the reply, its links."""

_ENCODER = msgspec.json.Encoder()


class Members(msgspec.Struct, frozen=True):
    """An object with many members, each a (name, value); written piece by piece as a list is."""

    pairs: Iterator[tuple[str, Any]]


_WHOLE = frozenset({dict, list, tuple, str, int, float, bool, type(None)})


async def encoded(body: Any, more: More | None, turns: Turns) -> bytes:
    """Return a body as JSON. At most one list of it may be cut, where `more` links to the rest. Raises TooLarge."""
    if not isinstance(body, dict) or not any(map(_comes_in_pieces, body.values())):
        content = _ENCODER.encode(body if more is None else {**body, **more(0)})
        if len(content) > MOST_BYTES:
            raise _too_large()
        return content
    written = bytearray()
    taken = 0
    for name, value in body.items():
        _begin(written, name)
        if isinstance(value, Members):
            await _members(written, value, turns)
        elif _is_iterator(value):
            taken = await _list(written, value, turns, cut=more is not None)
        else:
            written += _ENCODER.encode(value)
    for name, value in (more(taken) if more is not None else {}).items():
        _begin(written, name)
        written += _ENCODER.encode(value)
    written += b"}"
    return bytes(written)


def _comes_in_pieces(value: Any) -> bool:
    """Say whether it is written piece by piece; of most values it is known by their type that they are not."""
    return type(value) not in _WHOLE and (isinstance(value, Members) or _is_iterator(value))


def _is_iterator(value: Any) -> bool:
    """Say so by what Python asks of one: to ask its abstract class takes longer."""
    return hasattr(type(value), "__next__")


def _begin(written: bytearray, name: str) -> None:
    written += b"," if written else b"{"
    written += _ENCODER.encode(name)
    written += b":"


async def _list(written: bytearray, things: Iterator[Any], turns: Turns, *, cut: bool) -> int:
    """Write a list and return how many things it has."""
    taken = 0
    written += b"["
    piece = list(islice(things, PIECE))
    while piece:
        before = len(written)
        written += b"," if taken else b""
        _ENCODER.encode_into(piece, written, -1)
        # The piece's own brackets: the first is none, or the comma, of the whole list.
        del written[before + (taken > 0)], written[-1]
        if len(written) > MOST_BYTES:
            del written[before:]
            taken += _as_many_as_fit(written, piece, taken, cut=cut)
            break
        taken += len(piece)
        piece = list(islice(things, 1))
        if piece:  # only what has more to come makes room for others
            await turns.turn()
            piece += islice(things, PIECE - 1)
    written += b"]"
    return taken


def _as_many_as_fit(written: bytearray, piece: Sequence[Any], taken: int, *, cut: bool) -> int:
    """Write those of the last things of a list for which there is room, and return how many."""
    for index, thing in enumerate(piece):
        before = len(written)
        written += b"," if taken + index else b""
        _ENCODER.encode_into(thing, written, -1)
        if len(written) > MOST_BYTES:
            if not cut or not taken + index:
                raise _too_large()
            del written[before:]
            return index
    return len(piece)


async def _members(written: bytearray, members: Members, turns: Turns) -> None:
    first = True
    written += b"{"
    async for name, value in turns.each(members.pairs):
        if not first:
            written += b","
        first = False
        written += _ENCODER.encode(name) + b":" + _ENCODER.encode(value)
        if len(written) > MOST_BYTES:
            raise _too_large()
    written += b"}"


def _too_large() -> TooLarge:
    return TooLarge(
        f"The reply would be larger than {MOST_BYTES} bytes, which is the most there is; ask for a part of it: with a "
        "limit, filters, or one thing at a time."
    )
