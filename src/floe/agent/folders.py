"""Folders on a host, with the same modes whatever the umask is, and on hosts that an earlier release began."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
from pathlib import Path
from typing import Protocol

_CLOSED = "closed"
_YOUNG = 1_100_000_000
"""Nanoseconds in which a file system may give two changes one time: the coarsest count in seconds."""


def make_passable(folder: Path) -> None:
    """Make a folder that everybody may go through and nobody but us can list; one that is there lets them through."""
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    mode = folder.stat().st_mode & 0o7777
    if mode & 0o011 != 0o011:
        folder.chmod(mode | 0o011)


def make_closed(folder: Path) -> None:
    """Make a folder for nobody but us, unless it is there: then it becomes so."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o777 != 0o700:
        folder.chmod(0o700)


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it."""
    shutil.rmtree(folder, ignore_errors=False)


def close_files(folder: Path) -> None:
    """Let only their owner use the files right in a folder; what is no folder has none."""
    if folder.is_symlink() or not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISREG(mode) and mode & 0o077:
                os.chmod(entry.path, 0o600)  # noqa: PTH101  # thousands of names, and none is made a Path


def close_guests(folder: Path, guests: Path) -> None:
    """Keep from guests what is on the way to their folders, and in those: an earlier release left it to be read.

    What this release makes is closed from the start. So a host's folder says in the time of a file up to when that is
    known (`note_closed`), and only folders that something came to since then are looked through.
    """
    known = folder / _CLOSED
    since = known.lstat().st_mtime_ns if known.exists() else 0
    close_files(folder)
    with os.scandir(guests) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime_ns >= since:
                close_files(Path(entry.path))
    note_closed(folder)


def note_closed(folder: Path) -> None:
    """Note that up to now all in a host's folder was made or closed by this release; without it, a start looks more."""
    with contextlib.suppress(OSError):
        (folder / _CLOSED).touch(mode=0o600)


class Versions(Protocol):
    """Tells whether the names in a folder may have changed; a simulation hands in `unknown`."""

    def __call__(self, folder: Path, /) -> tuple[int, ...] | None:
        """Return what is another as soon as a name in a folder comes or goes; None where that cannot be said."""
        ...


def version_of(folder: Path, /) -> tuple[int, ...] | None:
    """See `Versions`: None for a folder that changed a moment ago, or is not there. Take it before the list."""
    try:
        found = os.stat(folder)  # noqa: PTH116  # a third of what Path.stat takes, for every host every minute
    except FileNotFoundError:
        return None
    if time.time_ns() - found.st_ctime_ns < _YOUNG:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def unknown(_folder: Path, /) -> tuple[int, ...] | None:
    """Have every folder listed each time: for simulations, whose steps must not depend on the machine's time."""
    return None
