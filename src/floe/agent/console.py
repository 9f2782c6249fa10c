"""The end of a guest's serial console, and the size of a log that nobody else bounds."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

MOST = 1024 * 1024
"""Bytes of a console that are shown, and kept when a log is cut."""

_TOO_LONG = 4 * MOST
_PREDECESSORS = 3
"""What virtlogd keeps; Floe's own keeper keeps one."""


def read_tail(path: Path, lines: int | None = None) -> str:
    """Return the last `lines` lines (all when None) of at most the last 1 MiB; "" if the guest wrote nothing yet.

    What was written before is in `path`.0 and so on, where whoever keeps the log began it anew. A guest may write any
    bytes: those that are no UTF-8 are shown as U+FFFD.
    """
    data, cut = _end(path)
    if cut:
        while data and data[0] & 0xC0 == 0x80:  # a character cut in two by where the reading began
            data = data[1:]
    if lines is not None:
        data = _last(data, lines)
    return data.decode(errors="replace")


def _end(path: Path) -> tuple[bytes, bool]:
    """Return the last 1 MiB of a log and its predecessors, and whether something is before that."""
    data, seen = b"", set()
    for file in (path, *(path.with_name(f"{path.name}.{number}") for number in range(_PREDECESSORS))):
        with contextlib.suppress(FileNotFoundError), file.open("rb") as opened:
            ident = os.fstat(opened.fileno()).st_ino
            if ident in seen:  # it became the predecessor just now
                continue
            seen.add(ident)
            size, room = opened.seek(0, os.SEEK_END), MOST - len(data)
            opened.seek(max(0, size - room))
            data = opened.read(room) + data
            if size > room:
                return data, True
    return data, False


def begin_anew(path: Path) -> None:
    """Forget what a guest that is no more wrote, for another one that writes to the same log."""
    for number in range(_PREDECESSORS):
        path.with_name(f"{path.name}.{number}").unlink(missing_ok=True)
    if path.exists():
        os.truncate(path, 0)


def trim(path: Path) -> bool:
    """Cut a log that has grown too long back to its last 1 MiB; True if it was.

    For guests that an earlier release started, or a libvirtd without virtlogd: there QEMU appends to the file itself
    (O_APPEND), and goes on at the new end.
    """
    try:
        if path.stat().st_size <= _TOO_LONG:  # the usual case, for which there is no need to open it
            return False
        with path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
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
