"""Runs the machine's programs from a thread.

Not by asyncio's own means: to start a program uvloop forks, and for as long as that takes, each process that any thread
forks waits for the interpreter's lock. libvirt forks in a thread of its own to start a guest; its child, in which
nobody can give that lock back, would wait for ever, and the guest with it. `subprocess` starts programs by vfork,
which concerns nobody else (and costs a process of this size much less).
"""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic

import msgspec

from floe.pools import alone, to_the_end

_MOST = 64 * 1024 * 1024
"""Bytes that a program may say; the longest so far are the rules of a host, some MB."""

_AT_ONCE = 64 * 1024


class Ended(msgspec.Struct, frozen=True, kw_only=True):
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
                out, err = _exchange(process, self._data or b"", monotonic() + seconds)
            except TimeoutError:
                process.kill()
                raise
            except OverflowError:
                process.kill()
                process.wait()
                out, err = b"", f"it was ended, as it said more than {_MOST} bytes".encode()
        return Ended(code=process.returncode, out=out, err=err)

    def call_off(self) -> None:
        with self._lock:
            self._called_off = True
            if self._process is not None:
                self._process.kill()


def _exchange(process: subprocess.Popen[bytes], data: bytes, deadline: float) -> tuple[bytes, bytes]:
    """Feed a program and take what it says until it has ended, like `communicate`, but never more than so much.

    Raises TimeoutError, and OverflowError for a program that says too much: it may be one that an image took over.
    """
    assert process.stdout is not None
    assert process.stderr is not None
    said = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    unsaid = memoryview(data)
    with selectors.DefaultSelector() as ready:
        for stream in said:
            ready.register(stream, selectors.EVENT_READ)
        if process.stdin is not None:
            ready.register(process.stdin.fileno(), selectors.EVENT_WRITE)
        while ready.get_map():
            able = ready.select(max(0.0, deadline - monotonic()))
            if not able:
                raise TimeoutError
            for stream in (key.fd for key, _ in able):
                if stream in said:
                    chunk = os.read(stream, _AT_ONCE)
                    said[stream] += chunk
                    more = bool(chunk)
                else:
                    unsaid = _tell(stream, unsaid)
                    more = bool(unsaid)
                if not more:
                    ready.unregister(stream)
                    if process.stdin is not None and stream not in said:
                        process.stdin.close()
            if sum(map(len, said.values())) > _MOST:
                raise OverflowError
    try:
        process.wait(max(0.0, deadline - monotonic()))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    out, err = said.values()
    return bytes(out), bytes(err)


def _tell(stream: int, data: memoryview) -> memoryview:
    """Write some of the data and return the rest; nothing is left for a program that does not listen any more."""
    try:
        return data[os.write(stream, data[: select.PIPE_BUF]) :]
    except BrokenPipeError:
        return memoryview(b"")


async def run(
    argv: Sequence[str],
    *,
    seconds: float,
    data: bytes | None = None,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
    queued: bool = False,
) -> Ended:
    """Run a program to its end, in `folder`, with `data` on its standard input; never through a shell.

    Only a few that are `queued` run at a time: those that may take long. The others wait for none.
    Raises OSError when it cannot be started, TimeoutError when it takes longer than `seconds`. A program that did not
    end by itself, because of that or because the caller was cancelled, has ended when this returns. One that says more
    than 64 MiB is ended, too, which is then its failure.
    """
    work = _Run(argv, data, env, folder)
    if queued:
        # The event loop's own threads, which nothing else uses.
        future = asyncio.get_running_loop().run_in_executor(None, work.to_the_end, seconds)
    else:
        future = asyncio.ensure_future(alone(work.to_the_end, seconds))
    return await to_the_end(future, work.call_off)
