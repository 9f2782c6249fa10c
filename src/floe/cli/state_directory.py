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
_SECRET = ("floe.db", "floe.db-wal", "floe.db-shm", "secrets.json", "clouds.yaml", "bus.seed")
_OURS = (*_SECRET, "lock")
_UP = "another `floe up` (pid {{holder}}) already uses the state directory {state}."
_SHARED = "roles in processes of their own (floe api, floe conductor, floe agent)"
"""Who has a state directory that several processes share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loose:
    """Something about a state directory by which others could reach what is in it, and the command that mends it."""

    what: str
    remedy: str


def take(state: Path) -> IO[str]:
    """Make or mend the state directory and hold it alone, for as long as the file returned is open.

    From here on this process makes files that are its own alone. A directory of an earlier release is closed to others.
    Raises Conflict with what is loose, or when another process holds it.
    """
    _mend(state)
    return hold(state)


def share(state: Path) -> IO[str]:
    """Do what `take` does, beside other roles. Raises Conflict with what is loose, or when `floe up` has it."""
    _mend(state)
    return _locked(state / "lock", _SHARED, fcntl.LOCK_SH, _UP.format(state=state))


@contextlib.contextmanager
def hold_role(state: Path, name: str) -> Iterator[Path]:
    """Be the only process of a name that shares a state directory, and give a folder that is its own.

    Raises Conflict when another process has this name.
    """
    folder = state / "roles" / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = f"another process (pid {{holder}}) already is {name!r} in the state directory {state}."
    with _locked(folder / "lock", str(os.getpid()), fcntl.LOCK_EX, f"{text} Name this one with --instance."):
        yield folder


@contextlib.contextmanager
def hold_host(state: Path, host: str) -> Iterator[None]:
    """Hold what a state directory has of a host. Raises Conflict: two agents of one host would undo each other's work.

    The folder is passable: the disks of guests are below it.
    """
    folder = state / "hosts" / host
    for each in (folder.parent, folder):
        each.mkdir(mode=PASSABLE, exist_ok=True)
    text = f"another agent (pid {{holder}}) already serves host {host!r} in the state directory {state}."
    with _locked(folder / "lock", str(os.getpid()), fcntl.LOCK_EX, text):
        yield


def _mend(state: Path) -> None:
    os.umask(0o077)
    found = loose_ends(state)
    if found:
        said = "\n".join(f"  {each.what}; mend it with:\n    {each.remedy}" for each in found)
        raise Conflict(f"the state directory {state} is not safe to use:\n{said}")
    _make(state)
    state.chmod(PASSABLE)
    for path in state.iterdir():
        with contextlib.suppress(FileNotFoundError):  # the database removes files of its own
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode) and mode & 0o077:
                path.chmod(0o600)


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
    return _locked(state / "lock", str(os.getpid()), fcntl.LOCK_EX, _UP.format(state=state))


def _locked(path: Path, says: str, how: int, refusal: str) -> IO[str]:
    """Lock a file and write into it who has it. Raises Conflict with a text that tells of the `{holder}`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    file = os.fdopen(descriptor, "r+")
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = file.read().strip() or "unknown"
        file.close()
        if holder == _SHARED:
            raise Conflict(f"{holder} already use {path.parent}; `floe up` needs it for itself.") from error
        raise Conflict(refusal.replace("{holder}", holder)) from error
    file.truncate(0)
    file.write(f"{says}\n")
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
