"""The end of a guest's serial console, and the log's size kept in bounds."""

from __future__ import annotations

import os
from pathlib import Path

MOST = 1024 * 1024
"""Bytes of a console that are shown, and kept when a log is cut."""

_TOO_LONG = 4 * MOST


def read_tail(path: Path, lines: int | None = None) -> str:
    """Return the last `lines` lines (all when None) of at most the last 1 MiB; "" if the guest wrote nothing yet.

    A guest may write any bytes: those that are no UTF-8 are shown as U+FFFD.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - MOST))
            data = file.read(MOST)
    except FileNotFoundError:
        return ""
    if size > MOST:
        while data and data[0] & 0xC0 == 0x80:  # a character cut in two by where the reading began
            data = data[1:]
    if lines is not None:
        data = _last(data, lines)
    return data.decode(errors="replace")


def trim(path: Path) -> bool:
    """Cut a log that has grown too long back to its last 1 MiB; True if it was.

    QEMU appends (O_APPEND), so it goes on at the new end. A guest that writes without end fills no disk.
    """
    try:
        with path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size <= _TOO_LONG:
                return False
            file.seek(size - MOST)
            kept = file.read(MOST)
            file.truncate(0)
            file.seek(0)
            file.write(kept)
    except FileNotFoundError:
        return False
    return True


def _last(data: bytes, lines: int) -> bytes:
    if lines <= 0:
        return b""
    end = len(data) - 1 if data.endswith(b"\n") else len(data)
    for _ in range(lines):
        end = data.rfind(b"\n", 0, end)
        if end < 0:
            return data
    return data[end + 1 :]
