"""Long work on the event loop: in pieces, one at a time, callers in turn."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from floe.cloud.turns import PIECE, Turns
from floe.core.callers import CALLER


async def test_others_run_between_the_pieces_of_a_long_list() -> None:
    turns, seen = Turns(), list[int]()

    async def look() -> None:
        async for number in turns.each(range(10 * PIECE)):
            seen.append(number)

    task, steps = asyncio.create_task(look()), [0]
    while not task.done():
        await asyncio.sleep(0)
        steps.append(len(seen))
    assert seen == list(range(10 * PIECE))
    assert max(after - before for before, after in itertools.pairwise(steps)) <= PIECE


async def test_a_generator_works_no_further_than_its_piece() -> None:
    turns, made = Turns(), list[int]()

    def makes() -> object:
        for number in range(5 * PIECE):
            made.append(number)
            yield number

    async for number in turns.each(makes()):  # type: ignore[attr-defined]
        assert len(made) == number + 1


@pytest.mark.parametrize("many", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
async def test_nothing_is_lost_or_doubled(many: int) -> None:
    assert [thing async for thing in Turns().each(range(many))] == list(range(many))


async def _work(turns: Turns, who: str, done: list[str], many: int = 2 * PIECE) -> None:
    CALLER.set((who, ""))
    async for _ in turns.each(range(many)):
        pass
    done.append(who)


async def test_one_piece_is_done_in_a_round_however_many_ask() -> None:
    turns, seen, steps = Turns(), list[int](), [0]

    async def look() -> None:
        async for number in turns.each(range(5 * PIECE)):
            seen.append(number)

    tasks = [asyncio.create_task(look()) for _ in range(20)]
    await asyncio.sleep(0)  # the first piece of each is what any request may do
    steps = [len(seen)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        steps.append(len(seen))
    assert len(seen) == 20 * 5 * PIECE
    assert max(after - before for before, after in itertools.pairwise(steps)) <= 2 * PIECE


async def test_callers_take_turns_however_much_one_of_them_asks() -> None:
    turns, done = Turns(), list[str]()
    flood = [asyncio.create_task(_work(turns, "flood", done, 10 * PIECE)) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.create_task(_work(turns, "somebody", done, 10 * PIECE))
    assert done == ["somebody"]
    await asyncio.gather(*flood)
    assert len(done) == 51


async def test_who_gives_up_waiting_does_not_keep_the_turn() -> None:
    turns, done = Turns(), list[str]()
    for given_up_after in range(6):
        tasks = [asyncio.create_task(_work(turns, str(index), done)) for index in range(4)]
        for _ in range(given_up_after):
            await asyncio.sleep(0)
        for task in tasks[:3]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert done.count("3") == 6
    await asyncio.wait_for(_work(turns, "last", done), 10)
