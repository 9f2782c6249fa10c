"""Tickets with which hosts fetch the bytes of images: each is for one host and one blob, until a moment. Pure.

A ticket comes with the command that needs it. Its secret is made of the rest by a key of the control plane and never
leaves the host: what the host sends is the rest, and a proof, made with the secret, of this one request. Who sees that
can ask once more for the bytes that it can see anyway, and for nothing else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

SCHEME = "Floe-Image"
"""Of the `Authorization` header (RFC 9110, 11.6.2)."""
MOST = 1024
"""Characters of such a header at most."""
_PURPOSE = b"floe: tickets for images, 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTicket:
    """What lets a host fetch a blob; `expires` is in seconds since the epoch, by the control plane's clock."""

    host: str
    blob: str
    expires: int
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a host shows of a ticket: all but its secret, and the proof that it has that."""

    host: str
    blob: str
    expires: int
    proof: str = field(repr=False)


def issue(key: bytes, host: str, blobs: Iterable[str], expires: int) -> tuple[ImageTicket, ...]:
    """Return tickets for blobs, one for each of them."""
    return tuple(
        ImageTicket(host=host, blob=blob, expires=expires, secret=_secret(key, host, blob, expires))
        for blob in sorted(set(blobs))
    )


def authorization(ticket: ImageTicket, method: str, part: str = "") -> str:
    """Return the header that asks for a blob, or for a `part` of it, which is the value of the `Range` header."""
    proof = _proof(ticket.secret, method, ticket.blob, part)
    text = "\n".join((ticket.host, ticket.blob, str(ticket.expires), proof))
    return f"{SCHEME} {base64.urlsafe_b64encode(text.encode()).decode()}"


def read(header: str | None) -> Shown:
    """Return what a header shows. Raises ValueError for what is no ticket at all."""
    scheme, _, encoded = (header or "").partition(" ")
    if scheme.lower() != SCHEME.lower():
        raise ValueError(f"Bytes of images are given to hosts alone, for a ticket: Authorization: {SCHEME} ...")
    strange = ValueError("This is no ticket for an image.")
    if len(encoded) > MOST:
        raise strange
    try:
        host, blob, expires, proof = base64.b64decode(encoded, altchars=b"-_", validate=True).decode().split("\n")
    except (ValueError, binascii.Error):
        raise strange from None
    if not (expires.isascii() and expires.isdigit() and len(expires) <= 12):
        raise strange
    return Shown(host=host, blob=blob, expires=int(expires), proof=proof)


def demand_valid(shown: Shown, keys: Sequence[bytes], now: float, method: str, blob: str, part: str = "") -> None:
    """Raise ValueError unless a ticket of one of these keys allows this request now."""
    if shown.blob != blob:
        raise ValueError(f"The ticket is for blob {shown.blob[:80]!r}, not for {blob[:80]!r}.")
    # All keys are tried, and all bytes compared, whatever is wrong: how long that takes tells nothing.
    good = [_is_proof(shown, key, method, part) for key in keys]
    if not any(good):
        raise ValueError("The ticket is not one of this cloud's, or its proof is that of another request.")
    if shown.expires <= now:
        raise ValueError(
            f"The ticket has expired, {int(now) - shown.expires} s ago; the host's next command brings one."
        )


def _is_proof(shown: Shown, key: bytes, method: str, part: str) -> bool:
    proof = _proof(_secret(key, shown.host, shown.blob, shown.expires), method, shown.blob, part)
    return hmac.compare_digest(proof.encode(), shown.proof.encode())


def _secret(key: bytes, host: str, blob: str, expires: int) -> str:
    own = hmac.digest(key, _PURPOSE, hashlib.sha256)  # what seals tokens signs nothing else
    return hmac.digest(own, f"{host}\n{blob}\n{expires}".encode(), hashlib.sha256).hex()


def _proof(secret: str, method: str, blob: str, part: str) -> str:
    return hmac.digest(secret.encode(), f"{method}\n{blob}\n{part}".encode(), hashlib.sha256).hex()
