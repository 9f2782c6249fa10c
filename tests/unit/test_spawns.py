from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from floe.bus.codec import encode
from floe.conductor.spawns import MOST_BYTES, SpawnsTogether
from floe.core.errors import HostFailure, Unavailable
from floe.core.guests import GuestImage, GuestMetadata, GuestSpec, PowerState
from floe.core.host_network import HostNetwork
from floe.core.messages import Command, Failed, Result, Spawn, SpawnAll, SpawnAnswer, Spawned, SpawnedAll


def a_spawn(name: str, user_data: int = 0) -> Spawn:
    image = GuestImage(image_id="i", checksum="c", size=1, disk_format="raw", virtual_size=1)
    guest = GuestSpec(
        server_id=name,
        name=name,
        vcpus=1,
        memory_mib=1,
        disks=(),
        image=image,
        metadata=GuestMetadata(name=name, hostname=name, project_id="p", user_data="x" * user_data),
    )
    return Spawn(action_id=name, guest=guest, network=HostNetwork())


class OneHost:
    """A bus to a host that notes what it is asked, and answers as it is told to."""

    def __init__(self, answers: dict[str, SpawnAnswer | Exception] | None = None) -> None:
        self.asked: list[list[str]] = []
        self.sizes: list[int] = []
        self._answers = answers or {}

    async def request(self, host: str, command: Command, *, timeout: float) -> Result:
        self.sizes.append(len(encode(command)))
        if isinstance(command, SpawnAll):
            self.asked.append([spawn.guest.server_id for spawn in command.spawns])
            return SpawnedAll(answers=tuple(self._answer(spawn) for spawn in command.spawns))
        assert isinstance(command, Spawn)
        self.asked.append([command.guest.server_id])
        return Spawned(power_state=PowerState.RUNNING)

    def _answer(self, spawn: Spawn) -> SpawnAnswer:
        answer = self._answers.get(spawn.guest.server_id, SpawnAnswer(spawned=Spawned(power_state=PowerState.RUNNING)))
        if isinstance(answer, Exception):
            raise answer
        return answer


async def ask(bus: Any, *spawns: Spawn) -> list[Any]:
    together = SpawnsTogether(bus, 1.0)
    return await asyncio.gather(*(together.ask("h", spawn, 10.0) for spawn in spawns), return_exceptions=True)


async def test_one_is_asked_for_as_it_is_and_several_in_one_message() -> None:
    bus = OneHost()
    await ask(bus, a_spawn("a"))
    await ask(bus, *map(a_spawn, "bcd"))
    assert bus.asked == [["a"], ["b", "c", "d"]]


async def test_each_gets_its_own_answer_and_what_is_not_known_yet_is_asked_for_alone() -> None:
    bus = OneHost({"b": SpawnAnswer(failed=Failed(kind="invalid", message="no", stage="disk")), "c": SpawnAnswer()})
    first, second, third = await ask(bus, *map(a_spawn, "abc"))
    assert isinstance(first, Spawned)
    assert isinstance(third, Spawned)
    assert isinstance(second, HostFailure)
    assert (second.message, second.stage, second.cause, second.host) == ("no", "disk", "invalid", "h")
    assert bus.asked == [["a", "b", "c"], ["c"]]


async def test_of_a_message_that_was_lost_each_is_told_that_it_was() -> None:
    lost = await ask(OneHost({"a": Unavailable("nobody is there")}), *map(a_spawn, "abc"))
    assert [(type(each), str(each)) for each in lost] == [(Unavailable, "nobody is there")] * 3
    assert len({id(each) for each in lost}) == 3


async def test_a_host_that_fails_at_the_message_itself_is_asked_for_each() -> None:
    bus = OneHost({"a": HostFailure("It knows no SpawnAll.")})
    assert all(isinstance(each, Spawned) for each in await ask(bus, *map(a_spawn, "abc")))
    assert bus.asked == [["a", "b", "c"], ["a"], ["b"], ["c"]]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 700_000), min_size=1, max_size=12))
async def test_no_message_is_larger_than_its_bound_and_none_is_left_out(sizes: list[int]) -> None:
    bus = OneHost()
    spawns = [a_spawn(f"s{number}", size) for number, size in enumerate(sizes)]
    assert all(isinstance(each, Spawned) for each in await ask(bus, *spawns))
    assert sorted(name for names in bus.asked for name in names) == sorted(spawn.action_id for spawn in spawns)
    for names, size in zip(bus.asked, bus.sizes, strict=True):
        assert len(names) == 1 or size <= MOST_BYTES + 4096
