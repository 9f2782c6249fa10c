"""A request that may be sent again: the client names it with a key, and it happens once."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta

import msgspec

from floe.core.errors import Invalid

KEPT = timedelta(days=1)
"""How long a key is remembered."""

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class Once(msgspec.Struct, frozen=True):
    """The key a client chose, and a digest of what it asked for."""

    key: str
    fingerprint: str


def once(key: str | None, body: bytes) -> Once | None:
    """Read an `Idempotency-Key` header and the request's body; None where there is no key. Raises Invalid.

    `body` is the request in a form that is the same whenever the same is asked for.
    """
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise Invalid(
            f"Idempotency-Key must be 1 to 255 visible ASCII characters, such as a UUID (it is {key[:80]!r})."
        )
    return Once(key, hashlib.sha256(body).hexdigest())
