"""The files in a guest's folder: those that it shares with other guests, and those that are none of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence, Set
from pathlib import Path

from floe.agent.folders import make_passable
from floe.agent.images import CachedImage
from floe.hypervisors.protocol import IMAGES, GuestFiles


def prepare(files: GuestFiles, shared: Sequence[tuple[Path, CachedImage]]) -> None:
    """Make a guest's folders, and have in one of them the images that it shares with others.

    They are no copies, and there as long as the guest, whatever the cache does. Everybody may read such a file itself;
    who reaches it is said by the folder that it is in.
    """
    make_passable(files.directory)
    (files.directory / IMAGES).mkdir(mode=0o700, exist_ok=True)
    for target, image in shared:
        _share(image, target)


def content(files: GuestFiles, role: str) -> Path:
    """Return where the image is that a blank disk begins as, while that is made of it."""
    return files.directory / IMAGES / f"{role}.content"


def copy_variables(source: Path, target: Path) -> None:
    """Copy what a guest's firmware keeps, if it keeps anything, for the same user."""
    try:
        owner = source.stat()
    except FileNotFoundError:
        return
    partial = target.with_name(target.name + ".partial")
    shutil.copy2(source, partial)
    os.chown(partial, owner.st_uid, owner.st_gid)
    partial.replace(target)


def tidy(folder: Path, own: Set[Path], endings: Set[str]) -> None:
    """Remove from a guest's folder the files with such endings, and all images, that are none of its own."""
    if not folder.exists():
        return
    images = folder / IMAGES
    there = [path for path in folder.iterdir() if path.suffix in {*endings, ".partial"}]
    for path in (*there, *(images.iterdir() if images.exists() else ())):
        if path not in own:
            path.unlink()


def _share(image: CachedImage, target: Path) -> None:
    try:
        target.hardlink_to(image.path)
    except FileExistsError:
        return
    except OSError:  # the cache lies on another file system, or the file has as many links as it can have
        partial = target.with_name(target.name + ".partial")
        partial.unlink(missing_ok=True)
        shutil.copyfile(image.path, partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # as what is in the cache: a disk that is whole stands on an image that is
        partial.chmod(0o444)
        partial.replace(target)
