"""What a host does about the power of its guests: once, whoever asks again, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

import pytest

from floe.core.errors import HostFailure
from floe.core.guests import PowerState
from floe.core.messages import ChangePower, Destroy, Destroyed, Failed, PowerChanged, Spawned
from floe.core.power import Power, Wanted
from floe.hypervisors.fake_files import overlay_head

RUNNING, OFF, PAUSED, SUSPENDED = PowerState.RUNNING, PowerState.SHUTDOWN, PowerState.PAUSED, PowerState.SUSPENDED


def asked(world: Any, spawned: Any, power: Power, generation: int, boots: int = 1, **more: Any) -> ChangePower:
    wanted = Wanted(power=power, boots=boots, generation=generation)
    return ChangePower(action_id=f"a{generation}", server_id=spawned.guest.server_id, wanted=wanted, **more)


async def ask(world: Any, command: Any) -> Any:
    return await world.bus.request("h1", command, timeout=20)


def starts(world: Any, spawned: Any) -> int:
    log = world.state_dir / "guests" / spawned.guest.server_id / "console.log"
    return int(log.read_text().count("starts"))


@pytest.fixture
async def spawned(world: Any, spawn: Any) -> Any:
    await world.start(boot_id=lambda: "first", sleep=_soon)
    command = spawn()
    assert isinstance(await ask(world, command), Spawned)
    await world.agent._beat()
    return command


async def _soon(seconds: float) -> None:
    await asyncio.sleep(3600 if seconds >= 10 else 0)


async def test_each_change_is_made_once_and_answered_alike(world: Any, spawned: Any) -> None:
    there = world.machine.guests
    for generation, (power, boots, state) in enumerate(
        (
            (Power.PAUSED, 1, PAUSED),
            (Power.RUNNING, 1, RUNNING),
            (Power.SUSPENDED, 1, SUSPENDED),
            (Power.RUNNING, 1, RUNNING),
            (Power.RUNNING, 2, RUNNING),
            (Power.STOPPED, 2, OFF),
            (Power.RUNNING, 3, RUNNING),
        ),
        1,
    ):
        command = asked(world, spawned, power, generation, boots)
        for _ in range(2):
            answer = await ask(world, command)
            assert isinstance(answer, PowerChanged)
            assert answer.power_state is there[spawned.guest.server_id] is state
    assert starts(world, spawned) == 3


@pytest.mark.parametrize("point", ["before", "after"])
@pytest.mark.parametrize("operation", ["end", "start"])
async def test_a_reboot_that_was_cut_short_is_finished_and_never_done_twice(
    world: Any, spawned: Any, operation: str, point: str
) -> None:
    command, inner = asked(world, spawned, Power.RUNNING, 1, 2), getattr(world.hypervisor, operation)
    there = asyncio.Event()

    async def dies(*args: Any) -> Any:
        if point == "after":
            await inner(*args)
        there.set()
        await asyncio.Event().wait()

    setattr(world.hypervisor, operation, dies)
    task = asyncio.create_task(ask(world, command))
    await there.wait()
    await world.kill()
    task.cancel()
    await world.start(boot_id=lambda: "first", sleep=_soon)
    answer = await ask(world, command)
    assert answer.power_state is RUNNING
    assert starts(world, spawned) == 2
    assert world.machine.boots[spawned.guest.server_id] == 2


async def test_an_answer_outlives_the_agent(world: Any, spawned: Any) -> None:
    command = asked(world, spawned, Power.RUNNING, 1, 2)
    first = await ask(world, command)
    world.hypervisor.change(spawned.guest.server_id, OFF)
    await world.stop()
    await world.start(boot_id=lambda: "first", sleep=_soon)
    again = await ask(world, command)
    assert (first.power_state, again.power_state) == (RUNNING, OFF), "it shut down since, and is not booted again"
    assert starts(world, spawned) == 2


@pytest.mark.parametrize("point", ["before", "after", "answered"])
async def test_an_interrupt_is_sent_once_and_never_twice(world: Any, spawned: Any, point: str) -> None:
    server_id, there = spawned.guest.server_id, asyncio.Event()
    wanted = Wanted(power=Power.RUNNING, generation=1, interrupt=True)
    command = ChangePower(action_id="a1", server_id=server_id, wanted=wanted)
    inner = world.hypervisor.interrupt

    async def dies(*args: Any) -> Any:
        if point == "after":
            await inner(*args)
        there.set()
        await asyncio.Event().wait()

    if point != "answered":
        world.hypervisor.interrupt = dies
        task = asyncio.create_task(ask(world, command))
        await there.wait()
        await world.kill()
        task.cancel()
    else:
        assert (await ask(world, command)).power_state is RUNNING
        await world.kill()
    await world.start(boot_id=lambda: "first", sleep=_soon)
    answer = await ask(world, command)
    assert answer.power_state is RUNNING
    assert world.machine.interrupts.get(server_id, 0) == (point != "before")
    if point != "answered":
        assert answer.steps[-1].remark == "it may have been sent before the agent died, and is not sent twice"
    later = ChangePower(
        action_id="a2", server_id=server_id, wanted=Wanted(power=Power.RUNNING, generation=2, interrupt=True)
    )
    await ask(world, later)
    assert world.machine.interrupts[server_id] == 1 + (point != "before")
    assert starts(world, spawned) == 1


async def test_what_was_said_earlier_changes_nothing(world: Any, spawned: Any) -> None:
    assert (await ask(world, asked(world, spawned, Power.PAUSED, 2))).power_state is PAUSED
    with pytest.raises(HostFailure, match="asked for later"):
        await ask(world, asked(world, spawned, Power.STOPPED, 1))
    assert world.machine.guests[spawned.guest.server_id] is PAUSED


async def test_a_guest_that_listens_shuts_down_and_a_deaf_one_is_ended(world: Any, spawned: Any) -> None:
    gently = await ask(world, asked(world, spawned, Power.RUNNING, 1, 2, patience=3.0))
    assert [(step.name, step.remark) for step in gently.steps] == [("end", "it shut down by itself"), ("start", "")]
    world.machine.deaf.add(spawned.guest.server_id)
    hard = await ask(world, asked(world, spawned, Power.RUNNING, 2, 3, patience=3.0))
    assert hard.steps[0].remark == "it did not shut down by itself in 3 s"
    assert starts(world, spawned) == 3


async def test_a_later_wish_breaks_off_one_that_waits_for_a_deaf_guest(world: Any, spawn: Any) -> None:
    await world.start(boot_id=lambda: "first")
    spawned = spawn()
    await ask(world, spawned)
    world.machine.deaf.add(spawned.guest.server_id)
    slow = asyncio.create_task(ask(world, asked(world, spawned, Power.RUNNING, 1, 2, patience=600.0)))
    while not world.agent._ledger.wishes.of(spawned.guest.server_id).generation:
        await asyncio.sleep(0)
    assert (await ask(world, asked(world, spawned, Power.RUNNING, 2, 3))).power_state is RUNNING
    with pytest.raises(HostFailure, match="asked for meanwhile"):
        await slow
    assert (starts(world, spawned), world.machine.boots[spawned.guest.server_id]) == (2, 3)


async def test_a_destroy_breaks_off_a_shutdown(world: Any, spawn: Any) -> None:
    await world.start(boot_id=lambda: "first")
    spawned = spawn()
    await ask(world, spawned)
    world.machine.deaf.add(spawned.guest.server_id)
    slow = asyncio.create_task(ask(world, asked(world, spawned, Power.STOPPED, 1, patience=600.0)))
    while not world.agent._ledger.wishes.of(spawned.guest.server_id).generation:
        await asyncio.sleep(0)
    gone = Destroy(action_id="d", server_id=spawned.guest.server_id, guest_name=spawned.guest.name)
    assert isinstance(await ask(world, gone), Destroyed)
    with pytest.raises(HostFailure):
        await slow
    assert world.machine.guests == {}
    with pytest.raises(HostFailure, match="was deleted"):
        await ask(world, asked(world, spawned, Power.RUNNING, 2, 2))


async def test_what_fails_is_told_and_leaves_the_guest_as_it_was(world: Any, spawned: Any) -> None:
    world.machine.fail("pause")
    command = asked(world, spawned, Power.PAUSED, 1)
    for _ in range(2):
        with pytest.raises(HostFailure, match="told to fail"):
            await ask(world, command)
    assert world.machine.guests[spawned.guest.server_id] is RUNNING
    assert world.agent._ledger.wishes.of(spawned.guest.server_id).power is Power.RUNNING
    assert (await ask(world, asked(world, spawned, Power.PAUSED, 2))).power_state is PAUSED


async def test_a_guest_that_is_off_is_not_booted_to_be_paused_or_to_go_on(world: Any, spawned: Any) -> None:
    world.hypervisor.change(spawned.guest.server_id, OFF)
    for generation, power in enumerate((Power.PAUSED, Power.SUSPENDED, Power.RUNNING), 1):
        with pytest.raises(HostFailure, match="The guest is off"):
            await ask(world, asked(world, spawned, power, generation))
    assert starts(world, spawned) == 1


@pytest.mark.parametrize(
    ("power", "boots", "after"),
    [(Power.RUNNING, 1, RUNNING), (Power.RUNNING, 3, RUNNING), (Power.STOPPED, 1, OFF), (Power.PAUSED, 1, OFF)],
)
async def test_after_a_start_of_the_machine_guests_have_the_power_they_should(
    world: Any, spawned: Any, power: Power, boots: int, after: PowerState
) -> None:
    await ask(world, asked(world, spawned, power, 1, boots))
    before = starts(world, spawned)
    await world.kill()
    world.machine.guests[spawned.guest.server_id] = OFF  # its power failed, and its guests are gone
    for _ in range(2):
        await world.start(boot_id=lambda: "second", sleep=_soon)
        assert world.machine.guests[spawned.guest.server_id] is after
        await world.stop()
    assert starts(world, spawned) == before + (after is RUNNING)


async def test_a_suspended_guest_stays_so_when_the_machine_is_started_anew(world: Any, spawned: Any) -> None:
    await ask(world, asked(world, spawned, Power.SUSPENDED, 1))
    await world.kill()
    await world.start(boot_id=lambda: "second", sleep=_soon)
    assert world.machine.guests[spawned.guest.server_id] is SUSPENDED
    assert (await ask(world, asked(world, spawned, Power.RUNNING, 2))).power_state is RUNNING
    assert starts(world, spawned) == 1


@pytest.mark.parametrize("alive", [True, False])
async def test_a_guest_that_shut_itself_down_stays_off_also_after_a_start_of_the_machine(
    world: Any, spawned: Any, alive: bool
) -> None:
    if alive:
        world.hypervisor.change(spawned.guest.server_id, OFF)
        await world.kill()
    else:
        await world.kill()
        world.machine.guests[spawned.guest.server_id] = OFF
    for boot in ("first", "second"):
        await world.start(boot_id=lambda boot=boot: boot, sleep=_soon)
        assert world.machine.guests[spawned.guest.server_id] is OFF
        await world.kill()
    assert starts(world, spawned) == 1


async def test_a_start_of_the_machine_that_was_cut_short_is_gone_on_with(world: Any, spawned: Any) -> None:
    await world.kill()
    world.machine.guests[spawned.guest.server_id] = OFF
    world.machine.fail("start")
    await world.start(boot_id=lambda: "second", sleep=_soon)
    assert world.machine.guests[spawned.guest.server_id] is OFF, "what cannot be started does not keep the host down"


async def test_a_guest_whose_disks_may_be_damaged_is_not_started_again(world: Any, spawned: Any, spawn: Any) -> None:
    young = spawn(2)
    await ask(world, young)
    await world.kill()
    for server_id in world.machine.guests:
        world.machine.guests[server_id] = OFF
    await world.start(boot_id=lambda: "second", sleep=_soon)
    assert world.machine.guests == {spawned.guest.server_id: RUNNING, young.guest.server_id: OFF}
    await world.agent._beat()  # brings to the disk what is not there for certain
    for boots, boot_id in ((2, "second"), (3, "third")):
        with pytest.raises(HostFailure, match="may be damaged"):
            await ask(world, asked(world, young, Power.RUNNING, boots, boots))
        world.agent._ledger.compact()
        await world.kill()
        await world.start(boot_id=lambda boot_id=boot_id: boot_id, sleep=_soon)
    assert world.machine.guests[young.guest.server_id] is OFF


async def test_nor_is_one_whose_built_was_not_even_noted_when_the_power_failed(world: Any, spawned: Any) -> None:
    await world.kill()
    ledger = world.state_dir / "ledger.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(line for line in lines if "settled" not in line and "flushed" not in line))
    world.machine.guests[spawned.guest.server_id] = OFF
    await world.start(boot_id=lambda: "second", sleep=_soon)
    with pytest.raises(HostFailure, match="may be damaged"):
        await ask(world, asked(world, spawned, Power.RUNNING, 1, 2))


@pytest.mark.parametrize("lost", ["disk.qcow2", "images/base.img", "images"])
async def test_a_guest_of_which_a_part_alone_is_there_is_not_brought_back(
    world: Any, spawned: Any, lost: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The power failed while it was removed, and took what the ledger knew of that: some of its files are back."""
    gone = world.folder(spawned.guest.server_id) / lost
    await world.kill()
    world.machine.guests[spawned.guest.server_id] = OFF
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    await world.start(boot_id=lambda: "second", sleep=_soon)
    assert world.machine.guests[spawned.guest.server_id] is OFF
    assert f"cannot be started again: no {gone}" in caplog.text
    with pytest.raises(HostFailure, match="is not on this host any more"):
        await ask(world, asked(world, spawned, Power.RUNNING, 1, 2))
    assert starts(world, spawned) == 1


