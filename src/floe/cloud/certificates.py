"""Keypairs of type x509: certificates with which users log in to Windows, as Nova makes them. To be run in threads."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from floe.core.errors import Invalid
from floe.core.keypairs import colons

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import rsa

BITS = 2048
_LASTS = timedelta(days=3650)
_PRINCIPAL = "1.3.6.1.4.1.311.20.2.3"
"""Under which Windows looks for the user that a certificate stands for: a UTF8String `user@localhost`."""
_UTF8_STRING = 0x0C
_MOST = 127
"""Bytes of that name whose length is one byte of DER."""
_MOST_OF_A_NAME = 64
"""Characters of a common name (X.520)."""


def fingerprint(text: str) -> str:
    """Return the SHA-1 fingerprint of a certificate in PEM. Raises Invalid for anything but one."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    try:
        (certificate,) = x509.load_pem_x509_certificates(text.encode())
    except ValueError as error:
        raise Invalid("Keypair data is invalid: public_key must be one X.509 certificate in PEM.") from error
    return colons(certificate.fingerprint(hashes.SHA1()).hex())  # noqa: S303  # as it has always been shown


def generate(user_id: str, now: datetime) -> tuple[str, str]:
    """Return a certificate in PEM, and its key with it as PKCS #12 in base64. Takes about 0.1 s of CPU.

    Raises Invalid for a user whose id has no place in a certificate.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import pkcs12

    if len(user_id) > _MOST_OF_A_NAME or len(_upn(user_id)) > _MOST:
        raise Invalid(f"A certificate's user_id has {_MOST_OF_A_NAME} characters at most; {user_id[:80]!r} has more.")
    key = rsa.generate_private_key(public_exponent=65537, key_size=BITS)
    certificate = _signed(user_id, key, now)
    packed = pkcs12.serialize_key_and_certificates(None, key, certificate, None, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), base64.b64encode(packed).decode()


def _signed(user_id: str, key: rsa.RSAPrivateKey, now: datetime) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    upn = _upn(user_id)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, user_id)])
    principal = x509.OtherName(x509.ObjectIdentifier(_PRINCIPAL), bytes((_UTF8_STRING, len(upn))) + upn)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + _LASTS)
        .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([principal]), critical=False)
        .sign(key, hashes.SHA256())
    )


def _upn(user_id: str) -> bytes:
    return f"{user_id}@localhost".encode()
