"""Where image bytes are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What was written: its size in bytes and its digests in hex."""

    size: int
    sha512: str
    md5: str


class Blobs(Protocol):
    """Keeps bytes by id. Shipped: `blobs.files.FileBlobs` (one machine)."""

    async def write(self, blob_id: str, chunks: AsyncIterator[bytes], *, max_bytes: int) -> Stored:
        """Keep what `chunks` gives, whole or not at all: durable when this returns, no trace of it if it raises.

        Raises TooLarge past `max_bytes`; what `chunks` raises goes through.
        """
        ...

    def read(self, blob_id: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Give the bytes, in order. Raises NotFound."""
        ...

    def path(self, blob_id: str) -> Path | None:
        """Return the file that holds the bytes where there is one on this machine, else None."""
        ...

    async def delete(self, blob_id: str) -> None:
        """Forget the bytes; not an error if there are none."""
        ...

    async def sweep(self, wanted: set[str]) -> list[str]:
        """Delete half-written and unwanted bytes that an earlier process left; return their ids."""
        ...
