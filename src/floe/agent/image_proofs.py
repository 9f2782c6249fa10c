"""Signed images on a host: whether the bytes in its cache are what the holder of a key signed.

What is kept beside a cached image is which digests its bytes have, never that a signature was found good: a file is
named by its SHA-512, of which all other digests follow, but whom to believe is said anew by each command.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Mapping
from pathlib import Path

from msgspec import structs

from floe.agent.image_copy import chunks_of
from floe.agent.threads import Offload
from floe.blobs import signatures
from floe.core.errors import HostFailure, Invalid
from floe.core.guests import GuestImage
from floe.core.image_signatures import HASHES, SHA512, is_signed

Digests = Mapping[str, str]
"""Of the bytes that an image was uploaded as: in hex, by hash method."""


def believed(image: GuestImage) -> GuestImage:
    """Return an image with its checksum. Raises HostFailure for a signed one that nothing came with to check it by."""
    if image.proof is not None:
        return structs.replace(image, checksum=image.sha512)
    if is_signed(image.properties):
        raise _failure(f"Image {image.image_id} is signed, and nothing says by which certificate it can be verified.")
    return image


def lacks(image: GuestImage, digests: Digests) -> bool:
    """Say whether a digest is missing that the signature of an image is over."""
    return image.proof is not None and _digest(image, digests) is None


def demand_signed(image: GuestImage, digests: Digests) -> None:
    """Raise HostFailure unless an image is what was signed. To be run in a thread."""
    proof, digest = image.proof, _digest(image, digests)
    if proof is None:
        return
    signature = proof.signature
    try:
        if digest is not None and signatures.is_signed(proof, bytes.fromhex(digest)):
            return
    except Invalid as error:
        raise _failure(f"Image {image.image_id} cannot be verified: {error.message}") from error
    raise _failure(
        f"Signature verification for the image failed: image {image.image_id} is not what the holder of certificate "
        f"{signature.certificate_id} signed ({signature.key_type}, {signature.hash_method})."
    )


async def read(path: Path, image: GuestImage, known: Digests, offload: Offload) -> dict[str, str]:
    """Return the digests that are known, and the one that the signature of an image is over, of a file of its bytes.

    Raises HostFailure where that does not have the image's checksum.
    """
    if not lacks(image, known) or image.proof is None:
        return dict(known)
    method = image.proof.signature.hash_method
    stop = threading.Event()
    work = asyncio.ensure_future(offload(_digests, path, method, stop))
    try:
        sha512, digest = await asyncio.shield(work)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait({work})
        raise
    if sha512 != image.checksum:
        text = f"The bytes of image {image.image_id} changed on the host while they were being verified."
        raise HostFailure(text, stage="image")
    return {**known, method: digest}


def _digest(image: GuestImage, digests: Digests) -> str | None:
    if image.proof is None:
        return None
    method = image.proof.signature.hash_method
    return image.checksum if method == SHA512 else digests.get(method)


def _digests(path: Path, method: str, stop: threading.Event) -> tuple[str, str]:
    """Return the SHA-512 of a file and another digest, both of the same bytes: they are read once."""
    checksum, other = hashlib.sha512(), hashlib.new(HASHES[method])
    with path.open("rb") as file:
        for chunk in chunks_of(file):
            if stop.is_set():
                break
            checksum.update(chunk)
            other.update(chunk)
    return checksum.hexdigest(), other.hexdigest()


def _failure(message: str) -> HostFailure:
    return HostFailure(message, stage="image", cause=Invalid.kind)
