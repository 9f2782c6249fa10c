"""System calls on namespaces and mounts that Python 3.11 does not offer. Each raises OSError."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWNET = 0x40000000
ALL = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWNET

MS_BIND = 0x1000
MS_MOVE = 0x2000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8

MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Put this thread into new namespaces of the kinds in `flags`."""
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, flags: int) -> None:
    """Enter a namespace by its descriptor, or those of the kinds in `flags` of a process by its pidfd (Linux 5.8)."""
    _check(_libc.setns(fd, flags), "setns")


def mount(source: str, target: Path, kind: str = "none", flags: int = 0, options: str = "") -> None:
    """Mount, bind, move or change the propagation of a mount."""
    result = _libc.mount(
        source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode() or None
    )
    _check(result, f"mount {target}")


def unmount(target: Path) -> None:
    """Take away what is mounted there, now if it is idle and else when it becomes so."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
