"""How often somebody tried to prove to be somebody and failed: wrong secrets are slowed down.

What counts is the words of the request, never whom they name, so that nobody learns who there is. A pair of words
and address that failed `login_attempts` times waits, twice as long after each further failure; other addresses are
not concerned, so that nobody can lock out somebody else. Where words fail from many addresses, an address that never
had them right gets one attempt instead. All is kept in bounded memory, under a key that dies with the process.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from floe.cloud.cloud import Cloud
from floe.core.counters import Count
from floe.core.errors import Busy
from floe.core.names import fold
from floe.core.tokens import CredentialLogin, Named
from floe.pools import Caller

V = TypeVar("V")

MOST = 10_000
"""How much of each kind is remembered; the oldest is forgotten."""
SIEGE = 20
"""Times `login_attempts` that words may fail, from all addresses together, before strange addresses get one attempt."""
FORGOTTEN = 10
"""Times the longest delay after which failures are forgotten when there were no more."""
SLOWED = Count("floe_slowed_logins", "Proofs of a secret refused because too many wrong ones came before")


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Who somebody says to be, in the request's words, and from which address."""

    words: tuple[str, ...]
    address: str


@dataclass(slots=True)
class _Failures:
    count: int
    last: float


@dataclass(slots=True)
class Attempts:
    """Failures and successes by digests of claims."""

    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    failures: OrderedDict[bytes, _Failures] = field(default_factory=OrderedDict)
    known: OrderedDict[bytes, None] = field(default_factory=OrderedDict)
    """Claims that were right before."""

    def digest(self, *words: str) -> bytes:
        """Return what words are remembered by; its length does not depend on theirs."""
        sealed = hashlib.blake2b(key=self.key, digest_size=16)
        for word in words:
            data = word.encode(errors="surrogatepass")
            sealed.update(len(data).to_bytes(4, "big") + data)
        return sealed.digest()


def claim_of_user(named: Named, address: str) -> Claim:
    """Return the claim to be a user."""
    if named.id is not None:
        return Claim(words=("user", named.id), address=address)
    domain = ("domain", named.domain_id) if named.domain_id is not None else ("named", fold(named.domain_name or ""))
    return Claim(words=("user", *domain, fold(named.name or "")), address=address)


def claim_of_credential(way: CredentialLogin, address: str) -> Claim:
    """Return the claim to hold an application credential."""
    if way.credential_id is not None or way.user is None:
        return Claim(words=("credential", way.credential_id or ""), address=address)
    return Claim(words=("credential", way.name or "", *claim_of_user(way.user, address).words), address=address)


def check(cloud: Cloud, claim: Claim) -> None:
    """Raise Busy for an attempt that comes too soon after others that failed."""
    of_all, of_pair, free = *_counts(cloud, claim), cloud.settings.login_attempts
    besieged = of_all.count >= SIEGE * free and _pair(cloud, claim) not in of(cloud).known
    over = of_pair.count - (1 if besieged else free)
    if not free or over < 0:
        return
    longest = cloud.settings.login_delay
    delay = longest if besieged else min(longest, 2.0 ** min(over, 30))
    wait = of_pair.last + delay - cloud.clock.monotonic()
    if wait > 0:
        cloud.counters.add(SLOWED)
        what = "There were too many attempts with a wrong password or secret"
        raise Busy(f"{what}; the next is possible in {math.ceil(wait)} s.", seconds=wait)


def begin(cloud: Cloud, claim: Claim) -> None:
    """Count an attempt, as a failure until `succeed` says otherwise. Raises Busy when it comes too soon."""
    check(cloud, claim)
    (of_all, of_pair), now = _counts(cloud, claim), cloud.clock.monotonic()
    _remember(of(cloud).failures, _own(cloud, claim), _Failures(of_all.count + 1, now))
    _remember(of(cloud).failures, _pair(cloud, claim), _Failures(of_pair.count + 1, now))


def succeed(cloud: Cloud, claim: Claim) -> None:
    """Forget the failures of a claim that was right, and know its address from now on."""
    seen = of(cloud)
    seen.failures.pop(_pair(cloud, claim), None)
    of_all = seen.failures.get(_own(cloud, claim))
    if of_all is not None:
        of_all.count -= 1
    _remember(seen.known, _pair(cloud, claim), None)


def caller(cloud: Cloud, claim: Claim) -> Caller:
    """Return whose turn a proof takes: who was right from there before shares no lane with strangers."""
    pair = _pair(cloud, claim)
    return "known" if pair in of(cloud).known else "strange", claim.address, pair.hex()


def of(cloud: Cloud) -> Attempts:
    """Return the cloud's memory of attempts."""
    found = cloud.caches.get("attempts")
    if found is None:
        found = cloud.caches["attempts"] = Attempts()
    assert isinstance(found, Attempts)
    return found


def _own(cloud: Cloud, claim: Claim) -> bytes:
    return of(cloud).digest(*claim.words)


def _pair(cloud: Cloud, claim: Claim) -> bytes:
    return of(cloud).digest(claim.address, *claim.words)


def _counts(cloud: Cloud, claim: Claim) -> tuple[_Failures, _Failures]:
    """Return the failures of the words from everywhere, and from this address alone."""
    oldest = cloud.clock.monotonic() - FORGOTTEN * cloud.settings.login_delay
    found = [of(cloud).failures.get(key) for key in (_own(cloud, claim), _pair(cloud, claim))]
    all_, pair = (each if each and each.last >= oldest else _Failures(0, 0.0) for each in found)
    return all_, pair


def _remember(kept: OrderedDict[bytes, V], key: bytes, value: V) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > MOST:
        kept.popitem(last=False)
