"""Keypairs: a user's public keys or certificates, put into the guests the user makes."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from floe.core.errors import Invalid
from floe.core.texts import is_printable

SSH_TYPES = frozenset(
    {
        "ssh-rsa",
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    }
)

SSH, X509 = "ssh", "x509"
AFTER = " \t\r\n"
"""What may follow a key: files end with a line end. It is kept and shown as it was sent, and not given to guests."""


class KeypairName(NamedTuple):
    """What a keypair is known by."""

    user_id: str | None
    """None: the caller's own."""
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Keypair:
    """A public key of a user; its name is unique among the user's."""

    id: int = 0
    user_id: str
    name: str
    type: str = "ssh"
    fingerprint: str
    public_key: str
    created_at: datetime
    private_key: str | None = field(default=None, repr=False)
    """Of a pair that was made here; given to its user with that, and kept nowhere."""


def fingerprint(public_key: str) -> str:
    """Return the MD5 fingerprint of an OpenSSH public key, as the compute API shows it (`aa:bb:...`).

    Raises Invalid for anything but one line of a known type, base64 of the key that it says it is, and a comment. The
    comment may have tabs and spaces of any kind, and blanks and line ends may follow.
    """
    text = public_key.rstrip(AFTER)
    words = text.split(" ", 2)
    if not is_printable(text.replace("\t", " ")) or len(words) < 2:
        raise Invalid(
            "Keypair data is invalid: public_key must be one line in OpenSSH format, "
            f"'<type> <base64> [comment]' (it begins with {text[:24]!r})."
        )
    kind = words[0]
    if kind not in SSH_TYPES:
        raise Invalid(f"Keypair data is invalid: key type {kind[:40]!r} is not one of {', '.join(sorted(SSH_TYPES))}.")
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("Keypair data is invalid: what follows the key type is not base64.") from None
    if not _is_blob_of(kind, blob):
        raise Invalid(f"Keypair data is invalid: the base64 part does not hold a key of type {kind}.")
    digest = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    return colons(digest)


def colons(digest: str) -> str:
    """Return hex digits by twos (`aa:bb:...`)."""
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))


def _is_blob_of(kind: str, blob: bytes) -> bool:
    """Read RFC 4253's strings (length, bytes); the first is the type, and at least one more must follow, to the end."""
    parts, at = [], 0
    while at + 4 <= len(blob):
        length = int.from_bytes(blob[at : at + 4], "big")
        at += 4
        if at + length > len(blob):
            return False
        parts.append(blob[at : at + length])
        at += length
    return at == len(blob) and len(parts) >= 2 and parts[0] == kind.encode() and all(parts[1:])
