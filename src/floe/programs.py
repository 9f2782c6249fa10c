"""Runs the machine's programs from a thread.

Not by asyncio's own means: to start a program uvloop forks, and for as long as that takes, each process that any thread
forks waits for the interpreter's lock. libvirt forks in a thread of its own to start a guest; its child, in which
nobody can give that lock back, would wait for ever, and the guest with it. `subprocess` starts programs by vfork,
which concerns nobody else (and costs a process of this size much less).
"""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended."""

    code: int
    out: bytes
    err: bytes


class _Run:
    """One program, which another thread may end."""

    def __init__(
        self, argv: Sequence[str], data: bytes | None, env: Mapping[str, str] | None, folder: Path | None
    ) -> None:
        self._argv, self._data, self._env, self._folder = argv, data, env, folder
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._called_off = False

    def to_the_end(self, seconds: float) -> Ended:
        with self._lock:
            if self._called_off:
                raise TimeoutError
            process = self._process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL if self._data is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._env,
                cwd=self._folder,
            )
        with process:
            try:
                out, err = process.communicate(self._data, seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                raise TimeoutError from None
        return Ended(code=process.returncode, out=out, err=err)

    def call_off(self) -> None:
        with self._lock:
            self._called_off = True
            if self._process is not None:
                self._process.kill()


async def run(
    argv: Sequence[str],
    *,
    seconds: float,
    data: bytes | None = None,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Ended:
    """Run a program to its end, in `folder`, with `data` on its standard input; never through a shell.

    Raises OSError when it cannot be started, TimeoutError when it takes longer than `seconds`. A program that did not
    end by itself, because of that or because the caller was cancelled, has ended when this returns.
    """
    work = _Run(argv, data, env, folder)
    future = asyncio.ensure_future(asyncio.to_thread(work.to_the_end, seconds))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        work.call_off()
        while not future.done():
            try:
                await asyncio.wait({future})
            except asyncio.CancelledError:  # told twice; the program must end all the same
                continue
        if not future.cancelled():
            future.exception()
        raise
