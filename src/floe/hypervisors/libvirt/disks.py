"""Disk files through qemu-img: formats always explicit, and never with more rights than the work needs.

What tenants send is read by programs that have had many faults. Each run of one has a user of its own, no privileges,
no network, no process but itself, and bounds on memory, CPU, and what it may write. It can open only the file that it
was given and what everybody may read.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from floe import programs
from floe.core.disks import SWAPPING, Blank
from floe.core.errors import HostFailure, Invalid

GIB = 1024**3
MIB = 1024**2

BASE_FORMATS = ("raw", "qcow2")
"""What an overlay may stand on as it is; other formats are converted once, when they enter the cache."""

CONVERTED = {"vmdk": "vmdk", "vdi": "vdi", "vhd": "vpc", "vhdx": "vhdx"}
"""The image API's names for formats and qemu-img's."""

_ADDRESS_SPACE = 1 * GIB
_EMPTY_OVERLAY = 64 * MIB
"""More than the tables of an empty qcow2 file of any size take."""
_FILES = _PROCESSES = 64
_ROUNDED = 64 * 1024
"""Bytes that a disk may be larger than the image that it stands on, whose size need not be one of a disk."""
_QUICK = 30.0
_LONG = 3600.0


def confined(command: Sequence[str], user: int | None, *, seconds: float, memory: int, largest: int) -> tuple[str, ...]:
    """Return the command that runs `command` as a user without rights, within bounds; None leaves the user as it is.

    `memory` and `largest`, of any file it writes, are in bytes. All that it starts ends with it.
    """
    limits = (f"--as={memory}", f"--cpu={int(seconds)}", f"--fsize={largest}", f"--nofile={_FILES}", "--core=0")
    if user is None:
        return ("prlimit", *limits, "--", *command)
    return (
        *("prlimit", *limits, f"--nproc={_PROCESSES}", "--"),
        *("unshare", "--net", "--ipc", "--pid", "--fork", "--kill-child", "--"),
        *("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs"),
        *("--inh-caps=-all", "--bounding-set=-all", "--", *command),
    )


async def run(
    *command: str,
    user: int | None,
    stage: str,
    what: str,
    largest: int = 0,
    folder: Path = Path("/"),
    seconds: float = _QUICK,
    memory: int = _ADDRESS_SPACE,
    cause: str = "",
) -> bytes:
    """Run a program confined, in `folder`, and return its output; `what` begins the text of a failure.

    `cause` is the kind of error that it means when the program refuses its input.
    """
    argv = confined(command, user, seconds=seconds, memory=memory, largest=largest)
    try:
        ended = await programs.run(argv, seconds=seconds, folder=folder, queued=True)
    except FileNotFoundError as error:
        raise HostFailure(f"{what}: the host lacks the program {error.filename}.", stage=stage) from error
    except TimeoutError as error:
        raise HostFailure(f"{what}: {command[0]} took longer than {seconds:g} s.", stage=stage) from error
    if ended.code:
        text = ended.err.decode(errors="replace").strip()
        last = text.splitlines()[-1] if text else f"{command[0]} ended with status {ended.code}"
        if "No space left" in text:
            last, cause = "no space is left on the host's disk", ""
        raise HostFailure(f"{what}: {last}", stage=stage, detail=f"{' '.join(command)}: {text}", cause=cause)
    return ended.out


def hand_over(path: Path, user: int | None) -> None:
    """Make a file that is there a user's, who alone may use it."""
    path.chmod(0o600)
    if user is not None:
        os.chown(path, user, user)


def take_back(path: Path) -> None:
    """Make a user's file our own again."""
    os.chown(path, os.geteuid(), os.getegid())


async def create_overlay(base: Path, base_format: str, target: Path, size: int | None, user: int | None) -> None:
    """Make a user's qcow2 file on top of `base`, of `size` bytes or as large as it; an existing target stays."""
    if target.exists():  # noqa: ASYNC240  # one stat
        return
    if base_format not in BASE_FORMATS:
        raise HostFailure(f"A disk cannot stand on an image of format {base_format!r}.", stage="disk")
    partial = _new_file(target.with_name(target.name + ".partial"), user)
    extent: Sequence[str] = () if size is None else (str(size),)
    await run(
        *("qemu-img", "create", "-q", "-f", "qcow2", "-F", base_format, "-b", str(base)),
        *(str(partial), *extent),
        user=user,
        stage="disk",
        what="The root disk could not be made",
        largest=_EMPTY_OVERLAY,
    )
    partial.replace(target)


