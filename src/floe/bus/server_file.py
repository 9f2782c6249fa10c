"""The file of who may connect, as the bus's server includes it, and the list that it is made of: read and written."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from floe.core.errors import FloeError, Invalid

MOST_LIST = 4 << 20
"""Bytes of a list."""


def read_list(path: Path) -> str:
    """Return the text of a list of who may connect. Raises Invalid."""
    try:
        if (size := path.stat().st_size) > MOST_LIST:
            raise Invalid(f"The list {path} has {size} bytes; at most {MOST_LIST} are read.")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"The list {path} cannot be read: {error}") from error


def write_whole(path: Path, text: str) -> None:
    """Put it in the place of what was there, as a whole, readable for whom that was readable for; at first for all.

    It holds public halves of keys. Raises FloeError.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if not path.parent.exists():
            path.parent.mkdir()
            path.parent.chmod(0o711)  # whoever runs the server goes through
        fresh.write_text(text, encoding="utf-8")
        fresh.chmod(0o644)
        with contextlib.suppress(FileNotFoundError):
            before = path.stat()
            fresh.chmod(before.st_mode & 0o777)
            if os.geteuid() == 0:
                os.chown(fresh, before.st_uid, before.st_gid)
        fresh.replace(path)
    except OSError as error:
        raise FloeError(f"{path} cannot be written: {error}") from error
