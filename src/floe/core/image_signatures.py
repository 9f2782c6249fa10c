"""Signatures of images: what an image says of its own, and what a host is given to check bytes by. Pure.

Source: the image service's four properties, with the names of methods and keys that its clients know.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence

import msgspec

from floe.core.errors import Invalid
from floe.core.properties import Values, one_of, shaped

SHA512 = "SHA-512"
HASHES: Mapping[str, str] = {"SHA-224": "sha224", "SHA-256": "sha256", "SHA-384": "sha384", SHA512: "sha512"}
"""The names that a signature may be over, and what Python calls each."""
RSA_PSS, DSA = "RSA-PSS", "DSA"
CURVES: Mapping[str, str] = {"ECC_SECP384R1": "secp384r1", "ECC_SECP521R1": "secp521r1"}
"""The binary curves that the image service knows besides are in no maintained library any more."""
PROPERTY = "img_signature"
HASH_METHOD, KEY_TYPE, CERTIFICATE = (f"{PROPERTY}_{part}" for part in ("hash_method", "key_type", "certificate_uuid"))
MOST_SIGNED = 1024
"""Bytes of a signature: of the largest key that one may be made with, RSA of 8192 bits."""
MOST_TRUSTED = 50

VALUES: Mapping[str, Values] = {
    PROPERTY: shaped(r"[A-Za-z0-9+/=\s]{4,2048}", f"base64 of at most {MOST_SIGNED} bytes"),
    HASH_METHOD: one_of(*HASHES),
    KEY_TYPE: one_of(RSA_PSS, DSA, *CURVES),
    CERTIFICATE: shaped(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", "the UUID of a certificate"),
}
"""What each of the properties may be."""


class ImageSignature(msgspec.Struct, frozen=True, kw_only=True):
    """What an image says of its signature; `value` is base64, `certificate_id` in small letters."""

    value: str
    hash_method: str
    key_type: str
    certificate_id: str

    @property
    def bytes_(self) -> bytes:
        """The signature itself."""
        return base64.b64decode(self.value)


class ImageProof(msgspec.Struct, frozen=True, kw_only=True):
    """What a host checks the bytes of an image by: the signature, and the key of a certificate that was found good.

    `public_key` is in PEM.
    """

    signature: ImageSignature
    public_key: str


def is_signed(properties: Mapping[str, str]) -> bool:
    """Say whether an image says anything of a signature. An empty value says nothing."""
    return any(properties.get(name) for name in VALUES)


def is_whole(properties: Mapping[str, str]) -> bool:
    """Say whether an image says all of a signature."""
    return all(properties.get(name) for name in VALUES)


def unsigned(properties: Mapping[str, str]) -> dict[str, str]:
    """Return properties less those of a signature: of other bytes than those that were signed."""
    return {name: value for name, value in properties.items() if name not in VALUES}


def signature_of(image_id: str, properties: Mapping[str, str]) -> ImageSignature | None:
    """Return the signature of an image, None of one without. Raises Invalid for one that cannot be checked."""
    if not is_signed(properties):
        return None
    for name, values in VALUES.items():
        value = properties.get(name, "")
        if not value:
            raise Invalid(
                f"Required image properties for signature verification do not exist. Cannot verify signature of image "
                f"{image_id}. Missing property: {name}"
            )
        if not values.allow(value):
            raise Invalid(f"Image {image_id} cannot be verified: {name} must be {values.words} (it is {value[:80]!r}).")
    value = "".join(properties[PROPERTY].split())
    try:
        size = len(base64.b64decode(value, validate=True))
    except (ValueError, binascii.Error):
        raise Invalid(f"The signature data of image {image_id} was not properly encoded using base64.") from None
    if not 0 < size <= MOST_SIGNED:
        raise Invalid(f"The signature of image {image_id} has {size} bytes; it must have 1 to {MOST_SIGNED}.")
    return ImageSignature(
        value=value,
        hash_method=properties[HASH_METHOD],
        key_type=properties[KEY_TYPE],
        certificate_id=properties[CERTIFICATE].lower(),
    )


def demand_signed(image_id: str, properties: Mapping[str, str], trusted: Sequence[str] | None) -> None:
    """Raise Invalid for an image whose signature cannot be checked, or that has none where certificates are named."""
    if signature_of(image_id, properties) is None and trusted:
        raise Invalid(
            f"Image {image_id} is not signed, and trusted_image_certificates is given. Required image properties for "
            f"signature verification do not exist. Cannot verify signature. Missing property: {PROPERTY}"
        )


def trusted_ids(named: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the ids of certificates that a user trusts, in small letters. Raises Invalid for what is none."""
    if named is None:
        return None
    found = tuple(name.lower() for name in named)
    if len(found) > MOST_TRUSTED:
        raise Invalid(f"trusted_image_certificates holds {len(found)} certificates, more than {MOST_TRUSTED}.")
    for name in found:
        if not VALUES[CERTIFICATE].allow(name):
            raise Invalid(f"trusted_image_certificates holds {name[:80]!r}, which is not the UUID of a certificate.")
    if len(set(found)) < len(found):
        raise Invalid("trusted_image_certificates must not hold the same certificate twice.")
    return found