async def create_blank(target: Path, disk: Blank, user: int | None) -> None:
    """Make a user's sparse raw file with what a disk is to have on it; one that is there stays."""
    if target.exists():  # noqa: ASYNC240  # one stat
        return
    partial = _new_file(target.with_name(target.name + ".partial"), user)
    size = disk.size_mib * MIB
    os.truncate(partial, size)
    what = f"The disk {target.name!r} could not be made"
    await run(*formatter(disk), str(partial), user=user, stage="disk", what=what, largest=size)
    partial.replace(target)


def formatter(disk: Blank) -> tuple[str, ...]:
    """Return the command that makes a file system in a file, which is to follow."""
    if disk.filesystem == "vfat":  # its labels are in capitals
        return "mkfs.vfat", *(("-n", disk.label.upper()) if disk.label else ())
    labelled = ("-L", disk.label) if disk.label else ()
    if disk.filesystem == SWAPPING:
        return "mkswap", *labelled
    return "mkfs.ext4", "-q", "-F", "-t", disk.filesystem, *labelled


async def clone_raw(source: Path, target: Path, size: int, user: int | None) -> None:
    """Make a user's raw file of `size` bytes that begins as another one; its bytes are looked at by nobody."""
    if target.exists():  # noqa: ASYNC240  # one stat
        return
    partial = await _copy(source, target, size, user)
    if partial.stat().st_size < size:  # one stat
        os.truncate(partial, size)
    partial.replace(target)


async def clone_overlay(source: Path, target: Path, size: int, user: int | None) -> None:
    """Make a user's qcow2 file that is a copy of another one of ours, of `size` bytes, on what that stands on."""
    if target.exists():  # noqa: ASYNC240  # one stat
        return
    partial = await _copy(source, target, size, user)
    if await virtual_size(partial, size, user, stage="disk") < size:
        await run(
            *("qemu-img", "resize", "-q", "-f", "qcow2", str(partial), str(size)),
            user=user,
            stage="disk",
            what="The root disk could not be grown",
            largest=_most(size),
        )
    partial.replace(target)


async def unpack(source: Path, target: Path, size: int, user: int | None) -> None:
    """Make a user's raw file of `size` bytes that begins as the disk in a qcow2 file, which stands on no other."""
    if target.exists():  # noqa: ASYNC240  # one stat
        return
    await virtual_size(source, size, user, stage="disk")
    partial = _new_file(target.with_name(target.name + ".partial"), user)
    await run(
        *("qemu-img", "convert", "-q", "-f", "qcow2", "-O", "raw", str(source), str(partial)),
        user=user,
        stage="disk",
        what=f"The disk {target.name!r} could not be made of what it was elsewhere",
        largest=size,
        seconds=_LONG,
        memory=4 * GIB,
    )
    if partial.stat().st_size < size:  # one stat
        os.truncate(partial, size)
    partial.replace(target)


async def _copy(source: Path, target: Path, size: int, user: int | None) -> Path:
    """Copy a file of a disk of at most so many bytes, holes as holes; return the copy, a user's."""
    partial = _new_file(target.with_name(target.name + ".partial"), None)
    await run(
        *("cp", "--reflink=auto", "--sparse=always", "--", str(source), str(partial)),
        user=None,  # a file of ours, whose bytes nobody looks at
        stage="disk",
        what=f"The disk {source.name!r} could not be copied",
        largest=_most(size),
        seconds=_LONG,
    )
    hand_over(partial, user)
    return partial


def _most(size: int) -> int:
    """Return how many bytes the qcow2 file of a disk has at most."""
    return size + size // 1024 + _EMPTY_OVERLAY


