"""Whether bytes of images are what the holder of a key signed. To be run in threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from floe.core.errors import Invalid
from floe.core.image_signatures import CURVES, DSA, HASHES, RSA_PSS, ImageProof

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

LEAST_BITS, MOST_BITS = 2048, 8192
"""Of RSA and DSA keys: fewer are no proof, and more cost too much to be asked for by tenants."""


def demand_key(key: PublicKeyTypes, key_type: str, what: str) -> None:
    """Raise Invalid unless a public key is of the type that an image says, and of a size that means something."""
    from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

    if key_type in CURVES:
        fits = isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == CURVES[key_type]
    else:
        kinds = {RSA_PSS: rsa.RSAPublicKey, DSA: dsa.DSAPublicKey}
        fits = isinstance(key, kinds[key_type])
    if not fits:
        raise Invalid(f"Invalid public key type for signature key type: {key_type}. {what} has another key.")
    demand_size(key, what)


def demand_size(key: PublicKeyTypes, what: str) -> None:
    """Raise Invalid for a key that anybody could make signatures of, or that takes long to check one by."""
    from cryptography.hazmat.primitives.asymmetric import dsa, rsa

    if isinstance(key, rsa.RSAPublicKey | dsa.DSAPublicKey) and not LEAST_BITS <= key.key_size <= MOST_BITS:
        raise Invalid(f"{what} has a key of {key.key_size} bits; it must have {LEAST_BITS} to {MOST_BITS}.")


def is_signed(proof: ImageProof, digest: bytes) -> bool:
    """Say whether a digest, by the hash method of a signature, is what the holder of its key signed.

    Raises Invalid for a key that is not of its type.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa, utils

    signature = proof.signature
    method = getattr(hashes, HASHES[signature.hash_method].upper())()
    hashed = utils.Prehashed(method)
    try:
        key = serialization.load_pem_public_key(proof.public_key.encode())
        demand_key(key, signature.key_type, f"Certificate {signature.certificate_id}")
        if isinstance(key, rsa.RSAPublicKey):
            # Signers take as much salt as fits, or as much as there is digest: OpenSSL's default has changed.
            pss = padding.PSS(mgf=padding.MGF1(method), salt_length=padding.PSS.AUTO)
            key.verify(signature.bytes_, digest, pss, hashed)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature.bytes_, digest, ec.ECDSA(hashed))
        elif isinstance(key, dsa.DSAPublicKey):
            key.verify(signature.bytes_, digest, hashed)
    except (InvalidSignature, ValueError):
        return False
    return True
