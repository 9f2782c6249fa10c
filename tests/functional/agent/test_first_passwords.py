"""The agent in a guest is told, once and as soon as it speaks, the password that the guest was made with."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from floe.agent import first_passwords
from floe.core.errors import HostFailure
from floe.core.guest_questions import SetPassword
from floe.core.messages import Destroy
from floe.core.power import Power, Wanted
from floe.core.server_rebuild import Rebuild


async def spoken(world: Any, server_id: str) -> tuple[str, str] | None:
    """Return what a guest was told last, once its agent has spoken and all that was begun for that has ended."""
    world.hypervisor.speak(server_id)
    await world.until(lambda: not world.agent._first_passwords._tasks)
    found: tuple[str, str] | None = world.machine.passwords.get(server_id)
    return found


def rebuild(command: Any, make: int, password: str | None) -> Rebuild:
    """Return how a spawned guest is made of other disks, with another password."""
    disks = tuple(replace(disk, make=make) for disk in command.guest.disks)
    metadata = replace(command.guest.metadata, admin_password=password)
    return Rebuild(
        action_id=f"rebuild-{make}",
        server_id=command.guest.server_id,
        wanted=Wanted(power=Power.RUNNING, boots=make, generation=make),
        guest=replace(command.guest, disks=disks, metadata=metadata),
        before=command.guest,
        network=command.network,
    )


async def test_it_is_told_once_and_lies_nowhere(world: Any, spawn: Any) -> None:
    await world.start()
    command = spawn()
    await world.ask(command)
    server_id = command.guest.server_id
    assert world.machine.passwords == {}
    assert await spoken(world, server_id) == ("root", "s3cret")
    world.machine.passwords.clear()  # it boots again
    assert await spoken(world, server_id) is None
    readable = [path for path in world.state_dir.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]
    assert readable == []


async def test_whose_password_it_is_the_image_says(world: Any, spawn: Any) -> None:
    await world.start()
    for number, (said, user) in enumerate([({"os_type": "windows"}, "Administrator"), ({"os_admin_user": "me"}, "me")]):
        command = spawn(number + 1)
        guest = replace(command.guest, image=replace(command.guest.image, properties=said))
        await world.ask(replace(command, guest=guest))
        assert await spoken(world, guest.server_id) == (user, "s3cret")


async def test_an_agent_that_could_not_be_told_is_told_by_the_next_look(world: Any, spawn: Any) -> None:
    await world.start()
    command = spawn()
    await world.ask(command)
    world.machine.fail("set_password", HostFailure("It is busy."))
    assert await spoken(world, command.guest.server_id) is None
    await world.agent._look()
    await world.until(lambda: world.machine.passwords == {command.guest.server_id: ("root", "s3cret")})


async def test_a_password_that_was_set_since_stays(world: Any, spawn: Any) -> None:
    await world.start()
    command = spawn()
    await world.ask(command)
    server_id = command.guest.server_id
    await world.ask(SetPassword(server_id=server_id, user="root", password="mine"))
    assert await spoken(world, server_id) == ("root", "mine")


async def test_a_guest_that_is_made_anew_is_told_its_new_one_or_none(world: Any, spawn: Any) -> None:
    await world.start()
    command = spawn()
    await world.ask(command)
    server_id = command.guest.server_id
    await world.ask(rebuild(command, 7, "other"))
    assert await spoken(world, server_id) == ("root", "other")
    await world.ask(rebuild(command, 8, "third"))
    await world.ask(rebuild(command, 9, None))
    assert await spoken(world, server_id) == ("root", "other")


async def test_where_a_rebuild_fails_the_guest_that_stays_is_told_its_own(world: Any, spawn: Any) -> None:
    await world.start()
    command = spawn()
    await world.ask(command)
    world.machine.fail("start")
    with pytest.raises(HostFailure):
        await world.ask(rebuild(command, 7, "other"))
    assert await spoken(world, command.guest.server_id) == ("root", "s3cret")


async def test_nobody_is_told_of_a_guest_that_is_gone_or_long_after_it_was_made(
    world: Any, spawn: Any, monkeypatch: Any
) -> None:
    await world.start()
    gone = spawn(1)
    await world.ask(gone)
    told = {"server_id": gone.guest.server_id, "guest_name": gone.guest.name, "port_ids": (), "generation": 9}
    await world.ask(Destroy(action_id="d", final=True, **told))
    assert await spoken(world, gone.guest.server_id) is None
    monkeypatch.setattr(first_passwords, "KEPT", -1.0)
    late = spawn(2)
    await world.ask(late)
    await world.agent._look()
    assert await spoken(world, late.guest.server_id) is None


async def test_an_agent_that_says_again_and_again_that_it_is_there_and_answers_nothing_holds_up_nobody(
    world: Any, spawn: Any, monkeypatch: Any
) -> None:
    await world.start()
    silent, other = spawn(1), spawn(2)
    for command in (silent, other):
        await world.ask(command)
    asked, never, answers = list[str](), asyncio.Event(), world.hypervisor.set_password

    async def set_password(guest: Any, user: str, password: str) -> None:
        asked.append(guest.server_id)
        if guest.server_id == silent.guest.server_id and len(asked) == 1:
            await never.wait()
        await answers(guest, user, password)

    monkeypatch.setattr(world.hypervisor, "set_password", set_password)
    for _ in range(1000):
        world.hypervisor.speak(silent.guest.server_id)
    await world.until(lambda: asked)
    await world.agent._look()
    await world.until(lambda: other.guest.server_id in world.machine.passwords)
    assert asked.count(silent.guest.server_id) == 2, "by itself, and in its turn"
