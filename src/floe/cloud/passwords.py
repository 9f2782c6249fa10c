"""Passwords and secrets: hashed with Argon2id in a pool of their own, in which callers take turns."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from floe.cloud import attempts
from floe.cloud.attempts import Claim
from floe.cloud.cloud import Cloud
from floe.cloud.pools import caller
from floe.core.context import Context

if TYPE_CHECKING:
    from argon2 import PasswordHasher


async def hashed(cloud: Cloud, context: Context, text: str) -> str:
    """Return the hash of a password, in PHC form. Raises Busy."""
    return await cloud.pools.passwords.run(_hash, text, caller=("token", *caller(context)))


async def matches(cloud: Cloud, known: str | None, text: str, claim: Claim) -> bool:
    """Say whether `text` is the password of that hash; with no hash it takes as long and says no.

    It counts as a failed attempt of the claim, until `attempts.succeed` is told that all the rest was right too.
    Raises Busy for a claim that failed too often, or when too many wait.
    """
    attempts.check(cloud, claim)
    dummy = cloud.caches.setdefault("dummy_password", _Dummy())
    work = partial(_verify, known) if known is not None else dummy.verify
    right = await cloud.pools.passwords.run(
        work, text, caller=attempts.caller(cloud, claim), first=lambda: attempts.begin(cloud, claim)
    )
    return right and known is not None


class _Dummy:
    """The hash of nobody's password, made when it is first needed."""

    def __init__(self) -> None:
        self._hash = ""

    def verify(self, text: str) -> bool:
        self._hash = self._hash or _hash("no password at all")
        return _verify(self._hash, text)


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
