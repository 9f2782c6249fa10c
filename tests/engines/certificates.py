"""Certificates for tests: authorities, and what they sign for servers of the loopback."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Authority:
    """Who signs; `file` is its own certificate, which clients trust."""

    certificate: x509.Certificate
    key: Key
    file: Path

    def sign(self, folder: Path, name: str) -> None:
        """Write NAME.pem and NAME.key for a server at 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = _certificate(name, key, self.certificate, self.key)
        (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (folder / f"{name}.key").write_bytes(key.private_bytes(*plain))


def authority(folder: Path, name: str) -> Authority:
    """Return an authority, whose certificate is in NAME.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    made, file = _certificate(name, key, None, key), folder / f"{name}.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return Authority(made, key, file)


def with_tls(folder: Path, name: str) -> str:
    """Make an authority of a name, and what of a NATS server's file has it speak TLS with a certificate of that."""
    authority(folder, name).sign(folder, "server")
    return f'tls {{ cert_file: "{folder}/server.pem", key_file: "{folder}/server.key" }}'


def _certificate(name: str, key: Key, issuer: x509.Certificate | None, signer: Key) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(
        issuer_name=subject if issuer is None else issuer.subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - datetime.timedelta(hours=1),
        not_valid_after=now + datetime.timedelta(days=1),
    ).add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    if issuer is not None:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
    )
    if issuer is None:
        usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment"), False)
        usage |= dict.fromkeys(("key_agreement", "encipher_only", "decipher_only"), False)
        builder = builder.add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage), critical=True
        )
    return builder.sign(signer, hashes.SHA256())
