"""Bytes that go out whole or in part, to whoever still listens."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from floe.api.kit.call import Call

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_LOOK_EVERY = 8


async def while_listening(call: Call, data: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pass data on until the client has gone: sending to nobody raises no error, it only costs."""
    count = 0
    async for chunk in data:
        yield chunk
        count += 1
        if count % _LOOK_EVERY == 0 and await call.request.is_disconnected():
            return


def one_range(text: str, size: int) -> tuple[int, int] | None:
    """Return (start, end) of one range of bytes (RFC 9110, 14.1.2), None if it cannot be satisfied."""
    found = _RANGE.fullmatch(text.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        start, end = max(0, size - int(found[2])), size
    else:
        start = int(found[1])
        end = min(int(found[2]) + 1, size) if found[2] else size
    return (start, end) if start < end else None
