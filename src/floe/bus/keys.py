"""Keys by which the bus's server knows who connects: nkeys of users."""

from __future__ import annotations

import base64
import binascii
import re
import secrets

import nkeys

_SEED = re.compile(r"SU[A-Z2-7]{56}")


def new_seed() -> str:
    """Return the secret half of a new key."""
    seed: bytes = nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER)
    return seed.decode()


def public_key(seed: str) -> str:
    """Return the public half. Raises ValueError for what is no secret half of a user's key, down to the last letter."""
    text = seed.strip()
    if not _SEED.fullmatch(text):
        raise ValueError("it is not SU and 56 letters and digits more")
    data = base64.b32decode(text + "======")
    if binascii.crc_hqx(data[:-2], 0) != int.from_bytes(data[-2:], "little"):
        raise ValueError("a letter is wrong")
    public: str = nkeys.from_seed(bytearray(text.encode())).public_key.decode()
    return public


def sign(seed: str, words: bytes) -> bytes:
    """Return the signature of words by the holder of a key, whose secret half is right."""
    signature: bytes = nkeys.from_seed(bytearray(seed.strip().encode())).sign(words)
    return signature
