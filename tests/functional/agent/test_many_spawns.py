"""Guests that a host is asked for in one message."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec.structs import replace

from floe.core.messages import Destroy, Spawn, SpawnAll, SpawnAnswer, SpawnedAll


def spawn_all(*spawns: Spawn, patience: float = 30.0) -> SpawnAll:
    return SpawnAll(spawns=spawns, patience=patience)


async def answers(world: Any, *spawns: Spawn, patience: float = 30.0) -> tuple[SpawnAnswer, ...]:
    result = await world.ask(spawn_all(*spawns, patience=patience))
    assert isinstance(result, SpawnedAll)
    return result.answers


async def test_all_are_made_and_each_is_answered_as_it_would_have_been_alone(world: Any, spawn: Any) -> None:
    await world.start()
    wanted = [spawn(number) for number in range(1, 6)]
    found = await answers(world, *wanted)
    assert [answer.spawned for answer in found] == [await world.ask(each) for each in wanted]
    assert len(world.machine.guests) == len(world.plane.applied.ports) == 5


async def test_their_networks_are_brought_about_together(world: Any, spawn: Any) -> None:
    await world.start()
    before = world.plane.rounds
    await answers(world, *(spawn(number) for number in range(1, 21)))
    assert world.plane.rounds - before <= 3


async def test_one_that_fails_fails_alone_and_leaves_nothing(world: Any, spawn: Any) -> None:
    await world.start()
    gone = spawn(2)
    await world.ask(
        Destroy(action_id="d", server_id=gone.guest.server_id, guest_name=gone.guest.name, port_ids=(), generation=99)
    )
    bad = replace(spawn(3), guest=replace(spawn(3).guest, image=replace(spawn(3).guest.image, checksum="0" * 128)))
    found = await answers(world, spawn(1), gone, bad, spawn(4))
    assert [answer.spawned is not None for answer in found] == [True, False, False, True]
    assert [answer.failed.kind for answer in found if answer.failed] == ["gone", "invalid"]
    assert sorted(world.machine.guests) == sorted([spawn(1).guest.server_id, spawn(4).guest.server_id])


async def test_what_takes_longer_is_left_to_be_asked_for_alone_and_joined(world: Any, spawn: Any) -> None:
    world.images.gate = asyncio.Event()
    await world.start()
    found = await answers(world, spawn(1), spawn(2), patience=0.01)
    assert found == (SpawnAnswer(), SpawnAnswer())
    again = asyncio.create_task(world.ask(spawn(2)))
    await world.until(lambda: world.images.reads)
    world.images.gate.set()
    await again
    assert world.images.reads == 1
    both = await answers(world, spawn(1), spawn(2))
    assert all(answer.spawned for answer in both)


async def test_a_message_that_comes_twice_makes_each_guest_once(world: Any, spawn: Any) -> None:
    await world.start()
    world.machine.recording = True
    wanted = [spawn(number) for number in range(1, 4)]
    first, second = await asyncio.gather(answers(world, *wanted), answers(world, *wanted))
    assert first == second
    assert [name for name, _ in world.machine.calls].count("start") == 3


async def test_a_stop_in_the_midst_leaves_builds_that_can_be_repeated(world: Any, spawn: Any) -> None:
    world.images.gate = asyncio.Event()
    await world.start()
    assert await answers(world, spawn(1), spawn(2), patience=0.01) == (SpawnAnswer(), SpawnAnswer())
    await world.until(lambda: world.images.reads)
    await world.stop()
    assert not world.machine.guests
    world.images.gate.set()
    await world.start()
    assert not world.machine.guests
    found = await answers(world, spawn(1), spawn(2))
    assert all(answer.spawned for answer in found)