@contextmanager
def apart(image: Path) -> Iterator[Path]:
    """Give a folder beside an image that has it as `image`, for whoever may read it and nothing near it.

    Nobody reaches that folder but by starting in it, as long as the one that the image lies in is closed.
    """
    folder = image.with_name(image.name + ".apart")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        folder.chmod(0o711)
        image.chmod(0o444)
        (folder / "image").hardlink_to(image)
        yield folder
    finally:
        shutil.rmtree(folder)


async def inspect(folder: Path, name: str, disk_format: str, user: int | None) -> int:
    """Check a file of what was put apart in `folder` as what it is said to be; return its virtual size in bytes.

    Raises HostFailure (stage image) for a broken one, and for one that refers to any other file.
    """
    output = await run(
        *("qemu-img", "info", "--output=json", "-f", CONVERTED.get(disk_format, disk_format), name),
        user=user,
        stage="image",
        what=f"The image is no usable {disk_format} file",
        folder=folder,
        cause=Invalid.kind,
    )
    try:
        facts = json.loads(output)
        size = int(facts["virtual-size"])
    except (ValueError, TypeError, KeyError) as error:
        raise HostFailure(
            "The image cannot be read.", stage="image", detail=output[:1000].decode(errors="replace")
        ) from error
    data_file = facts.get("format-specific", {}).get("data", {}).get("data-file")
    if facts.get("backing-filename") or facts.get("full-backing-filename") or data_file:
        text = "The image refers to a file outside itself, which is not allowed."
        raise HostFailure(text, stage="image", cause=Invalid.kind)
    if facts.get("encrypted"):
        text = "The image is encrypted, which this host does not support."
        raise HostFailure(text, stage="image", cause=Invalid.kind)
    return size


async def convert(folder: Path, disk_format: str, size: int, user: int | None) -> Path:
    """Turn the image that was put apart in `folder`, of virtual `size`, into qcow2; return the new file.

    It is checked like one that a tenant sent: the tenant's bytes went through what wrote it.
    """
    result = _new_file(folder / "result", user)
    await run(
        *("qemu-img", "convert", "-q", "-f", CONVERTED[disk_format], "-O", "qcow2", "image", result.name),
        user=user,
        stage="image",
        what=f"The image could not be converted from {disk_format}",
        largest=_most(size),
        folder=folder,
        seconds=_LONG,
        memory=4 * GIB,
    )
    await inspect(folder, result.name, "qcow2", user)
    return result


async def create_empty(target: Path, size: int, user: int | None) -> None:
    """Make a user's empty qcow2 file of a disk of so many bytes, which replaces what is there."""
    await run(
        *("qemu-img", "create", "-q", "-f", "qcow2", str(_new_file(target, user)), str(size)),
        user=user,
        stage="snapshot",
        what="The copy of the disk could not be made",
        largest=_EMPTY_OVERLAY,
    )


async def virtual_size(disk: Path, most: int, user: int | None, *, stage: str = "snapshot") -> int:
    """Return how many bytes the disk in a qcow2 file of ours has, at most so many; nothing below it is opened."""
    output = await run(
        *("qemu-img", "info", "--output=json", "-U", "-f", "qcow2", str(disk)),
        user=user,
        stage=stage,
        what="The disk cannot be read",
    )
    size = int(json.loads(output)["virtual-size"])
    if size > most + _ROUNDED:
        raise HostFailure("The disk is larger than it was made.", stage=stage, detail=f"{disk}: {size} bytes")
    return size


async def flatten(disk: Path, disk_format: str, copy: Path, size: int, user: int | None) -> None:
    """Copy a disk of so many bytes that nobody writes to, and all that it stands on, to a qcow2 file of its own."""
    await run(
        *("qemu-img", "convert", "-q", "-f", disk_format, "-O", "qcow2", str(disk), str(_new_file(copy, user))),
        user=user,
        stage="snapshot",
        what="The disk could not be copied",
        largest=_most(size),
        seconds=_LONG,
        memory=4 * GIB,
    )


def _new_file(path: Path, user: int | None) -> Path:
    """Make an empty file, which replaces what an earlier attempt left there."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    hand_over(path, user)
    return path
