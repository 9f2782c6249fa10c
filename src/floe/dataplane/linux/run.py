"""Runs the host's programs: one place for deadlines, locale and what they say when they fail."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from floe.core.errors import HostFailure

DEADLINE_SECONDS = 15.0
_DETAIL_CHARACTERS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
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
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL if text is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(),
        )
    except OSError as error:
        raise ports_failure(f"{argv[0]} cannot be run on this host: {error.strerror}.", str(error)) from error
    try:
        async with asyncio.timeout(deadline):
            out, err = await process.communicate(None if text is None else text.encode())
    except TimeoutError:
        raise ports_failure(f"{argv[0]} did not end within {deadline:g} s.", " ".join(argv)) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    finished = Finished(
        code=process.returncode or 0,
        out=out.decode(errors="replace"),
        err=err.decode(errors="replace").strip(),
    )
    if check and finished.code:
        raise ports_failure(f"{argv[0]} failed on this host (status {finished.code}).", finished.err)
    return finished


def find_program(name: str) -> str | None:
    """Return where a program is installed; also in the administrator's directories, which PATH may lack."""
    return shutil.which(name, path=_path())


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "PATH": _path()}


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
