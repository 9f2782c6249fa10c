"""The text of a token: Fernet over a compact record, so that it proves itself without a look-up."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta

import msgspec

from floe.cloud.cloud import Cloud
from floe.cloud.sealing import box
from floe.core.assignments import DOMAIN, PROJECT, SYSTEM
from floe.core.errors import Unauthenticated
from floe.core.tokens import METHODS, UNSCOPED, Token

MAX_TEXT = 1024
"""Characters; ours have about 250, and what is longer is not worth decrypting."""
_KINDS = (UNSCOPED, PROJECT, DOMAIN, SYSTEM)
_HEX = re.compile(r"[0-9a-f]{32}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class _Record(msgspec.Struct, array_like=True, frozen=True):
    """Ids packed, methods as bits, times as microseconds since 1970."""

    user: bytes
    methods: int
    kind: int
    scope: bytes
    issued: int
    expires: int
    audit: tuple[bytes, ...]
    credential: bytes | None
    stamp: int


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Record)


def write(cloud: Cloud, token: Token) -> str:
    """Return a token's text, signed and encrypted with the first key."""
    record = _Record(
        user=_pack(token.user_id),
        methods=sum(1 << METHODS.index(method) for method in token.methods),
        kind=_KINDS.index(token.scope_kind),
        scope=_pack(token.scope_id),
        issued=(token.issued_at - _EPOCH) // _MICROSECOND,
        expires=(token.expires_at - _EPOCH) // _MICROSECOND,
        audit=tuple(base64.urlsafe_b64decode(audit + "==") for audit in token.audit_ids),
        credential=None if token.credential_id is None else _pack(token.credential_id),
        stamp=token.stamp,
    )
    seconds = int(token.issued_at.timestamp())
    sealed = box(cloud).encrypt_at_time(_ENCODER.encode(record), seconds)
    return sealed.rstrip(b"=").decode()


def read(cloud: Cloud, text: str) -> Token:
    """Return what a token says, expired or not. Raises Unauthenticated for what none of our keys has signed."""
    from cryptography.fernet import InvalidToken

    refusal = Unauthenticated("The token is not valid: it was not made by this cloud, or its key is gone.")
    if len(text) > MAX_TEXT or not text.isascii():
        raise refusal
    try:
        plain = box(cloud).decrypt(text.encode() + b"=" * (-len(text) % 4))
        record = _DECODER.decode(plain)
    except (InvalidToken, msgspec.MsgspecError):
        raise refusal from None
    return Token(
        user_id=_unpack(record.user),
        methods=tuple(method for bit, method in enumerate(METHODS) if record.methods >> bit & 1),
        scope_kind=_KINDS[record.kind],
        scope_id=_unpack(record.scope),
        issued_at=_EPOCH + record.issued * _MICROSECOND,
        expires_at=_EPOCH + record.expires * _MICROSECOND,
        audit_ids=tuple(base64.urlsafe_b64encode(audit).rstrip(b"=").decode() for audit in record.audit),
        credential_id=None if record.credential is None else _unpack(record.credential),
        stamp=record.stamp,
    )


def new_audit_id(cloud: Cloud) -> str:
    """Return a new audit id: 22 characters, as Keystone's."""
    return base64.urlsafe_b64encode(bytes.fromhex(cloud.new_id().replace("-", ""))).rstrip(b"=").decode()


def _pack(ident: str) -> bytes:
    """Write 32 hex digits as 16 bytes, anything else as text; the first byte says which."""
    return b"x" + bytes.fromhex(ident) if _HEX.fullmatch(ident) else b"s" + ident.encode()


def _unpack(packed: bytes) -> str:
    return packed[1:].hex() if packed[:1] == b"x" else packed[1:].decode()
