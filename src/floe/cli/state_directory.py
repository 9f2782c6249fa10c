"""The state directory: taken only if nobody but its owner can change what is in it, or read what is secret."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from floe.core.errors import Conflict

PASSABLE = 0o711
"""Guests, who are others than us, have their disks below; they can go through and see nothing."""
_SECRET = ("floe.db", "floe.db-wal", "floe.db-shm", "secrets.json", "clouds.yaml")
_OURS = (*_SECRET, "lock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loose:
    """Something about a state directory by which others could reach what is in it, and the command that mends it."""

    what: str
    remedy: str


def take(state: Path) -> IO[str]:
    """Make or mend the state directory and hold it, for as long as the file returned is open.

    From here on this process makes files that are its own alone. A directory of an earlier release is closed to others.
    Raises Conflict with what is loose, or when another process holds it.
    """
    os.umask(0o077)
    found = loose_ends(state)
    if found:
        said = "\n".join(f"  {each.what}; mend it with:\n    {each.remedy}" for each in found)
        raise Conflict(f"the state directory {state} is not safe to use:\n{said}")
    _make(state)
    state.chmod(PASSABLE)
    for path in state.iterdir():
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode) and mode & 0o077:
            path.chmod(0o600)
    return hold(state)


def loose_ends(state: Path) -> list[Loose]:
    """Return what is loose about a state directory, which need not be there. Nothing is changed."""
    found = [*_way(state), *_itself(state)]
    if not found and state.exists():
        for name in _OURS:
            with contextlib.suppress(FileNotFoundError):
                found += _file(state / name, (state / name).lstat(), reached=state.stat().st_mode & 0o001 != 0)
    return found


def _way(state: Path) -> Iterator[Loose]:
    """Find parents in which anybody could put another directory in the place of this one."""
    for folder in sorted({*state.absolute().parents, *state.resolve().parents}):
        if folder.exists():
            mode = folder.stat().st_mode
            if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                yield Loose(what=f"everybody may rename what is in {folder}", remedy=f"chmod o-w {_word(folder)}")


def _itself(state: Path) -> Iterator[Loose]:
    try:
        link, found = state.lstat(), state.stat()
    except FileNotFoundError:
        if state.is_symlink():
            yield Loose(what=f"{state} is a link to nothing", remedy=f"rm {_word(state)}")
        return
    owners = {0, os.geteuid()}
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in owners:
        yield Loose(what=f"{state} is a link that belongs to {_user(link.st_uid)}", remedy=f"rm {_word(state)}")
    elif not stat.S_ISDIR(found.st_mode):
        yield Loose(what=f"{state} is no directory", remedy=f"rm {_word(state)}")
    elif found.st_uid != os.geteuid():
        yield _foreign(state, found)
    elif found.st_mode & 0o022:
        yield Loose(what=f"others may write to {state}", remedy=f"chmod go-w {_word(state)}")


def _file(path: Path, found: os.stat_result, *, reached: bool) -> Iterator[Loose]:
    """Judge a file; `reached` says whether everybody can get to it."""
    if not stat.S_ISREG(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "no regular file"
        yield Loose(what=f"{path} is {kind}", remedy=f"rm {_word(path)}")
    elif found.st_nlink > 1:
        name, copy = _word(path), _word(path.with_name(f"{path.name}.own"))
        yield Loose(what=f"{path} is a file of several names", remedy=f"cp -p {name} {copy} && mv {copy} {name}")
    elif found.st_uid != os.geteuid():
        yield _foreign(path, found)
    elif found.st_mode & 0o022:
        yield Loose(what=f"others may write to {path}", remedy=f"chmod 600 {_word(path)}")
    elif path.name in _SECRET and reached and found.st_mode & 0o004:
        yield Loose(what=f"everybody can read {path}, which holds secrets", remedy=f"chmod 600 {_word(path)}")


def _make(state: Path) -> None:
    """Make the directory and those above it that are missing, so that guests can go through all of them."""
    for folder in (*reversed(state.parents), state):
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            folder.chmod(PASSABLE)


def hold(state: Path) -> IO[str]:
    """Hold a state directory for as long as the file returned is open: two on one would undo each other's work.

    Whoever held it before is dead then, which is what leases are broken on. Raises Conflict.
    """
    descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    file = os.fdopen(descriptor, "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = file.read().strip() or "unknown"
        file.close()
        raise Conflict(f"another `floe up` (pid {holder}) already uses the state directory {state}.") from error
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _foreign(path: Path, found: os.stat_result) -> Loose:
    whole = "-R " if stat.S_ISDIR(found.st_mode) else ""
    remedy = f"chown {whole}{_user(os.geteuid())} {_word(path)}"
    return Loose(what=f"{path} belongs to {_user(found.st_uid)}, not to us", remedy=remedy)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _word(path: Path) -> str:
    return shlex.quote(str(path))
