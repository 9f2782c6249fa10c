"""What a guest posts for its users to read: the password that it made, most often encrypted with their key.

Host and row each have a password, or none, and a *turn*: how often that changed. A turn is odd where there is a
password, which only the guest posts, and even where there is none, since only its users clear it: so whoever knows of
a later turn knows of all before it, and what comes late, twice or out of order is told by its number.
"""

from __future__ import annotations

import msgspec

MOST_BYTES = 1020
"""As in Nova, which keeps it in four parts of 255."""

_BELIEVABLE = 1_000_000_000
"""Turns beyond this are not believed: whoever has the key of a host could say a number that nothing comes after."""


class PasswordPosted(msgspec.Struct, frozen=True, kw_only=True):
    """A guest posted a password, or has none any more; said again until the host is told of this turn or a later."""

    host: str
    server_id: str
    password: str | None
    turn: int


def is_there(turn: int) -> bool:
    """Say whether there is a password at a turn."""
    return turn % 2 == 1


def believable(password: str | None, turn: int) -> bool:
    """Say whether a host may say so of a guest."""
    if not 0 <= turn <= _BELIEVABLE or is_there(turn) != bool(password):
        return False
    return len((password or "").encode(errors="replace")) <= MOST_BYTES
