"""Disk files through qemu-img: formats always explicit, memory, CPU and time limited."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from floe import programs
from floe.core.errors import HostFailure, Invalid

GIB = 1024**3
MIB = 1024**2

BASE_FORMATS = ("raw", "qcow2")
"""What an overlay may stand on as it is; other formats are converted once, when they enter the cache."""

CONVERTED = {"vmdk": "vmdk", "vdi": "vdi", "vhd": "vpc", "vhdx": "vhdx"}
"""The image API's names for formats and qemu-img's."""

_ADDRESS_SPACE = 1 * GIB
_QUICK = 30.0
_LONG = 3600.0


async def run(
    *command: str, stage: str, what: str, seconds: float = _QUICK, memory: int = _ADDRESS_SPACE, cause: str = ""
) -> bytes:
    """Run a program under limits and return its output; `what` begins the text of a failure.

    `cause` is the kind of error that it means when the program refuses its input.
    """
    limited = ("prlimit", f"--as={memory}", f"--cpu={int(seconds)}", "--", *command)
    try:
        ended = await programs.run(limited, seconds=seconds)
    except FileNotFoundError as error:
        raise HostFailure(f"{what}: the host lacks the program {limited[0]}.", stage=stage) from error
    except TimeoutError as error:
        raise HostFailure(f"{what}: {command[0]} took longer than {seconds:g} s.", stage=stage) from error
    if ended.code:
        text = ended.err.decode(errors="replace").strip()
        last = text.splitlines()[-1] if text else f"{command[0]} ended with status {ended.code}"
        if "No space left" in text:
            last, cause = "no space is left on the host's disk", ""
        raise HostFailure(f"{what}: {last}", stage=stage, detail=f"{' '.join(command)}: {text}", cause=cause)
    return ended.out


async def create_overlay(base: Path, base_format: str, target: Path, size: int | None) -> None:
    """Make a qcow2 file on top of `base`, of `size` bytes or as large as it; an existing target stays as it is."""
    if target.exists():  # noqa: ASYNC240  # one stat
        return
    if base_format not in BASE_FORMATS:
        raise HostFailure(f"A disk cannot stand on an image of format {base_format!r}.", stage="disk")
    partial = target.with_name(target.name + ".partial")
    extent: Sequence[str] = () if size is None else (str(size),)
    await run(
        *("qemu-img", "create", "-q", "-f", "qcow2", "-F", base_format, "-b", str(base)),
        *(str(partial), *extent),
        stage="disk",
        what="The root disk could not be made",
    )
    partial.replace(target)


async def create_blank(target: Path, size: int, formatter: Sequence[str]) -> None:
    """Make a sparse raw file of `size` bytes and let `formatter` (mkswap, mkfs) prepare it; an existing one stays."""
    if target.exists():  # noqa: ASYNC240  # one stat
        return
    partial = target.with_name(target.name + ".partial")
    with partial.open("wb") as file:
        file.truncate(size)
    what = f"The disk {target.name!r} could not be made"
    await run(*formatter, str(partial), stage="disk", what=what)
    partial.replace(target)


async def inspect(path: Path, disk_format: str) -> int:
    """Check an image as what it is said to be and return its virtual size in bytes.

    Raises HostFailure (stage image) for a broken one, and for one that refers to any other file.
    """
    output = await run(
        *("qemu-img", "info", "--output=json", "-f", CONVERTED.get(disk_format, disk_format), str(path)),
        stage="image",
        what=f"The image is no usable {disk_format} file",
        cause=Invalid.kind,
    )
    facts = json.loads(output)
    data_file = facts.get("format-specific", {}).get("data", {}).get("data-file")
    if facts.get("backing-filename") or facts.get("full-backing-filename") or data_file:
        text = "The image refers to a file outside itself, which is not allowed."
        raise HostFailure(text, stage="image", cause=Invalid.kind)
    if facts.get("encrypted"):
        text = "The image is encrypted, which this host does not support."
        raise HostFailure(text, stage="image", cause=Invalid.kind)
    return int(facts["virtual-size"])


async def convert(path: Path, disk_format: str) -> None:
    """Turn an image into qcow2, in place."""
    result = path.with_name(path.name + ".qcow2")
    try:
        await run(
            *("qemu-img", "convert", "-q", "-f", CONVERTED[disk_format], "-O", "qcow2", str(path), str(result)),
            stage="image",
            what=f"The image could not be converted from {disk_format}",
            seconds=_LONG,
            memory=4 * GIB,
        )
        result.replace(path)
    finally:
        result.unlink(missing_ok=True)
