"""Reports of hosts that were found to say what the rows say: the same one again, over the same rows, says so too."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

import msgspec

from floe.core.messages import HostUp
from floe.store.host_stamps import Stamp

_QUIET = timedelta(seconds=15)
"""Longer than a write waits for a locked database."""
_BYTES = 16
_ENCODER = msgspec.msgpack.Encoder()


class Agreements:
    """What was compared, by host, in a few bytes each.

    A server may change twice at one moment of a clock, and its metadata is told apart by moments alone. So nothing is
    kept while a second change at the moment of the last one may still be on its way.
    """

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}
        """What was said, and over which rows."""

    def says_again(self, event: HostUp) -> bool:
        """Whether the same report was found in order over whatever rows: it may wait until they are looked at."""
        return self._kept.get(event.host, b"")[:_BYTES] == _said(event)

    def holds(self, event: HostUp, stamp: Stamp) -> bool:
        """Whether the same report was found in order over the same rows."""
        kept = self._kept.get(event.host)
        return kept is not None and kept[_BYTES:] == stamp.digest and kept[:_BYTES] == _said(event)

    def note(self, event: HostUp, stamp: Stamp, now: datetime) -> None:
        """Keep that a report is in order; `stamp` was made of the rows before they were compared with it."""
        if stamp.changed_at is None or now - stamp.changed_at >= _QUIET:
            self._kept[event.host] = _said(event) + stamp.digest

    def drop(self, host: str) -> None:
        """Have the next report of a host compared, whatever it says."""
        self._kept.pop(host, None)


def _said(event: HostUp) -> bytes:
    return hashlib.blake2b(_ENCODER.encode(event), digest_size=_BYTES).digest()
