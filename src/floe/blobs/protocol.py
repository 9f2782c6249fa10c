"""Where image bytes are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import msgspec


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What was written: its size in bytes and its digests in hex."""

    size: int
    sha512: str
    md5: str


class Blobs(Protocol):
    """Keeps bytes by id. Shipped: `blobs.files.FileBlobs` (one machine), `blobs.s3.S3Blobs` (an object store).

    An id is a UUID, or one with a number after a dot. All raise Unavailable when the store does not work.
    """

    async def write(
        self, blob_id: str, chunks: AsyncIterator[bytes], *, max_bytes: int, announced: int = 0, caller: str = ""
    ) -> Stored:
        """Keep what `chunks` gives, whole or not at all: durable when this returns, no trace of it if it raises.

        `announced` is how many bytes are to come, 0 if nobody said. Raises TooLarge past `max_bytes` and when the
        store is full, Busy when too many of `caller` (a project) or of all are at it, Gone when the blob was deleted
        meanwhile; what `chunks` raises goes through.
        """
        ...

    def read(
        self, blob_id: str, start: int = 0, length: int | None = None, *, caller: str = ""
    ) -> AsyncIterator[bytes]:
        """Give the bytes, in order; callers take turns. Raises NotFound."""
        ...

    def path(self, blob_id: str) -> Path | None:
        """Return the file that holds the bytes where there is one on this machine, else None."""
        ...

    async def delete(self, blob_id: str) -> None:
        """Forget the bytes, whole or half-written; not an error if there are none."""
        ...

    async def find(self) -> list[str]:
        """Return the ids of all blobs that there are any bytes of, half-written ones too."""
        ...
