"""The first bytes of files that the disks of guests are, for guests that nobody runs: pure."""

from __future__ import annotations

import struct
from pathlib import Path

_HEAD = struct.Struct(">4sIQI")
_QCOW2 = struct.Struct(">4sIQIIQIIQQIIQQQQII")


def overlay_head(base: Path) -> bytes:
    """Return the head of a qcow2 file, up to the name of the file that it stands on."""
    name = str(base).encode(errors="surrogateescape")
    return _HEAD.pack(b"QFI\xfb", 3, _HEAD.size, len(name)) + name


def empty_disk(size: int) -> bytes:
    """Return a qcow2 file of an empty disk of so many bytes: its head, and a table that says nothing is there."""
    bits = 16
    tables = max(1, -(-size // (1 << (2 * bits - 3))))
    head = _QCOW2.pack(b"QFI\xfb", 3, 0, 0, bits, size, 0, tables, 1 << bits, 2 << bits, 1, 0, 0, 0, 0, 0, 4, 104)
    return head.ljust(3 << bits, b"\0") + bytes(tables * 8)


def after_empty_disk(copied: bytes) -> bytes:
    """Return what follows in a file that begins as an empty disk."""
    _, _, _, _, _, size, *_ = _QCOW2.unpack_from(copied)
    return copied[len(empty_disk(size)) :]
