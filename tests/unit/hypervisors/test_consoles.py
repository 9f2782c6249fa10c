"""The process that keeps consoles: what it keeps, that it is one, that it outlives us and can itself be killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from floe.agent import console
from floe.hypervisors.libvirt.console_keeper import LIMIT
from floe.hypervisors.libvirt.consoles import Consoles

BOUND = 2 * LIMIT


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def guests(tmp_path: Path) -> Path:
    """The directory with a folder for each guest."""
    folder = tmp_path / "guests"
    folder.mkdir()
    return folder


@pytest.fixture
async def consoles(guests: Path) -> AsyncIterator[Consoles]:
    made = Consoles(guests)
    yield made
    made.close()
    end(made)


def end(consoles: Consoles) -> None:
    keeper = consoles.keeper()
    if keeper is not None:
        os.kill(keeper, signal.SIGKILL)


async def opened(consoles: Consoles, folder: Path) -> int:
    """Return what QEMU would write to."""
    folder.mkdir(exist_ok=True)
    return os.open(await consoles.pipe(folder), os.O_WRONLY)


def write(pipe: int, data: bytes) -> None:
    while data:
        data = data[os.write(pipe, data) :]


def written(pipe: int, data: bytes) -> int:
    """Return how much of it was taken: nothing while nobody reads."""
    with contextlib.suppress(BrokenPipeError):
        return os.write(pipe, data)
    return 0


def size(folder: Path) -> int:
    """Return the bytes of all files of a console; where one is renamed meanwhile, look again."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            return sum(file.stat().st_size for file in folder.glob("console.log*"))


async def test_what_a_guest_writes_is_kept_and_its_end_is_read_across_a_rotation(
    consoles: Consoles, guests: Path
) -> None:
    pipe = await opened(consoles, guests / "a")
    lines = b"".join(b"line %07d\n" % number for number in range(400_000))
    for start in range(0, len(lines), 65536):
        await asyncio.to_thread(write, pipe, lines[start : start + 65536])
        assert size(guests / "a") <= BOUND
    await until(lambda: console.read_tail(guests / "a" / "console.log", 1) == "line 0399999\n")
    assert console.read_tail(guests / "a" / "console.log").encode() == lines[-console.MOST :]
    os.close(pipe)


async def test_one_process_keeps_all_consoles_whoever_asks(consoles: Consoles, guests: Path) -> None:
    first = await opened(consoles, guests / "a")
    keeper = consoles.keeper()
    others = [Consoles(guests) for _ in range(3)]
    pipes = await asyncio.gather(*(opened(other, guests / f"b{n}") for n, other in enumerate(others)))
    assert {other.keeper() for other in others} == {keeper}
    for pipe in (first, *pipes):
        os.write(pipe, b"hello\n")
        os.close(pipe)
    await until(lambda: all(size(folder) == 6 for folder in guests.iterdir()))
    for other in others:
        other.close()


async def test_a_killed_keeper_holds_no_guest_up_and_the_next_reads_on(consoles: Consoles, guests: Path) -> None:
    pipe = await opened(consoles, guests / "a")
    os.write(pipe, b"before\n")
    await until(lambda: size(guests / "a") == 7)
    consoles.close()  # as if Floe had ended
    keeper = consoles.keeper()
    assert keeper is not None
    os.kill(keeper, signal.SIGKILL)
    await until(lambda: consoles.keeper() is None)
    with pytest.raises(BrokenPipeError):
        for _ in range(100):
            os.write(pipe, bytes(65536))

    again = Consoles(guests)
    await again.look_after()
    os.write(pipe, b"after\n")
    await until(lambda: console.read_tail(guests / "a" / "console.log") == "before\nafter\n")
    os.close(pipe)
    again.close()


async def test_a_keeper_that_dies_while_floe_runs_is_replaced(consoles: Consoles, guests: Path) -> None:
    pipe = await opened(consoles, guests / "a")
    keeper = consoles.keeper()
    assert keeper is not None
    os.kill(keeper, signal.SIGKILL)
    await until(lambda: consoles.keeper() not in {None, keeper})
    await until(lambda: written(pipe, b"after\n"))
    await until(lambda: size(guests / "a") == 6)
    os.close(pipe)


async def test_a_guest_made_anew_in_its_folder_has_a_console_of_its_own(consoles: Consoles, guests: Path) -> None:
    old = await opened(consoles, guests / "a")
    os.write(old, b"old\n")
    await until(lambda: size(guests / "a") == 4)
    shutil.rmtree(guests / "a")
    new = await opened(consoles, guests / "a")
    os.write(new, b"new\n")
    await until(lambda: console.read_tail(guests / "a" / "console.log") == "new\n")
    with pytest.raises(BrokenPipeError):
        os.write(old, b"nobody's\n")
    os.close(old)
    os.close(new)


async def test_without_guests_nothing_runs(consoles: Consoles) -> None:
    await consoles.look_after()
    assert consoles.keeper() is None


async def test_a_full_disk_costs_the_log_and_not_the_guest(consoles: Consoles, guests: Path) -> None:
    (guests / "a").mkdir()
    (guests / "a" / "console.log").symlink_to("/dev/full")
    pipe = await opened(consoles, guests / "a")
    await asyncio.wait_for(asyncio.to_thread(write, pipe, bytes(512 * 1024)), 30)
    (guests / "a" / "console.log").unlink()
    await until(lambda: os.write(pipe, b".") and (guests / "a" / "console.log").exists())
    os.close(pipe)
