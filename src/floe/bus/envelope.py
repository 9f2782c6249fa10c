"""What is written around a message on its way between machines: pure.

version  of this table; a later one may have more rows, which are not read
by       who sent it: one connection's worth of a process
number   of the sender's messages: a message that came twice is taken once
run      of a host's agent, which a clock is that of; in commands, whom it is for
clock    what the host's clock said when it was sent
until    when, by the host's clock, whoever asked will have given up: later it is not carried out
word     what it says without a body: see `Word`
part     which part of how many; the rest is alike in all of them
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

VERSION = 1


class Word(StrEnum):
    """What is said by the bus itself."""

    NONE = ""
    AGAIN = "again"
    """A command was not for this run of the host, which says which it is: it is to be asked again."""
    LATE = "late"
    """A command came when whoever asked had given up."""
    HERE = "here"
    """A host takes commands from now on; answers to those it was sent before may be lost."""
    LEAVES = "leaves"
    """A host takes no more commands."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message, or a part of it."""

    version: int = msgspec.field(name="v", default=0)
    by: str = ""
    number: int = msgspec.field(name="n", default=0)
    run: str = ""
    clock: float = 0.0
    until: float = 0.0
    word: str = ""
    part: tuple[int, int] = (0, 1)
    body: bytes = b""


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Envelope)
OVERHEAD = 1024
"""Bytes that everything but the body takes at most: names of senders are bounded."""


def frames(envelope: Envelope, most: int) -> Iterator[bytes]:
    """Give an envelope as bytes, in parts of at most so many each."""
    room = max(most - OVERHEAD, 1)
    if len(envelope.body) <= room:
        yield _ENCODER.encode(envelope)
        return
    starts = range(0, len(envelope.body), room)
    for index, start in enumerate(starts):
        part = msgspec.structs.replace(envelope, part=(index, len(starts)), body=envelope.body[start : start + room])
        yield _ENCODER.encode(part)


def read(data: bytes) -> Envelope:
    """Return the envelope, or the part of one. Raises ValueError for bytes that are none."""
    try:
        return _DECODER.decode(data)
    except msgspec.DecodeError as error:
        raise ValueError(f"not an envelope: {error}") from error
