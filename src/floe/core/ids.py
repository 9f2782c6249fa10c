"""Identifiers: where they come from is injected, so that a simulation can replay them."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable

IdSource = Callable[[], str]
"""Gives a new UUID, as 36 characters with dashes."""

_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)


def random_id() -> str:
    """Return a random UUID with dashes."""
    return str(uuid.uuid4())


def derived(seed: str, what: str) -> str:
    """Return the UUID of something that belongs to what has the UUID `seed`: always the same one.

    As hard to guess as `seed` is.
    """
    return str(uuid.UUID(bytes=hashlib.blake2b(f"{seed} {what}".encode(), digest_size=16).digest(), version=4))


def is_uuid(text: str) -> bool:
    """Say whether `text` is a UUID, with or without its dashes."""
    return _UUID.fullmatch(text) is not None
