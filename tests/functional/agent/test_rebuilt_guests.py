"""What a host does to have a guest as it was again, whose rebuild failed."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from floe.core.disks import Blank
from floe.core.errors import HostFailure
from floe.core.guests import PowerState
from floe.core.messages import ChangePower, PowerChanged
from floe.core.power import Power, Wanted
from floe.core.server_rebuild import Rebuild
from floe.simulation.storage import Synced

RUNS, OFF = PowerState.RUNNING, PowerState.SHUTDOWN


def rebuild(command: Any, make: int = 7, kept: tuple[str, ...] = ()) -> Rebuild:
    """Return how a spawned guest is made of other disks, but for those that are kept."""
    disks = tuple(disk if disk.role in kept else replace(disk, make=make) for disk in command.guest.disks)
    return Rebuild(
        action_id="rebuild",
        server_id=command.guest.server_id,
        wanted=Wanted(power=Power.RUNNING, boots=make, generation=make),
        guest=replace(command.guest, disks=disks),
        before=command.guest,
        network=command.network,
    )


def disks(world: Any, command: Any) -> list[str]:
    return sorted(path.name for path in world.folder(command.guest.server_id).glob("*.qcow2"))


async def after_a_power_loss(world: Any, command: Any, forgotten: str = "") -> None:
    """Have a guest whose disks may be damaged: the power failed before they were on the disk for certain.

    The ledger may have forgotten entries of one type.
    """
    await world.start(boot_id=lambda: "first")
    await world.ask(command)
    assert world.agent._ledger.wishes.unflushed.keys() == {command.guest.server_id}
    world.agent._ledger.sync()
    await world.kill()
    ledger = world.state_dir / "ledger.jsonl"
    entries = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(entry for entry in entries if f'"type":"{forgotten}"' not in entry))
    world.machine.guests[command.guest.server_id] = OFF
    await world.start(boot_id=lambda: "second")
    assert world.agent._ledger.wishes.damaged == {command.guest.server_id}


async def test_one_that_cannot_be_started_either_has_no_files_but_its_own(world: Any, spawn: Any) -> None:
    await world.start()
    command = spawn()
    await world.ask(command)
    world.machine.fail("start")
    world.machine.fail("start")
    with pytest.raises(HostFailure):
        await world.ask(rebuild(command))
    assert world.machine.guests == {command.guest.server_id: OFF}
    assert disks(world, command) == ["disk.qcow2"]


async def test_it_is_not_started_from_disks_that_may_be_damaged(world: Any, spawn: Any) -> None:
    command = spawn()
    await after_a_power_loss(world, command, forgotten="settled")
    world.machine.fail("start")
    with pytest.raises(HostFailure):
        await world.ask(rebuild(command))
    assert world.machine.guests == {command.guest.server_id: OFF}
    wanted = Wanted(power=Power.RUNNING, boots=8, generation=8)
    with pytest.raises(HostFailure, match="disks may be damaged"):
        await world.ask(ChangePower(action_id="start", server_id=command.guest.server_id, wanted=wanted))
    assert isinstance(await world.ask(replace(rebuild(command, 10), action_id="again")), PowerChanged)
    assert world.machine.guests == {command.guest.server_id: RUNS}


async def test_a_disk_that_may_be_damaged_is_not_kept(world: Any, spawn: Any) -> None:
    command = spawn()
    swap = Blank(role="swap", device="vdb", bus="virtio", size_mib=1, filesystem="swap")
    command = replace(command, guest=replace(command.guest, disks=(*command.guest.disks, swap)))
    await after_a_power_loss(world, command)
    with pytest.raises(HostFailure, match="swap disk, which is to be kept, may be damaged"):
        await world.ask(rebuild(command, kept=("swap",)))
    assert world.machine.guests == {command.guest.server_id: OFF}
    assert isinstance(await world.ask(replace(rebuild(command, 9), action_id="again")), PowerChanged)


async def test_a_disk_that_is_kept_is_on_the_disk_for_certain_before(world: Any, spawn: Any) -> None:
    synced = Synced()
    command = spawn()
    swap = Blank(role="swap", device="vdb", bus="virtio", size_mib=1, filesystem="swap")
    command = replace(command, guest=replace(command.guest, disks=(*command.guest.disks, swap)))
    await world.start(boot_id=lambda: "first")
    with synced.watching():
        await world.ask(command)
        assert not synced.whole(world.folder(command.guest.server_id) / "swap.raw")
        await world.ask(rebuild(command, kept=("swap",)))
        assert synced.whole(world.folder(command.guest.server_id) / "swap.raw")


async def test_a_heartbeat_does_not_take_disks_that_are_being_removed_for_those_that_it_brought_to_the_disk(
    world: Any, spawn: Any
) -> None:
    command = spawn()
    await world.start(boot_id=lambda: "first")
    await world.ask(command)
    agent, server_id, folder = world.agent, command.guest.server_id, world.folder(command.guest.server_id)
    aside = folder.rename(folder.with_suffix(".aside"))
    await agent._beat()
    assert agent._ledger.wishes.unflushed.keys() == {server_id}
    aside.rename(folder)  # as if the power had failed before its removal was on the disk
    await agent._beat()
    assert not agent._ledger.wishes.unflushed


async def test_a_heartbeat_does_not_take_the_disks_of_another_make_for_those_that_it_brought_to_the_disk(
    world: Any, spawn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, synced = spawn(), Synced()
    await world.start(boot_id=lambda: "first")
    await world.ask(command)
    agent, server_id = world.agent, command.guest.server_id
    real = agent._offload

    async def meanwhile(fn: Any, *args: Any) -> Any:
        monkeypatch.setattr(agent, "_offload", real)
        done = await real(fn, *args)
        await world.ask(rebuild(command))
        return done

    monkeypatch.setattr(agent, "_offload", meanwhile)
    with synced.watching():
        await agent._beat()
        (disk,) = world.folder(server_id).glob("*.qcow2")
        assert not synced.whole(disk) and agent._ledger.wishes.unflushed.keys() == {server_id}
        await agent._beat()
        assert synced.whole(disk) and not agent._ledger.wishes.unflushed


async def test_a_copy_of_a_disk_is_cleared_away_though_the_ledger_forgot_the_guest(world: Any, spawn: Any) -> None:
    await world.start()
    command = spawn()
    await world.ask(command)
    await world.kill()
    copy = world.folder(command.guest.server_id) / "snapshot.qcow2"
    copy.touch()
    (world.state_dir / "ledger.jsonl").unlink()
    await world.start()
    assert not copy.exists()
    assert disks(world, command) == ["disk.qcow2"]


FAILS = "create_overlay", "end", "start", "find"


@pytest.mark.parametrize("lost", [False, True], ids=["known", "forgotten"])
@pytest.mark.parametrize("then", [*FAILS, ""])
@pytest.mark.parametrize("first", FAILS)
async def test_one_that_fails_and_whose_way_back_fails_has_its_own_disks_or_says_that_nobody_knows(
    world: Any, spawn: Any, first: str, then: str, lost: bool
) -> None:
    await world.start()
    command = spawn()
    await world.ask(command)
    if lost:
        await world.kill()
        (world.state_dir / "ledger.jsonl").unlink()
        await world.start()
    for operation in filter(None, (first, then)):
        world.machine.fail(operation)
    answer: Any = HostFailure("nothing")
    try:
        answer = await world.ask(rebuild(command))
    except HostFailure as error:
        answer = error
    done = isinstance(answer, PowerChanged)
    if done or answer.cause != "unavailable":
        assert disks(world, command) == (["disk-7.qcow2"] if done else ["disk.qcow2"])
        guest = world.agent._ledger.guests[command.guest.server_id]
        assert [disk.make for disk in guest.disks] == [7 if done else 0]
    world.machine.faults.clear()
    again = replace(rebuild(command, 9), action_id="again")
    assert isinstance(await world.ask(again), PowerChanged)
    assert disks(world, command) == ["disk-9.qcow2"]


async def test_one_whose_taps_cannot_be_made_has_no_files_but_its_own(world: Any, spawn: Any) -> None:
    await world.start()
    command = spawn()
    await world.ask(command)
    asked = rebuild(command)
    several = replace(asked.guest, nics=tuple(replace(nic, queues=2) for nic in asked.guest.nics))
    world.plane.script.failure = HostFailure("No taps.", stage="ports")
    with pytest.raises(HostFailure, match="No taps"):
        await world.ask(replace(asked, guest=several))
    assert disks(world, command) == ["disk.qcow2"]
    assert world.agent._ledger.guests[command.guest.server_id].nics == command.guest.nics
    world.plane.script.failure = None
    assert isinstance(await world.ask(replace(rebuild(command, 9), action_id="again")), PowerChanged)
