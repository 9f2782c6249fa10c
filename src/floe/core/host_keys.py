"""Keys of hosts: a name is bound to the one key whose holder redeemed the token that an operator had made for it."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime, timedelta

import msgspec

from floe.core.errors import Invalid
from floe.core.hosts import HOST_NAME

TOKEN_LIFE = timedelta(hours=1)
MOST_OPEN = 1000
"""Tokens that wait to be redeemed at a time."""


class HostKey(msgspec.Struct, frozen=True, kw_only=True):
    """What a host's name is bound to: the key that redeemed its token, and until then the token."""

    host: str
    public_key: str = ""
    """As the bus knows it; empty until the token is redeemed."""
    token_hash: str
    token_expires_at: datetime
    created_at: datetime
    joined_at: datetime | None = None


def demand_name(name: str) -> str:
    """Return a name that a host may have. Raises Invalid."""
    if not HOST_NAME.fullmatch(name):
        raise Invalid(f"A host is named by up to 200 letters, digits, dots, _ and - (this one is {name[:80]!r}).")
    return name


def token_hash(token: str) -> str:
    """Return what is kept of a token; it is of 256 random bits, which nobody finds by trying."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def fingerprint(public_key: str) -> str:
    """Return what people compare keys by, as SSH writes it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(public_key.encode()).digest()).decode().rstrip("=")


def signed_words(host: str, token: str) -> bytes:
    """Return what the holder of a key signs who joins with it, so that nobody binds a name to a key of somebody else.

    It is good for nothing but this: what the bus has signed are random words of another length.
    """
    return f"floe join\n{host}\n{token_hash(token)}".encode()


def bus_digest(bus: str, certificates: str) -> str:
    """Return what a token ends in, and a machine compares what it is told with: where its bus is, and what signs it."""
    return hashlib.sha256(f"{bus}\n{certificates}".encode(errors="surrogatepass")).hexdigest()
