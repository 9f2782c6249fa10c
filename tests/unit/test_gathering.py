from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from floe.conductor.gathering import Gathering
from floe.conductor.slots import Slots


class Doubling:
    """Doubles numbers, and remembers which were doubled together; 13 it will not have, and 99 breaks it."""

    def __init__(self) -> None:
        self.rounds: list[list[int]] = []
        self.held = asyncio.Event()
        self.held.set()

    async def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.rounds.append(list(items))
        await self.held.wait()
        if 99 in items:
            raise LookupError("all of it broke")
        return [ValueError("no luck") if item == 13 else 2 * item for item in items]


async def test_what_is_asked_for_in_one_turn_is_done_together() -> None:
    doubling = Doubling()
    gathering = Gathering("doubling", doubling)
    assert await asyncio.gather(*(gathering.do(number) for number in range(10))) == list(range(0, 20, 2))
    assert doubling.rounds == [list(range(10))]


async def test_one_that_is_alone_waits_for_no_company() -> None:
    doubling = Doubling()
    gathering = Gathering("doubling", doubling)
    assert await gathering.do(1) == 2
    assert await gathering.do(2) == 4
    assert doubling.rounds == [[1], [2]]


async def test_one_that_fails_fails_alone() -> None:
    gathering = Gathering("doubling", Doubling())
    done = await asyncio.gather(*(gathering.do(number) for number in (1, 13, 2, 13, 3)), return_exceptions=True)
    assert [each if isinstance(each, int) else type(each) for each in done] == [2, ValueError, 4, ValueError, 6]


async def test_when_the_whole_breaks_all_of_the_round_are_told_and_the_next_is_not_harmed() -> None:
    gathering = Gathering("doubling", Doubling(), most=3)
    done = await asyncio.gather(*(gathering.do(number) for number in (1, 99, 2, 3)), return_exceptions=True)
    assert [type(each) for each in done[:3]] == [LookupError] * 3
    assert done[3] == 6


async def test_a_round_has_a_bound_and_what_comes_meanwhile_waits_for_the_next() -> None:
    doubling = Doubling()
    doubling.held.clear()
    gathering = Gathering("doubling", doubling, most=4)
    asked = [asyncio.ensure_future(gathering.do(number)) for number in range(10)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asked.append(asyncio.ensure_future(gathering.do(10)))
    doubling.held.set()
    await asyncio.gather(*asked)
    assert doubling.rounds == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]


async def test_rounds_that_may_go_on_at_once_do_not_wait_for_each_other() -> None:
    doubling = Doubling()
    doubling.held.clear()
    gathering = Gathering("doubling", doubling, most=4, at_once=3)
    asked = [asyncio.ensure_future(gathering.do(number)) for number in range(10)]
    for _ in range(4):
        await asyncio.sleep(0)
    assert [len(each) for each in doubling.rounds] == [4, 4, 2]
    doubling.held.set()
    assert await asyncio.gather(*asked) == list(range(0, 20, 2))


async def test_whoever_is_cancelled_in_time_is_left_out_and_his_company_is_not() -> None:
    doubling = Doubling()
    gathering = Gathering("doubling", doubling)
    early, late, other = (asyncio.ensure_future(gathering.do(number)) for number in (1, 2, 3))
    await asyncio.sleep(0)
    early.cancel()
    doubling.held.clear()
    while not doubling.rounds:  # turns of the loop are what is counted
        await asyncio.sleep(0)
    late.cancel()
    doubling.held.set()
    done = await asyncio.gather(early, late, other, return_exceptions=True)
    assert [type(each) for each in done[:2]] == [asyncio.CancelledError] * 2
    assert done[2] == 6
    assert doubling.rounds == [[2, 3]]


async def _order(number: int, wanted: Sequence[str]) -> list[str]:
    """Return in which order projects got their places, of which there are so many."""
    slots, order = Slots(number), list[str]()

    async def work(project: str) -> None:
        await slots.acquire(project)
        order.append(project)
        await asyncio.sleep(0)
        slots.release()

    await asyncio.gather(*map(work, wanted))
    assert not slots.full
    return order


async def test_projects_that_wait_take_turns() -> None:
    assert await _order(1, "aaaabbc") == list("aabcaba") or await _order(1, "aaaabbc") == list("aabcaab")


@pytest.mark.parametrize("number", [1, 2, 16])
async def test_a_thousand_of_one_project_do_not_hold_up_the_one_of_another(number: int) -> None:
    order = await _order(number, ["crowd"] * 1000 + ["single"])
    assert order.index("single") <= number + 1


async def test_a_place_given_to_one_who_has_gone_is_the_next_ones() -> None:
    slots = Slots(1)
    await slots.acquire("a")
    gone, next_one = asyncio.ensure_future(slots.acquire("a")), asyncio.ensure_future(slots.acquire("b"))
    await asyncio.sleep(0)
    slots.release()
    gone.cancel()
    await asyncio.wait_for(next_one, 10)
    slots.release()
    waits = asyncio.ensure_future(slots.acquire("a"))
    await asyncio.wait_for(waits, 10)
    last = asyncio.ensure_future(slots.acquire("a"))
    await asyncio.sleep(0)
    last.cancel()
    await asyncio.gather(last, return_exceptions=True)
    slots.release()
    assert not slots.full
