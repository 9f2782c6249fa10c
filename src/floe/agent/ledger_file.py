"""A ledger's file: lines of JSON, of which the last one may be cut off."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from floe.agent.ledger_entries import Entry

log = logging.getLogger(__name__)

_DECODER: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)


def entries(path: Path) -> Iterator[Entry]:
    """Return what a file says, if there is one, and cut off a line that was not written to its end."""
    if not path.exists():
        return
    good = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break  # the process died while it wrote this one, so it was never acted upon
            good += len(line)
            try:
                yield _DECODER.decode(line)
            except msgspec.DecodeError as error:
                log.warning("line %d of the ledger %s is damaged and was passed over: %s", number, path, error)
    os.truncate(path, good)


def replace(path: Path, data: bytes) -> None:
    """Write a file anew; on the disk there is the old one or the new one, and the new one once this has returned."""
    fresh = path.with_name(path.name + ".new")
    with opened(fresh, os.O_TRUNC) as file:
        file.write(data)
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)  # else what is written and synced from now on may be in a file that nobody finds
    finally:
        os.close(folder)


def opened(path: Path, flags: int) -> IO[bytes]:
    """Open a file for writing, unbuffered; specs hold keys and user data, so only its owner may read it."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600), "wb", buffering=0)
