"""Runs the host's programs: one place for deadlines, locale and what they say when they fail."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence

import msgspec

from floe import programs
from floe.core.errors import HostFailure

DEADLINE_SECONDS = 15.0
_DETAIL_CHARACTERS = 2000
_FAILED_LINE = re.compile(r"^Command failed -:(\d+)$", re.MULTILINE)


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """How a program ended."""

    code: int
    out: str
    err: str


def ports_failure(message: str, detail: str = "") -> HostFailure:
    """Return the failure that every part of the data plane raises."""
    return HostFailure(message, stage="ports", detail=detail[:_DETAIL_CHARACTERS])


async def run(
    argv: Sequence[str], *, text: str | None = None, deadline: float = DEADLINE_SECONDS, check: bool = True
) -> Finished:
    """Run a program to its end with `text` on its standard input; never through a shell.

    Raises `HostFailure` when it is not installed, takes longer than `deadline` seconds (it is killed) or,
    with `check`, ends with another status than 0.
    """
    data = None if text is None else text.encode()
    try:
        ended = await programs.run(argv, seconds=deadline, data=data, env=_environment())
    except TimeoutError:
        raise ports_failure(f"{argv[0]} did not end within {deadline:g} s.", " ".join(argv)) from None
    except OSError as error:
        raise ports_failure(f"{argv[0]} cannot be run on this host: {error.strerror}.", str(error)) from error
    finished = Finished(
        code=ended.code, out=ended.out.decode(errors="replace"), err=ended.err.decode(errors="replace").strip()
    )
    if check and finished.code:
        raise ports_failure(f"{argv[0]} failed on this host (status {finished.code}).", finished.err)
    return finished


async def ip_batch(lines: Sequence[str], namespace: str | None = None) -> tuple[list[int], str]:
    """Run lines with one `ip`, each whatever became of the others; return the numbers of those that failed, and why."""
    if not lines:
        return [], ""
    where = ["-n", namespace] if namespace else []
    text = "".join(f"{line}\n" for line in lines)
    finished = await run(["ip", *where, "-force", "-batch", "-"], text=text, check=False)
    if finished.code == 0:
        return [], ""
    failed = [int(number) - 1 for number in _FAILED_LINE.findall(finished.err)]
    if not failed:
        raise ports_failure(f"ip failed on this host (status {finished.code}).", finished.err)
    return failed, finished.err


def find_program(name: str) -> str | None:
    """Return where a program is installed; also in the administrator's directories, which PATH may lack."""
    return shutil.which(name, path=_path())


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "PATH": _path()}


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
