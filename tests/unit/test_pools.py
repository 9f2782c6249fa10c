"""Slow work: callers take turns, the queue is bounded, and a flood displaces itself alone."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from floe.core.counters import Counters
from floe.core.errors import Busy, Unavailable
from floe.pools import QUEUED, REFUSED, Caller, Pool, alone, give_back_memory


class Held:
    """A pool of one thread which is at work until it is let go, so that all else waits."""

    def __init__(self, **bounds: int) -> None:
        self.counters = Counters()
        self.pool = Pool("test", 1, counters=self.counters, **bounds)
        self.done: list[str] = []
        self._go = threading.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def ask(self, name: str, *caller: str, **more: Any) -> asyncio.Task[None]:
        """Ask for something of a caller; it waits when this returns."""
        task = asyncio.create_task(self.pool.run(self.done.append, name, caller=caller, **more))
        self._tasks.append(task)
        await asyncio.sleep(0)
        return task

    async def hold(self, *caller: str) -> None:
        """Keep the thread busy."""
        self._tasks.append(asyncio.create_task(self.pool.run(self._go.wait, caller=caller)))
        await asyncio.sleep(0)

    async def finish(self) -> list[str]:
        """Let go, and return what was done in its order."""
        self._go.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return self.done


@pytest.fixture
async def held() -> AsyncIterator[Callable[..., Held]]:
    made: list[Held] = []

    def make(**bounds: int) -> Held:
        made.append(Held(**bounds))
        return made[-1]

    yield make
    for each in made:
        await each.finish()
        each.pool.close()


async def test_a_caller_with_much_waiting_holds_nobody_up(held: Callable[..., Held]) -> None:
    some = held()
    await some.hold("many")
    for number in range(50):
        await some.ask(f"m{number}", "many")
    await some.ask("one", "few")
    assert (await some.finish()).index("one") <= 1


async def test_a_caller_of_many_names_has_one_turn_among_the_others(held: Callable[..., Held]) -> None:
    some = held()
    await some.hold("attacker", "0")
    for number in range(50):
        await some.ask(f"a{number}", "attacker", str(number))
    for number in range(3):
        await some.ask(f"v{number}", "victim", "v")
    done = await some.finish()
    assert [done.index(f"v{number}") for number in range(3)] == [1, 3, 5]


async def test_one_caller_has_a_bound_of_its_own(held: Callable[..., Held]) -> None:
    some = held(most_each=3)
    await some.hold("one")
    tasks = [await some.ask(str(number), "one") for number in range(5)]
    for task in tasks[3:]:
        with pytest.raises(Busy, match="you have") as refused:
            await task
        assert refused.value.seconds > 0
    await some.ask("other", "two")
    assert sorted(await some.finish()) == ["0", "1", "2", "other"]
    assert some.counters.total(REFUSED, "test") == 2
    assert some.counters.total(QUEUED, "test") == 4


async def test_a_full_queue_gives_up_the_last_of_who_has_the_most(held: Callable[..., Held]) -> None:
    some = held(most_waiting=4)
    await some.hold("many")
    flood = [await some.ask(f"m{number}", "many") for number in range(4)]
    await some.ask("one", "few")
    with pytest.raises(Busy):
        await flood[3]
    assert sorted(await some.finish()) == ["m0", "m1", "m2", "one"]


async def test_who_has_as_much_waiting_as_anybody_is_the_one_refused(held: Callable[..., Held]) -> None:
    some = held(most_waiting=4)
    await some.hold("a")
    for name in ("a", "b", "c", "d"):
        await some.ask(name, name)
    with pytest.raises(Busy, match="all callers together"):
        await (await some.ask("late", "e"))
    assert sorted(await some.finish()) == ["a", "b", "c", "d"]


async def test_within_a_full_lane_one_of_few_displaces_one_of_many(held: Callable[..., Held]) -> None:
    some = held(most_waiting=6)
    await some.hold("strange", "x")
    for number in range(3):
        await some.ask(f"k{number}", "known", "k")
        await some.ask(f"m{number}", "strange", "many")
    await some.ask("one", "strange", "few")
    assert sorted(await some.finish()) == ["k0", "k1", "k2", "m0", "m1", "one"]


async def test_what_was_let_in_before_is_not_refused(held: Callable[..., Held]) -> None:
    some = held(most_waiting=1, most_each=1)
    await some.hold("a")
    await some.ask("first", "a")
    await some.ask("goes on", "a", let_in=True)
    assert await some.finish() == ["first", "goes on"]


async def test_what_was_let_in_is_not_displaced(held: Callable[..., Held]) -> None:
    some = held(most_waiting=3)
    await some.hold("many")
    for number in range(3):
        await some.ask(f"m{number}", "many", let_in=True)
    with pytest.raises(Busy):
        await (await some.ask("one", "few"))
    assert await some.finish() == ["m0", "m1", "m2"]


async def test_one_who_gives_up_leaves_the_queue(held: Callable[..., Held]) -> None:
    some = held()
    await some.hold("a")
    tasks = [await some.ask(str(number), "a", "b") for number in range(3)]
    tasks[1].cancel()
    with suppress(asyncio.CancelledError):
        await tasks[1]
    assert some.pool.waiting == 2
    assert await some.finish() == ["0", "2"]
    assert some.pool.waiting == 0


async def test_a_refusal_at_its_turn_keeps_work_from_being_done(held: Callable[..., Held]) -> None:
    some = held()
    await some.hold("a")

    def late() -> None:
        raise Busy("too late", seconds=1)

    task = await some.ask("late", "a", first=late)
    await some.ask("next", "a")
    assert await some.finish() == ["next"]
    with pytest.raises(Busy, match="too late"):
        await task


async def test_what_work_raises_is_raised_and_the_thread_goes_on() -> None:
    pool = Pool("test", 1)
    with pytest.raises(ZeroDivisionError):
        await pool.run(divmod, 1, 0)
    assert await pool.run(divmod, 7, 2) == (3, 1)
    pool.close()


async def test_a_closed_pool_refuses_what_waits_and_what_comes(held: Callable[..., Held]) -> None:
    some = held()
    await some.hold("a")
    task = await some.ask("x", "a")
    some.pool.close()
    with pytest.raises(Unavailable):
        await task
    with pytest.raises(Unavailable):
        await (await some.ask("y", "a"))


async def test_memory_is_given_back_once_when_nothing_is_done_any_more() -> None:
    rested = asyncio.Event()
    loop = asyncio.get_running_loop()
    pool = Pool("test", 1, when_idle=lambda: loop.call_soon_threadsafe(rested.set), idle_seconds=0)
    await pool.run(divmod, 1, 1)
    async with asyncio.timeout(30):
        await rested.wait()
    pool.close()
    give_back_memory()


async def test_work_alone_waits_for_nobody() -> None:
    go = threading.Event()
    waiting = [asyncio.create_task(alone(go.wait)) for _ in range(40)]
    await alone(go.set)
    assert all(await asyncio.gather(*waiting))


_NAMES = st.sampled_from("abc")


@given(callers=st.lists(st.tuples(_NAMES, _NAMES), max_size=40), most=st.integers(1, 12), each=st.integers(1, 6))
@settings(deadline=None)
async def test_in_any_order_all_is_done_or_refused_and_no_bound_is_passed(
    callers: list[Caller], most: int, each: int
) -> None:
    some = Held(most_waiting=most, most_each=each)
    await some.hold("", "")
    tasks = []
    for number, caller in enumerate(callers):
        tasks.append(await some.ask(str(number), *caller))
        assert some.pool.waiting <= most
    waited = some.pool.waiting
    done = await some.finish()
    refused = [str(number) for number, task in enumerate(tasks) if task.exception() is not None]
    assert len(done) == waited
    assert sorted([*done, *refused]) == sorted(str(number) for number in range(len(callers)))
    assert some.pool.waiting == 0
    some.pool.close()


def test_memory_that_threads_have_freed_goes_back(tmp_path: Path) -> None:
    """Counted in pages, in a process of its own: with memory of each thread's own all of it would stay."""
    script = tmp_path / "script.py"
    script.write_text(
        "import asyncio, pathlib, sys\n"
        "from floe.pools import Pool, give_back_memory, share_memory\n"
        "def pages(): return int(pathlib.Path('/proc/self/statm').read_text().split()[1])\n"
        "def work(): from argon2 import PasswordHasher; PasswordHasher(1, 19456, 1).hash('x')\n"
        "async def main():\n"
        "    rested = asyncio.Event()\n"
        "    loop = asyncio.get_running_loop()\n"
        "    def rest(): give_back_memory(); loop.call_soon_threadsafe(rested.set)\n"
        "    pool = Pool('x', 3, when_idle=rest, idle_seconds=0.01)\n"
        "    from argon2 import PasswordHasher\n"
        "    before = pages()\n"
        "    await asyncio.gather(*(pool.run(work) for _ in range(12)))\n"
        "    rested.clear()\n"
        "    await pool.run(work)\n"
        "    await rested.wait()\n"
        "    print(pages() - before)\n"
        "    pool.close()\n"
        "share_memory()\n"
        "asyncio.run(main())\n"
    )
    left = int(subprocess.run([sys.executable, script], capture_output=True, check=True, timeout=60).stdout)
    assert left * 4096 < 12 << 20, "of 19 MiB for each of three threads"
