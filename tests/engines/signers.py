"""Who signs images: certificates as an administrator keeps them, and signatures as users make them."""

from __future__ import annotations

import base64
import datetime
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa, utils

from floe.core.ids import random_id
from floe.core.image_signatures import HASHES

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
Key = Any
_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


def usage(*names: str) -> x509.KeyUsage:
    """Return what a key is for."""
    return x509.KeyUsage(**{name: name in names for name in _USAGES})


ISSUES = usage("digital_signature", "key_cert_sign")
SIGNS = usage("digital_signature")


@dataclass(frozen=True)
class Signer:
    """The holder of a key with a certificate of it, known to the cloud by an id."""

    ident: str
    key: Key
    certificate: x509.Certificate

    def pem(self) -> bytes:
        """Return the certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def keep(self, folder: Path) -> Signer:
        """Have an administrator keep the certificate."""
        folder.mkdir(exist_ok=True)
        (folder / f"{self.ident}.pem").write_bytes(self.pem())
        return self

    def public_key(self) -> str:
        """Return the key that signatures are checked by."""
        spki = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(serialization.Encoding.PEM, spki).decode()

    def properties(self, data: bytes, method: str = "SHA-256", key_type: str = "") -> dict[str, str]:
        """Return what an image of these bytes says of its signature."""
        signature = signed(self.key, data, method)
        return {
            "img_signature": base64.b64encode(signature).decode(),
            "img_signature_hash_method": method,
            "img_signature_key_type": key_type or type_of(self.key),
            "img_signature_certificate_uuid": self.ident,
        }


def type_of(key: Key) -> str:
    """Return the name of a key's type."""
    if isinstance(key, rsa.RSAPrivateKey):
        return "RSA-PSS"
    return "DSA" if isinstance(key, dsa.DSAPrivateKey) else f"ECC_{key.curve.name.upper()}"


def signed(key: Key, data: bytes, method: str, salt: Any = padding.PSS.MAX_LENGTH) -> bytes:
    """Return the signature of bytes."""
    kind = getattr(hashes, HASHES[method].upper())()
    digest, hashed = hashlib.new(HASHES[method], data).digest(), utils.Prehashed(kind)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(digest, padding.PSS(padding.MGF1(kind), salt), hashed)
    made: bytes = key.sign(digest, hashed if isinstance(key, dsa.DSAPrivateKey) else ec.ECDSA(hashed))
    return made


def signer(
    issuer: Signer | None = None,
    *,
    key: Key = None,
    name: str = "",
    first: datetime.datetime = NOW - DAY,
    last: datetime.datetime = NOW + DAY,
    ca: bool = False,
    below: int | None = None,
    use: x509.KeyUsage | None = SIGNS,
) -> Signer:
    """Return a holder of a key, whose certificate an issuer signed, or they themselves."""
    ident = random_id()
    key = key or ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name or ident)])
    builder = x509.CertificateBuilder(
        issuer_name=subject if issuer is None else issuer.certificate.subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=first,
        not_valid_after=last,
    ).add_extension(x509.BasicConstraints(ca=ca, path_length=below), critical=True)
    if use is not None:
        builder = builder.add_extension(use, critical=True)
    return Signer(ident, key, builder.sign(key if issuer is None else issuer.key, hashes.SHA256()))


def root(**more: Any) -> Signer:
    """Return one who issues certificates to others, and has issued their own."""
    return signer(ca=True, use=ISSUES, **more)
