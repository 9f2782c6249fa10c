"""Messages that are too large for one frame, put together again: pure, and bounded in number, bytes and time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from floe.bus.envelope import Envelope

MOST_BYTES = 16 * 1024 * 1024
"""Of one message. A host's whole network with ten thousand ports is a third of it."""
MOST_PARTS = 4096
MOST_UNFINISHED = 8
"""Messages of one source that are not whole yet."""
_MOST_BYTES_ALL = 8 * MOST_BYTES
SECONDS = 10.0
"""For which the parts that are missing are waited for."""

_Key: TypeAlias = tuple[str, str, int]


@dataclass(slots=True)
class _Unfinished:
    since: float
    count: int
    parts: dict[int, bytes] = field(default_factory=dict)
    bytes: int = 0


class Parts:
    """Parts that came of messages that are not whole. `dropped` is called for each message that is given up."""

    def __init__(self, now: Callable[[], float], dropped: Callable[[], None]) -> None:
        self._now, self._dropped = now, dropped
        self._messages: OrderedDict[_Key, _Unfinished] = OrderedDict()
        self._sources: dict[str, list[_Key]] = {}
        self.bytes = 0
        """How much is kept of them."""

    def __len__(self) -> int:
        """Return how many messages are not whole."""
        return len(self._messages)

    def put(self, source: str, part: Envelope) -> Envelope | None:
        """Take a part that came from a source; return the message if that is whole now."""
        index, count = part.part
        if count == 1:
            return part
        self._forget_old()
        if not (1 < count <= MOST_PARTS and 0 <= index < count and part.body):
            self._dropped()
            return None
        key = (source, part.by, part.number)
        message = self._messages.get(key) or self._begin(key, count)
        if count != message.count or index in message.parts:
            return None
        message.parts[index] = part.body
        message.bytes += len(part.body)
        self.bytes += len(part.body)
        if message.bytes > MOST_BYTES:
            self._drop(key)
        elif len(message.parts) == count:
            self._take(key)
            body = b"".join(message.parts[number] for number in range(count))
            return msgspec.structs.replace(part, part=(0, 1), body=body)
        self._make_room(source)
        return None

    def _begin(self, key: _Key, count: int) -> _Unfinished:
        message = self._messages[key] = _Unfinished(self._now(), count)
        self._sources.setdefault(key[0], []).append(key)
        return message

    def _forget_old(self) -> None:
        oldest = self._now() - SECONDS
        while self._messages:
            key = next(iter(self._messages))
            if self._messages[key].since > oldest:
                return
            self._drop(key)

    def _make_room(self, source: str) -> None:
        """Give up the oldest of a source that begins too many, then the oldest of all."""
        while (own := self._sources.get(source)) and (
            len(own) > MOST_UNFINISHED or sum(self._messages[key].bytes for key in own) > 2 * MOST_BYTES
        ):
            self._drop(own[0])
        while self.bytes > _MOST_BYTES_ALL:
            self._drop(next(iter(self._messages)))

    def _drop(self, key: _Key) -> None:
        self._take(key)
        self._dropped()

    def _take(self, key: _Key) -> None:
        self.bytes -= self._messages.pop(key).bytes
        own = self._sources[key[0]]
        own.remove(key)
        if not own:
            del self._sources[key[0]]
