"""An upload from its begin to its end: what it takes, what it writes, what it gives back. `image_data` begins it.

The workflow `upload-image` says when which of these is done.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime

import msgspec

from floe.blobs import signatures
from floe.blobs.inspect import Found, Inspection
from floe.cloud import image_proofs, image_quotas
from floe.cloud.cloud import Cloud
from floe.core.errors import Gone, Invalid
from floe.core.image_quotas import MIB, ImageUsage
from floe.core.image_signatures import HASHES, SHA512, ImageProof, is_whole, signature_of
from floe.core.images import ACTIVE, QUEUED, SAVING, ImageBlob
from floe.store import image_blobs as blobs
from floe.store import image_usage, images
from floe.store.engine import Connection

_FIRST_STEP, _LONGEST_STEP = 1 * MIB, 64 * MIB
"""Bytes that an upload of unknown size takes room for at a time."""

Reserve = Callable[[int, int], Awaitable[int]]
"""Takes room for more bytes, so many at least, at best so many; returns for how many."""


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes that come with a request; `announced` is how many are to come, 0 if nobody said."""

    chunks: AsyncIterator[bytes]
    announced: int
    disk_format: str
    blob: ImageBlob
    properties: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Of the image, which may say how the bytes were signed."""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What was written: sizes in bytes, digests in hex."""

    size: int
    virtual_size: int | None
    md5: str
    sha512: str


async def write(cloud: Cloud, incoming: Incoming, reserve: Reserve) -> Written:
    """Write the bytes that come, once the project has room for them. Raises what `image_data.upload` does."""
    blob, settings = incoming.blob, cloud.settings
    turn, most = blob.project_id or "", settings.max_virtual_bytes
    proof = await _proof(cloud, incoming, turn)
    digest = _digest(proof)
    inspection = await cloud.pools.blobs.run(Inspection, incoming.disk_format, most, caller=(turn,))
    found: list[Found] = []
    stored = await cloud.blobs.write(
        blob.id,
        _hashed(cloud, _inspected(_paid(incoming, reserve), inspection, found), digest, turn),
        max_bytes=settings.max_image_bytes,
        announced=incoming.announced,
        caller=turn,
    )
    if proof is not None:
        await _demand_signed(cloud, incoming, proof, digest.digest() if digest else bytes.fromhex(stored.sha512), turn)
    return Written(size=stored.size, virtual_size=found[0].virtual_size, md5=stored.md5, sha512=stored.sha512)


async def _paid(incoming: Incoming, reserve: Reserve) -> AsyncIterator[bytes]:
    """Pass bytes on once the project has room for them. Raises TooLarge, Gone."""
    held, total, step = incoming.blob.reserved, 0, _FIRST_STEP
    async for chunk in incoming.chunks:
        total += len(chunk)
        if total > held:
            needed = total - held
            held += await reserve(needed, max(needed, step))
            step = min(2 * step, _LONGEST_STEP)
        yield chunk


async def _inspected(chunks: AsyncIterator[bytes], inspection: Inspection, found: list[Found]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        inspection.feed(chunk)
        yield chunk
    found.append(inspection.finish())


async def _proof(cloud: Cloud, incoming: Incoming, turn: str) -> ImageProof | None:
    """Return what the bytes are checked by, None where their image does not say that they were signed."""
    if not is_whole(incoming.properties):
        return None
    signature = signature_of(incoming.blob.image_id, incoming.properties)
    return None if signature is None else await image_proofs.proof_of(cloud, signature, None, turn)


def _digest(proof: ImageProof | None) -> hashlib._Hash | None:
    """Return what makes the digest that was signed, where the store does not make it anyway."""
    method = SHA512 if proof is None else proof.signature.hash_method
    return None if method == SHA512 else hashlib.new(HASHES[method])


async def _hashed(
    cloud: Cloud, chunks: AsyncIterator[bytes], digest: hashlib._Hash | None, turn: str
) -> AsyncIterator[bytes]:
    waiting, size = list[bytes](), 0
    async for chunk in chunks:
        if digest is not None:
            waiting.append(chunk)
            size += len(chunk)
            if size >= MIB:  # a thread is worth its while
                await cloud.pools.blobs.run(digest.update, b"".join(waiting), caller=(turn,), let_in=True)
                waiting, size = [], 0
        yield chunk
    if digest is not None:
        digest.update(b"".join(waiting))


async def _demand_signed(cloud: Cloud, incoming: Incoming, proof: ImageProof, digest: bytes, turn: str) -> None:
    if not await cloud.pools.blobs.run(signatures.is_signed, proof, digest, caller=(turn,), let_in=True):
        certificate = proof.signature.certificate_id
        raise Invalid(
            f"Signature verification failed for image {incoming.blob.image_id}: its data is not what the holder of "
            f"certificate {certificate} signed. The image is queued; correct its data or its img_signature properties."
        )


# -- in the workflow's transactions -----------------------------------------------------------------------


def reserve(conn: Connection, blob: ImageBlob, needed: int, wanted: int) -> int:
    """Take room for more bytes of an upload; return for how many. Raises TooLarge, Gone."""
    granted = image_quotas.take_bytes(conn, blob.project_id, needed, wanted)
    if not blobs.reserve(conn, blob.id, granted):
        raise ended(blob.image_id)
    return granted


def finish(conn: Connection, blob_id: str, image_id: str, written: Written, now: datetime) -> None:
    """Make what was written the image's data. Raises Gone."""
    held, image = blobs.get(conn, blob_id), images.get(conn, image_id)
    if held is None or image is None or not blobs.take(conn, blob_id):
        raise ended(image_id)
    values = {
        "status": ACTIVE,
        "size": written.size,
        "virtual_size": written.virtual_size,
        "checksum": written.md5,
        "sha512": written.sha512,
        "blob_id": blob_id,
        "updated_at": now,
    }
    if not images.change(conn, image_id, values, only_in=[SAVING]):
        raise ended(image_id)
    image_usage.add(conn, held.project_id, ImageUsage(uploads=-1, staged=-held.reserved))
    image_usage.add(conn, image.owner, ImageUsage(bytes=written.size))


def give_back(conn: Connection, blob_id: str, now: datetime) -> None:
    """Queue an image again whose upload failed, and give back what that took; its bytes are gone."""
    blob = blobs.get(conn, blob_id)
    if blob is None:
        return
    if blobs.take(conn, blob_id):
        image_usage.add(conn, blob.project_id, ImageUsage(uploads=-1, staged=-blob.reserved))
        images.change(conn, blob.image_id, {"status": QUEUED, "updated_at": now}, only_in=[SAVING])
    else:
        blobs.delete(conn, blob_id)


def ended(image_id: str) -> Gone:
    """Return what an upload fails with that somebody else has ended."""
    return Gone(f"Image {image_id} was deleted, or its upload was given up, while its data was being uploaded.")
