"""The users that guests run as: each is one of the host's that nobody else is, and that no file tells the name of."""

from __future__ import annotations

import os
import secrets
import stat
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from floe.core.errors import HostFailure
from floe.hypervisors.protocol import IMAGES


class GuestUsers:
    """Those with `numbers`, for the guests whose folders are in `directory`.

    Which one a guest is, is told by the owner of its folder of images alone, and a user is taken as long as there is a
    file that is its own: so whoever died meanwhile, no two guests are one. Where to begin to look for a free one comes
    from the guest's id, so that one is rarely used again soon. `owner` and `chown` read and write whose a file is.
    """

    def __init__(
        self,
        directory: Path,
        numbers: range,
        *,
        owner: Callable[[Path], int] = lambda path: path.lstat().st_uid,
        chown: Callable[[Path, int, int], None] = os.chown,
    ) -> None:
        self._directory = directory
        self._numbers = numbers
        self._owner = owner
        self._chown = chown
        self._lent: set[int] = set()
        self._folders: dict[int, Path] = {}
        """Where a user's files are, or were: looked at again before somebody else becomes that user."""
        self._looked = False
        self._lock = threading.Lock()

    def of(self, folder: Path) -> int | None:
        """Return the user of the guest with this folder, None if it was not given one."""
        with suppress(FileNotFoundError, NotADirectoryError):
            owner = self._owner(folder / IMAGES)
            if owner in self._numbers:
                return owner
        return None

    def give(self, folder: Path) -> int:
        """Return the user of the guest with this folder: the one it has, or from now on a free one.

        Raises HostFailure if there is none.
        """
        with self._lock:
            known = self.of(folder)
            if known is not None:
                return known
            images = folder / IMAGES
            images.mkdir(mode=0o700, exist_ok=True)
            user = self._free(folder.name)
            self._folders[user] = folder
            self._chown(images, user, user)
            return user

    @contextmanager
    def lend(self) -> Iterator[int]:
        """Give a free user for as long as this lasts, to a program that reads what a tenant sent."""
        with self._lock:
            user = self._free(secrets.token_hex(8))
            self._lent.add(user)
        try:
            yield user
        finally:
            self._lent.discard(user)

    def _free(self, key: str) -> int:
        if not self._looked:
            for folder in self._directory.iterdir():
                self._folders |= dict.fromkeys(self._owners(folder), folder)
            self._looked = True
        start = zlib.crc32(key.encode()) % len(self._numbers)
        for offset in range(len(self._numbers)):
            user = self._numbers[(start + offset) % len(self._numbers)]
            there = self._folders.get(user)
            if user not in self._lent and (there is None or user not in self._owners(there)):
                return user
        raise HostFailure(
            "This host has as many guests as it can have.",
            detail=f"all users from {self._numbers[0]} to {self._numbers[-1]} have files in {self._directory}",
        )

    def _owners(self, folder: Path) -> set[int]:
        """Return whose all files in a folder are: of one that is being removed some may be left."""
        found = set()
        with suppress(FileNotFoundError, NotADirectoryError):
            for file in folder.iterdir():
                with suppress(FileNotFoundError):
                    found.add(self._owner(file))
        return found


@contextmanager
def nobody() -> Iterator[None]:
    """Give no user where there are none to give: programs run as this process's own."""
    yield


def group_for(mode: int, group: int) -> int | None:
    """Return the group that one must be of to use a device of this mode and group, None if everybody may use it.

    A guest is of a group of its own unless it needs this one. Raises PermissionError where only root may.
    """
    if mode & 0o006 == 0o006:
        return None
    if group != 0 and mode & 0o060 == 0o060:
        return group
    raise PermissionError(f"it is for root alone ({stat.filemode(mode)}, group {group})")


def closed(folder: Path) -> Path | None:
    """Return the outermost of the folders on the way to `folder`, and it, that only their owners may go through."""
    way = [*reversed(folder.resolve().parents), folder.resolve()]
    return next((place for place in way if not place.stat().st_mode & stat.S_IXOTH), None)
