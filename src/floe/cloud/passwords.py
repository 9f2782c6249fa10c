"""Passwords and secrets: hashed with Argon2id in threads, a few at a time, never on the event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from floe.cloud.cloud import Cloud

if TYPE_CHECKING:
    from argon2 import PasswordHasher

_AT_ONCE = 4
"""How many hashes may be worked on together: 19 MiB each, and threads that others need too."""


async def hashed(cloud: Cloud, text: str) -> str:
    """Return the hash of a password, in PHC form."""
    async with _gate(cloud):
        return await asyncio.to_thread(_hash, text)


async def matches(cloud: Cloud, known: str | None, text: str) -> bool:
    """Say whether `text` is the password of that hash; with no hash it takes as long and says no."""
    async with _gate(cloud):
        dummy = cloud.caches.get("dummy_password_hash")
        if dummy is None:
            dummy = cloud.caches["dummy_password_hash"] = await asyncio.to_thread(_hash, "no password at all")
        right = await asyncio.to_thread(_verify, known or str(dummy), text)
    return right and known is not None


def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    # OWASP's recommendation for Argon2id: 19 MiB, two passes, one lane.
    return PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)


def _hash(text: str) -> str:
    return _hasher().hash(text)


def _verify(known: str, text: str) -> bool:
    from argon2.exceptions import VerificationError

    try:
        return _hasher().verify(known, text)
    except VerificationError:
        return False


def _gate(cloud: Cloud) -> asyncio.Semaphore:
    gate = cloud.caches.get("password_gate")
    if gate is None:
        gate = cloud.caches["password_gate"] = asyncio.Semaphore(_AT_ONCE)
    assert isinstance(gate, asyncio.Semaphore)
    return gate
