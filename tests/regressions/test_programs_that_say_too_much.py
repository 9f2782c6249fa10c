"""All that a program said was kept in memory: one that an image took over could fill it."""

from __future__ import annotations

import sys

import pytest

from floe import programs

FLOOD = "import sys\nwhile True: sys.{stream}.write('x' * 65536)"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_a_program_that_says_too_much_is_ended_and_has_failed(stream: str) -> None:
    ended = await programs.run([sys.executable, "-c", FLOOD.format(stream=stream)], seconds=60)
    assert ended.code != 0
    assert ended.out == b""
    assert b"more than 67108864 bytes" in ended.err


async def test_what_a_program_reads_and_says_at_the_same_time_is_whole() -> None:
    data = bytes(range(256)) * 40_000
    copy = "import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer); sys.stderr.write('done')"
    ended = await programs.run([sys.executable, "-c", copy], seconds=60, data=data)
    assert (ended.code, ended.out, ended.err) == (0, data, b"done")


@pytest.mark.parametrize("data", [b"", b"x" * 10_000_000])
async def test_a_program_need_not_read_what_it_is_given(data: bytes) -> None:
    ended = await programs.run(["sh", "-c", "exec <&-; echo $0; exit 3", "word"], seconds=60, data=data)
    assert (ended.code, ended.out) == (3, b"word\n")


async def test_a_program_that_closes_what_it_says_and_goes_on_is_waited_for_until_its_time_is_over() -> None:
    ended = await programs.run(["sh", "-c", "exec >&- 2>&-; exit 4"], seconds=60)
    assert ended.code == 4
    with pytest.raises(TimeoutError):
        await programs.run(["sh", "-c", "exec >&- 2>&-; exec sleep 60"], seconds=0.2)
