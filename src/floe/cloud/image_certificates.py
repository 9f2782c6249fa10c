"""The certificates that signatures of images are checked by: files that an administrator keeps, and who trusts which.

The rules are those of the compute service: a certificate counts while it lasts. Where a user names trusted ones, one of
those issued it, and so on up to one that has issued itself, each of which may issue others. To be run in threads.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from floe.blobs import signatures
from floe.core.errors import Invalid
from floe.core.image_signatures import CERTIFICATE, MOST_TRUSTED, VALUES, ImageSignature

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes as PublicKeyTypes

    E = TypeVar("E", bound=x509.ExtensionType)

log = logging.getLogger(__name__)

_MENDED = "An administrator has to mend that."
_MOST = 64 << 10
"""Bytes of a file that are looked at: a certificate has two thousand or so."""


def public_key(folder: Path | None, signature: ImageSignature, trusted: Sequence[str] | None, now: datetime) -> str:
    """Return the key, in PEM, that a signature is to be checked by.

    Raises Invalid where its certificate is not there, not of its time or its type, or not `trusted` where such are
    named.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    ident = signature.certificate_id
    found = _read(folder, ident)
    _demand_time(found, ident, now)
    key = _key(found, ident)
    signatures.demand_key(key, signature.key_type, f"Certificate {ident}")
    if not _may_sign(found):
        raise Invalid(f"Certificate {ident} says of its key that it is not for signatures (its key usage).")
    if trusted:
        _demand_trusted(found, ident, _issuers(folder, trusted, now))
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _read(folder: Path | None, ident: str) -> x509.Certificate:
    """Return the certificate that a file holds alone. Raises Invalid."""
    from cryptography import x509

    missing = f"Certificate not found with ID: {ident}. An administrator has to give it to the cloud."
    if folder is None or not VALUES[CERTIFICATE].allow(ident):  # what a tenant says names no other file
        raise Invalid(missing)
    try:
        (certificate,) = x509.load_pem_x509_certificates(_content(folder / f"{ident}.pem"))
    except FileNotFoundError:
        raise Invalid(missing) from None
    except OSError as error:
        log.warning("certificate %s cannot be read: %s", ident, error)
        raise Invalid(f"Certificate {ident} cannot be read: {error.strerror}. {_MENDED}") from error
    except ValueError:
        raise Invalid(f"The file of certificate {ident} is not one X.509 certificate in PEM. {_MENDED}") from None
    return certificate


def _key(certificate: x509.Certificate, ident: str) -> PublicKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return certificate.public_key()
    except (UnsupportedAlgorithm, ValueError):
        raise Invalid(f"Certificate {ident} has a key of a kind that is not known here. {_MENDED}") from None


def _content(path: Path) -> bytes:
    """Return what a plain file holds; a link, which might lead anywhere, is none. Raises OSError, ValueError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError(path)
        content = file.read(_MOST + 1)
    if len(content) > _MOST:
        raise ValueError(path)
    return content


def _demand_time(certificate: x509.Certificate, ident: str, now: datetime) -> None:
    if not _lasts(certificate, now):
        first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        raise Invalid(
            f"The certificate is outside its valid date range: certificate {ident} is valid from "
            f"{first:%Y-%m-%dT%H:%M:%SZ} to {last:%Y-%m-%dT%H:%M:%SZ}."
        )


def _lasts(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    from cryptography import x509

    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except (ValueError, x509.DuplicateExtension):
        raise Invalid(f"A certificate has extensions that cannot be read. {_MENDED}") from None


def _may_sign(certificate: x509.Certificate) -> bool:
    """Say whether the key may be for what is signed: certificates that do not say what theirs is for may (RFC 5280)."""
    from cryptography import x509

    usage = _extension(certificate, x509.KeyUsage)
    return usage is None or usage.digital_signature or usage.content_commitment


def _may_issue(certificate: x509.Certificate) -> bool:
    from cryptography import x509

    basic, usage = _extension(certificate, x509.BasicConstraints), _extension(certificate, x509.KeyUsage)
    return basic is not None and basic.ca and usage is not None and usage.key_cert_sign


def _issuers(folder: Path | None, trusted: Sequence[str], now: datetime) -> dict[str, x509.Certificate]:
    """Return those of the trusted certificates that may issue others now; the others do not count."""
    found = {}
    for ident in trusted[:MOST_TRUSTED]:
        with suppress(Invalid):
            certificate = _read(folder, ident)
            signatures.demand_size(_key(certificate, ident), ident)
            if _lasts(certificate, now) and _may_issue(certificate):
                found[ident] = certificate
    return found


def _demand_trusted(certificate: x509.Certificate, ident: str, issuers: Mapping[str, x509.Certificate]) -> None:
    """Raise Invalid unless a chain of issuers leads up to one that has issued itself.

    Each is in the chain once at most, so that it ends.
    """
    left, name, at, below = dict(issuers), ident, certificate, 0
    while True:
        found = next(_issuers_of(at, left.items()), None)
        if found is None:
            raise Invalid(
                f"Certificate chain building failed. Could not locate the signing certificate for certificate {name} "
                "in the set of trusted certificates. Those that do not exist, are outside their valid date range or "
                "may not sign certificates do not count."
            )
        if left[found] == at:
            return
        left.pop(name, None)
        name, at = found, left[found]
        _demand_length(at, name, below)
        below += 1


def _issuers_of(certificate: x509.Certificate, candidates: Iterable[tuple[str, x509.Certificate]]) -> Iterator[str]:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    for ident, candidate in candidates:
        try:
            certificate.verify_directly_issued_by(candidate)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
            continue
        yield ident


def _demand_length(issuer: x509.Certificate, ident: str, below: int) -> None:
    """Raise Invalid where so many issuers stand below this one that it does not allow them."""
    from cryptography import x509

    basic = _extension(issuer, x509.BasicConstraints)
    if basic is not None and basic.path_length is not None and basic.path_length < below:
        raise Invalid(
            f"Certificate validation failed. The signing certificate {ident} is not configured to support certificate "
            "chains of sufficient length."
        )
