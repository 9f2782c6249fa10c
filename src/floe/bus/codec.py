"""Messages as bytes: msgpack, an array of the message's name and its fields."""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from floe.core.messages import Message

_TYPES: dict[str, type] = {kind.__name__: kind for kind in get_args(Message)}
_DECODERS: dict[str, msgspec.msgpack.Decoder[Any]] = {
    name: msgspec.msgpack.Decoder(kind) for name, kind in _TYPES.items()
}
_ENVELOPE = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw])
_ENCODER = msgspec.msgpack.Encoder()


def encode(message: Message) -> bytes:
    """Return the message as bytes. Raises TypeError for a value that cannot travel."""
    return _ENCODER.encode((type(message).__name__, message))


def decode(data: bytes) -> Message:
    """Return the message that `encode` wrote, or that another release did: fields that are not known are passed over.

    Raises ValueError for a message of a kind that is not known here, and for bytes that are none.
    """
    try:
        name, body = _ENVELOPE.decode(data)
    except msgspec.DecodeError as error:
        raise ValueError(f"not a message: {error}") from error
    decoder = _DECODERS.get(name)
    if decoder is None:
        raise ValueError(f"{name[:80]!r} is no kind of message")
    try:
        message: Message = decoder.decode(body)
    except msgspec.DecodeError as error:
        raise ValueError(f"not a {name}: {error}") from error
    return message
