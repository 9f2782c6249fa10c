"""`floe up` under a limit of open files that more connections than that come to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from floe.api.front.limits import MOST_FILES, Limits, connections_for, limits_of, raise_open_files
from floe.core.errors import Invalid
from floe.settings import Settings

FILES = 256


def _few_files(hard: int | None) -> Callable[[], None]:
    def limit() -> None:
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard or most))

    return limit


@asynccontextmanager
async def _floe_up(state: Path, hard: int | None) -> AsyncIterator[tuple[int, int]]:
    """Run `floe up`; give its process id and port."""
    command = (sys.executable, "-m", "floe", "up", "--hypervisor", "fake", "--listen", "127.0.0.1:0")
    process = await asyncio.create_subprocess_exec(
        *command, "--state", str(state), stdout=asyncio.subprocess.PIPE, preexec_fn=_few_files(hard)
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            line = (await process.stdout.readline()).decode()
        assert line.startswith("floe: ready at "), line
        yield process.pid, int(line.split()[3].rpartition(":")[2])
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0


async def _ask(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET %s HTTP/1.1\r\nhost: c\r\nconnection: close\r\n\r\n" % path.encode())
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("hard", [FILES, None], ids=["that cannot be raised", "that can be raised"])
async def test_more_idle_connections_than_files_may_be_open_lock_nobody_out(tmp_path: Path, hard: int | None) -> None:
    async with _floe_up(tmp_path / "state", hard) as (pid, port):
        held = []
        for number in range(2 * FILES):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\n" if number % 2 else b"GET / HTTP/1.1\r\nhost: c\r\n\r\n")
            held.append(writer)
        assert (await _ask(port, "/healthz")).startswith(b"HTTP/1.1 200 ")
        assert b'floe_refused_connections_total{why="shed"}' in await _ask(port, "/metrics")
        if hard is not None:
            assert len(os.listdir(f"/proc/{pid}/fd")) < hard - 32  # noqa: PTH208
        for writer in held:
            writer.transport.abort()
        assert (await _ask(port, "/healthz")).startswith(b"HTTP/1.1 200 ")


def test_connections_leave_room_for_all_else_that_is_open() -> None:
    for files in (256, 1024, 4096, MOST_FILES):
        assert 2 * connections_for(files, 60) + 60 <= files - 64
    with pytest.raises(Invalid, match="may open 128 files"):
        connections_for(128, 60)


def test_settings_become_limits() -> None:
    settings = Settings(connections=100, connections_per_peer=10, trusted_proxies="10.0.0.1, fd00::/64")
    found = limits_of(settings, 20_000)
    assert (found.connections, found.per_peer) == (100, 10)
    assert [str(each) for each in found.trusted] == ["10.0.0.1/32", "fd00::/64"]
    assert limits_of(Settings(), MOST_FILES).connections == Limits().connections


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trusted_proxies", "10.0.0.1/8"),
        ("trusted_proxies", "proxy"),
        ("connections", 0),
        ("connections_per_peer", 0),
        ("connections", 10**6),
    ],
)
def test_what_is_no_limit_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(Invalid, match=name):
        Settings(**{name: value})  # type: ignore[arg-type]


def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, before[1]), before[1]))
        assert raise_open_files() == min(before[1], MOST_FILES)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
