"""Replies as bytes: as JSON has them, in pieces, and bounded."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import msgspec
import pytest

from floe.api.kit.call import Reply
from floe.api.kit.encoding import MOST_BYTES, Members, encoded
from floe.cloud.turns import PIECE, Turns
from floe.core.errors import TooLarge


async def _read(body: Any, more: Any = None) -> Any:
    return msgspec.json.decode(await encoded(body, more, Turns()))


@pytest.mark.parametrize("many", [0, 1, PIECE, 3 * PIECE + 1])
async def test_a_generator_is_a_list_and_members_are_an_object(many: int) -> None:
    body = {
        "before": {"a": [1]},
        "things": ({"n": number} for number in range(many)),
        "by_name": Members((str(number), number) for number in range(many)),
        "after": None,
    }
    assert await _read(body) == {
        "before": {"a": [1]},
        "things": [{"n": number} for number in range(many)],
        "by_name": {str(number): number for number in range(many)},
        "after": None,
    }


async def test_what_follows_is_told_how_many_there_are() -> None:
    assert await _read({"things": iter("abc")}, lambda taken: {"taken": taken}) == {
        "things": ["a", "b", "c"],
        "taken": 3,
    }
    assert await _read({"things": iter("")}, lambda taken: {"taken": taken}) == {"things": [], "taken": 0}
    assert await _read({"things": []}, lambda _taken: {"x": 1}) == {"things": [], "x": 1}
    assert await _read({"things": iter("a")}, lambda _taken: {}) == {"things": ["a"]}


async def test_a_list_with_links_ends_before_it_is_too_large() -> None:
    things = ["x" * (1 << 20) for _ in range(20)]
    found = await encoded({"things": iter(things)}, lambda taken: {"taken": taken}, Turns())
    assert MOST_BYTES - (2 << 20) < len(found) <= MOST_BYTES + 100
    assert msgspec.json.decode(found)["taken"] == len(msgspec.json.decode(found)["things"]) == 7


@pytest.mark.parametrize(
    "body",
    [
        {"things": iter(["x" * (1 << 20)] * 9)},
        {"things": ["x" * (1 << 20)] * 9},
        {"things": Members((str(number), "x" * (1 << 20)) for number in range(9))},
        "x" * (MOST_BYTES + 1),
    ],
    ids=["generator", "list", "members", "text"],
)
async def test_what_cannot_be_cut_is_refused(body: Any) -> None:
    with pytest.raises(TooLarge, match=f"larger than {MOST_BYTES} bytes"):
        await encoded(body, None, Turns())


async def test_no_more_is_made_ready_than_is_sent_but_for_the_rest_of_a_piece() -> None:
    made = []

    def things() -> Any:
        for number in range(100):
            made.append(number)
            yield "x" * (1 << 20)

    await encoded({"things": things()}, lambda _taken: {}, Turns())
    assert len(made) == PIECE


@pytest.mark.parametrize("many", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 5 * PIECE + 1])
async def test_others_run_between_the_pieces_of_a_list_and_a_short_one_makes_no_room(many: int) -> None:
    made, steps = list[int](), [0]

    def things() -> Any:
        for number in range(many):
            made.append(number)
            yield number

    task = asyncio.create_task(encoded({"things": things()}, None, Turns()))
    while not task.done():
        await asyncio.sleep(0)
        steps.append(len(made))
    assert msgspec.json.decode(task.result()) == {"things": list(range(many))}
    assert max(after - before for before, after in itertools.pairwise(steps)) <= PIECE + 1
    assert many > PIECE or len(steps) == 2


async def test_bytes_and_nothing_stay_as_they_are() -> None:
    for body in (None, b"# HELP x"):
        reply = Reply(200, body)
        await reply.encode(Turns())
        assert reply.body is body
