"""What a host may have again after a loss of power, though it was removed; and what must be on the disk before that."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from floe.core.errors import HostFailure
from floe.core.guests import PowerState
from floe.core.messages import Destroy, Destroyed, HostUp, Spawned
from floe.simulation.storage import Synced

OFF = PowerState.SHUTDOWN


def called_off(command: Any, **changes: Any) -> Destroy:
    given = {"action_id": command.action_id, "server_id": command.guest.server_id, "final": False, **changes}
    return Destroy(guest_name=command.guest.name, **given)


@pytest.mark.parametrize("told", ["at once", "by another action"])
async def test_that_a_build_was_called_off_is_on_the_disk_before_it_is_answered(
    world: Any, spawn: Any, told: str
) -> None:
    """Its server may soon run elsewhere: a host that knew it as its own would start it too when the power is back."""
    synced, ledger = Synced(), world.state_dir / "ledger.jsonl"
    await world.start(boot_id=lambda: "first")
    command = spawn()
    with synced.watching():
        assert isinstance(await world.ask(command), Spawned)
        await world.agent._beat()
        assert synced.whole(ledger), "it knows the guest, whatever happens"
        kept, disks = ledger.read_bytes(), world.folder(command.guest.server_id)
        shutil.copytree(disks, world.state_dir / "copy")
        assert isinstance(await world.ask(called_off(command)), Destroyed)
        assert synced.whole(ledger)
    assert ledger.read_bytes() != kept
    await world.kill()
    world.machine.guests[command.guest.server_id] = OFF
    (world.state_dir / "copy").rename(disks)
    await world.start(boot_id=lambda: "second")
    assert world.machine.guests == {command.guest.server_id: OFF}, "it is told of, and not started"
    up = await world.until(lambda: [event for event in world.events if isinstance(event, HostUp)][1:])
    assert [guest.server_id for guest in up[0].guests] == [command.guest.server_id]
    action = command.action_id if told == "at once" else "another"
    assert isinstance(await world.ask(called_off(command, action_id=action)), Destroyed)
    assert world.machine.guests == {}
    assert not disks.exists()


class Full:
    """A ledger's file on a disk that takes no more than `room` entries."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self.room = file, room

    def write(self, data: bytes) -> int:
        if not self.room:
            raise OSError(28, "No space left on device")
        self.room -= 1
        return int(self._file.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


async def test_where_that_cannot_be_written_it_is_not_said_to_be_done(world: Any, spawn: Any) -> None:
    await world.start()
    command = spawn()
    assert isinstance(await world.ask(command), Spawned)
    ledger = world.agent._ledger
    ledger._file = Full(ledger._file, 0)
    for _ in range(2):
        with pytest.raises(HostFailure, match="No space is left on the host's disk"):
            await world.ask(called_off(command))
        assert world.machine.guests == {}, "what is removed makes room"
    ledger._file.room = 1
    assert isinstance(await world.ask(called_off(command)), Destroyed)
    await world.kill()
    await world.start()
    with pytest.raises(HostFailure, match="called off"):
        await world.ask(command)


async def test_a_ledger_written_anew_is_found_by_its_name_after_a_loss_of_power(world: Any, spawn: Any) -> None:
    synced, folder = Synced(), Path(world.state_dir)
    await world.start()
    with synced.watching():
        assert isinstance(await world.ask(spawn()), Spawned)
        assert not synced.whole(folder)
        world.agent._ledger.compact()
        assert synced.whole(folder), "the name, too, is on the disk"
        assert synced.whole(folder / "ledger.jsonl")
