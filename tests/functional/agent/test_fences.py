"""A conductor that was overtaken tells a host something all the same: the host does what the later one said."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from floe.agent import fences
from floe.agent.ledger import Ledger
from floe.core.clock import FixedClock
from floe.core.errors import HostFailure
from floe.core.messages import Destroy, Destroyed, Spawn, Spawned

OVERTAKEN = "taken up by another conductor"


def undo(command: Spawn, attempt: int, **changes: Any) -> Destroy:
    guest = command.guest
    undone = Destroy(
        action_id=command.action_id, server_id=guest.server_id, guest_name=guest.name, final=False, attempt=attempt
    )
    return replace(undone, **changes)


@pytest.mark.parametrize("restarted", [False, True], ids=["at once", "after the agent was killed"])
async def test_an_undo_of_who_was_overtaken_leaves_the_guest_of_the_next(
    world: Any, spawn: Any, restarted: bool
) -> None:
    await world.start()
    first = replace(spawn(), attempt=1)
    second = replace(first, attempt=2)
    assert isinstance(await world.ask(first), Spawned)  # its answer is lost, and so is its conductor, for a while
    assert isinstance(await world.ask(second), Spawned)
    if restarted:
        await world.kill()
        await world.start()
    for late in (undo(first, 1), undo(first, 1, final=True), first):
        with pytest.raises(HostFailure, match=OVERTAKEN):
            await world.ask(late)
    assert first.guest.server_id in world.machine.guests
    assert isinstance(await world.ask(replace(spawn(2), attempt=1)), Spawned), "other actions are none of its business"
    assert isinstance(await world.ask(undo(second, 2)), Destroyed)
    assert first.guest.server_id not in world.machine.guests


async def test_a_spawn_of_who_was_overtaken_makes_no_guest(world: Any, spawn: Any) -> None:
    await world.start()
    command = spawn()
    await world.ask(undo(command, 3))
    with pytest.raises(HostFailure, match=OVERTAKEN):
        await world.ask(replace(command, attempt=2))
    assert not world.machine.guests


async def test_who_does_not_count_attempts_is_obeyed(world: Any, spawn: Any) -> None:
    """The release before, and sweeps, which act on what they read of actions that are over."""
    await world.start()
    command = replace(spawn(), attempt=4)
    await world.ask(command)
    assert isinstance(await world.ask(undo(command, 0)), Destroyed)


def test_what_is_remembered_is_bounded_and_survives_a_compaction(tmp_path: Path) -> None:
    clock = FixedClock(datetime(2030, 1, 1, tzinfo=UTC))
    ledger = Ledger(tmp_path / "ledger", clock)
    for number in range(fences._MOST + 10):
        assert ledger.fences.heard("s", f"a{number}", 2)
    ledger.compact()
    ledger.close()
    again = Ledger(tmp_path / "ledger", clock)
    assert len(list(again.fences.entries())) == fences._MOST
    assert not again.fences.heard("s", f"a{fences._MOST}", 1)
    before = (tmp_path / "ledger").stat().st_size
    for number in range(1000):
        assert again.fences.heard("s", f"b{number}", 1)
    assert (tmp_path / "ledger").stat().st_size == before, "first attempts are not written down"
    again.close()