@pytest.mark.parametrize("there", [True, False])
async def test_a_disk_of_an_earlier_release_stands_on_the_image_in_the_cache(
    world: Any, spawned: Any, there: bool
) -> None:
    folder = world.folder(spawned.guest.server_id)
    await world.kill()
    world.machine.guests[spawned.guest.server_id] = OFF
    shutil.rmtree(folder / "images")
    cached = world.state_dir / "images" / "image"
    (folder / "disk.qcow2").write_bytes(overlay_head(cached))
    if there:
        cached.touch()
    await world.start(boot_id=lambda: "second", sleep=_soon)
    assert world.machine.guests[spawned.guest.server_id] is (RUNNING if there else OFF)


async def test_power_is_remembered_through_a_compaction(world: Any, spawned: Any) -> None:
    command = asked(world, spawned, Power.RUNNING, 1, 2)
    await ask(world, command)
    await ask(world, asked(world, spawned, Power.PAUSED, 2, 2))
    world.agent._ledger.compact()
    await world.kill()
    await world.start(boot_id=lambda: "first", sleep=_soon)
    kept = world.agent._ledger.wishes
    assert kept.of(spawned.guest.server_id) == Wanted(power=Power.PAUSED, boots=2, generation=2)
    assert (kept.booted(spawned.guest.server_id), kept.machine) == (2, "first")
    assert (await ask(world, command)).power_state is PAUSED
    assert starts(world, spawned) == 2


def test_answers_have_a_bound() -> None:
    from floe.agent import wishes
    from floe.agent.ledger_entries import Answered

    kept = wishes.Wishes(lambda _entry: True, lambda: 0.0)
    for number in range(wishes.ANSWERS + 5):
        failed = Failed(kind="host_failure", message="no")
        kept.take(Answered(at=float(number), server_id="s", action_id=str(number), failed=failed))
    assert len(list(kept.entries())) == wishes.ANSWERS
    assert (kept.answer("s", "4"), kept.answer("s", "5")) == (None, failed)
    kept.forget(100.0)
    assert kept.answer("s", "100") is None
