"""A host that lost its ledger and has the disks: told with the whole of a guest, it knows that again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from floe.core.errors import HostFailure
from floe.core.guests import PowerState
from floe.core.messages import ChangePower, Destroy, Destroyed, PowerChanged, Spawned
from floe.core.power import Power, Wanted
from floe.core.server_resize import MAKE, Resize

RUNNING, OFF = PowerState.RUNNING, PowerState.SHUTDOWN


def asked(spawned: Any, power: Power, boots: int, *, whole: bool = True, generation: int = 5) -> ChangePower:
    """Return what a conductor says, with the whole of the guest if it was asked for that."""
    more = {"guest": spawned.guest, "network": spawned.network} if whole else {}
    wanted = Wanted(power=power, boots=boots, generation=generation)
    return ChangePower(action_id=f"a{generation}", server_id=spawned.guest.server_id, wanted=wanted, **more)


async def ask(world: Any, command: Any) -> Any:
    return await world.bus.request("h1", command, timeout=20)


async def lose(world: Any, guest: str, server_id: str) -> None:
    """Have the host die, and come back without its ledger; its guest runs, is off, or is not even defined any more."""
    await world.kill()
    (world.state_dir / "ledger.jsonl").unlink()
    if guest == "off":
        world.machine.guests[server_id] = OFF
    elif guest == "gone":
        del world.machine.guests[server_id]
        world.machine.boots.pop(server_id, None)
    await world.start()


@pytest.fixture
async def spawned(world: Any, spawn: Any) -> Any:
    await world.start()
    command = spawn()
    assert isinstance(await ask(world, command), Spawned)
    await world.agent._beat()
    return command


@pytest.mark.parametrize("guest", ["runs", "off", "gone"])
@pytest.mark.parametrize(
    ("power", "after"), [(Power.RUNNING, RUNNING), (Power.STOPPED, OFF)], ids=["reboot or start", "stop"]
)
async def test_it_says_that_it_does_not_know_the_guest_and_then_does_what_is_asked(
    world: Any, spawned: Any, guest: str, power: Power, after: PowerState
) -> None:
    server_id = spawned.guest.server_id
    await lose(world, guest, server_id)
    boots = 2 if power is Power.RUNNING else 1
    for _ in range(2):
        with pytest.raises(HostFailure, match="not known on this host") as refused:
            await ask(world, asked(spawned, power, boots, whole=False))
        assert refused.value.cause == "not_found"
    answer = await ask(world, asked(spawned, power, boots))
    assert isinstance(answer, PowerChanged)
    assert answer.power_state is after
    assert world.machine.guests.get(server_id, OFF) is after
    assert (await ask(world, asked(spawned, power, boots, whole=False))).power_state is after, "it is known again"
    if after is RUNNING:
        assert world.machine.boots[server_id] == 2
        assert [port.port_id for port in world.plane.applied.ports] == [spawned.guest.nics[0].port_id]
        assert (await ask(world, asked(spawned, power, boots))).power_state is after
        assert (world.folder(server_id) / "console.log").read_text().count("starts") == 2, "and booted once"


@pytest.mark.parametrize("compacted", [False, True])
async def test_what_is_known_again_outlives_the_agent(world: Any, spawned: Any, compacted: bool) -> None:
    server_id = spawned.guest.server_id
    await lose(world, "gone", server_id)
    await ask(world, asked(spawned, Power.RUNNING, 2))
    if compacted:
        world.agent._ledger.compact()
    await world.kill()
    world.machine.guests[server_id] = OFF
    await world.start()
    stopped = await ask(world, asked(spawned, Power.RUNNING, 3, whole=False, generation=6))
    assert stopped.power_state is RUNNING


@pytest.mark.parametrize("started_again", [False, True])
async def test_what_is_known_again_goes_when_whoever_had_it_built_says_so(
    world: Any, spawned: Any, started_again: bool
) -> None:
    server_id = spawned.guest.server_id
    await lose(world, "runs", server_id)
    await ask(world, asked(spawned, Power.STOPPED, 1))
    if started_again:
        world.agent._ledger.compact()
        await world.kill()
        await world.start()
    gone = Destroy(action_id=spawned.action_id, server_id=server_id, guest_name=spawned.guest.name, final=False)
    assert isinstance(await ask(world, gone), Destroyed)
    assert server_id not in world.machine.guests
    assert not world.folder(server_id).exists()


async def test_a_death_just_after_it_is_known_again_costs_no_disk(world: Any, spawned: Any) -> None:
    """The start that follows takes a guest that was never built for a build cut short, and its disks away."""
    server_id = spawned.guest.server_id
    await lose(world, "gone", server_id)
    there = asyncio.Event()

    async def dies(*_args: Any) -> Any:
        there.set()
        await asyncio.Event().wait()

    world.hypervisor.start = dies
    task = asyncio.create_task(ask(world, asked(spawned, Power.RUNNING, 2)))
    await there.wait()
    before = sorted(path.name for path in world.folder(server_id).iterdir())
    await world.kill()
    task.cancel()
    await world.start()
    assert sorted(path.name for path in world.folder(server_id).iterdir()) == before
    assert (await ask(world, asked(spawned, Power.RUNNING, 2, whole=False))).power_state is RUNNING


async def off_again(world: Any, server_id: str, boot: str) -> None:
    """Have the machine lose its power, and start anew."""
    await world.kill()
    world.machine.guests[server_id] = OFF
    await world.start(boot_id=lambda: boot)


async def test_a_guest_that_the_ledger_lost_with_the_power_is_not_started_from_disks_that_may_be_damaged(
    world: Any, spawn: Any
) -> None:
    await world.start(boot_id=lambda: "first")
    spawned = spawn()
    before = (world.state_dir / "ledger.jsonl").read_bytes()
    assert isinstance(await ask(world, spawned), Spawned)
    (world.state_dir / "ledger.jsonl").write_bytes(before)
    server_id = spawned.guest.server_id
    for boot, boots in (("second", 2), ("third", 3)):
        await off_again(world, server_id, boot)
        with pytest.raises(HostFailure, match="may be damaged"):
            await ask(world, asked(spawned, Power.RUNNING, boots, generation=5 + boots))
        world.agent._ledger.compact()
    assert world.machine.guests[server_id] is OFF


async def test_one_that_was_there_before_the_ledger_was_lost_is_sound_also_after_a_loss_of_power(
    world: Any, spawned: Any
) -> None:
    server_id = spawned.guest.server_id
    await world.kill()
    (world.state_dir / "ledger.jsonl").unlink()
    await world.start(boot_id=lambda: "first")
    world.agent._ledger.compact()
    await off_again(world, server_id, "second")
    assert (await ask(world, asked(spawned, Power.RUNNING, 2))).power_state is RUNNING


@pytest.mark.parametrize(
    ("lost", "what"),
    [("base", "The image that the root disk of the guest stands on"), ("kernel", "The kernel of the guest")],
)
async def test_an_image_that_is_gone_is_said(world: Any, spawn: Any, lost: str, what: str) -> None:
    await world.start()
    spawned = spawn()
    kernel = spawned.guest.image
    spawned = replace(spawned, guest=replace(spawned.guest, kernel=kernel))
    assert isinstance(await ask(world, spawned), Spawned)
    await lose(world, "gone", spawned.guest.server_id)
    files = world.agent._builder.files(spawned.guest)
    (files.bases["root"] if lost == "base" else files.kernel).unlink()
    with pytest.raises(HostFailure, match=f"{what} is not on this host any more"):
        await ask(world, asked(spawned, Power.RUNNING, 2))
    assert world.machine.guests == {}


@pytest.mark.parametrize("lost", ["folder", "disk"])
async def test_a_disk_that_is_gone_is_said_and_never_made_anew(world: Any, spawned: Any, lost: str) -> None:
    server_id = spawned.guest.server_id
    await lose(world, "gone", server_id)
    disk = next(iter(world.agent._builder.files(spawned.guest).disks.values()))
    disk.unlink()
    if lost == "folder":
        for path in world.folder(server_id).iterdir():
            if path.is_file():
                path.unlink()
    with pytest.raises(HostFailure, match="The root disk of the guest is not on this host any more"):
        await ask(world, asked(spawned, Power.RUNNING, 2))
    assert not disk.exists()
    assert world.machine.guests == {}
    assert server_id not in world.agent._ledger.guests


async def test_nor_is_it_started_without_a_disk_when_the_guest_is_known(world: Any, spawned: Any) -> None:
    server_id = spawned.guest.server_id
    await ask(world, asked(spawned, Power.STOPPED, 1, whole=False))
    next(iter(world.agent._builder.files(spawned.guest).disks.values())).unlink()
    with pytest.raises(HostFailure, match="The root disk of the guest is not on this host any more"):
        await ask(world, asked(spawned, Power.RUNNING, 2, whole=False, generation=6))
    assert world.machine.guests[server_id] is OFF


async def test_what_was_destroyed_for_good_is_not_known_again(world: Any, spawned: Any) -> None:
    gone = Destroy(action_id="d", server_id=spawned.guest.server_id, guest_name=spawned.guest.name)
    assert isinstance(await ask(world, gone), Destroyed)
    with pytest.raises(HostFailure, match="was deleted"):
        await ask(world, asked(spawned, Power.RUNNING, 2))


async def test_no_secret_comes_to_the_ledger_with_it(world: Any, spawned: Any) -> None:
    await lose(world, "gone", spawned.guest.server_id)
    command = asked(spawned, Power.RUNNING, 2)
    secret = replace(command.guest, metadata=replace(command.guest.metadata, admin_password="s3cret"))
    await ask(world, replace(command, guest=secret))
    assert "s3cret" not in (world.state_dir / "ledger.jsonl").read_text()


async def test_what_is_known_again_has_its_ports_though_they_could_not_be_had_at_first(
    world: Any, spawned: Any
) -> None:
    await lose(world, "off", spawned.guest.server_id)
    world.plane.script.failure = HostFailure("No taps.", stage="ports")
    with pytest.raises(HostFailure, match="No taps"):
        await ask(world, asked(spawned, Power.RUNNING, 2))
    world.plane.script.failure = None
    assert (await ask(world, asked(spawned, Power.RUNNING, 3, whole=False, generation=6))).power_state is RUNNING
    assert [port.port_id for port in world.plane.applied.ports] == [spawned.guest.nics[0].port_id]


async def test_a_resize_is_taken_back_whose_guest_is_known_again_and_cannot_have_its_ports(
    world: Any, spawned: Any
) -> None:
    """It was done already; as what the guest was is asked of everybody from now on, it is that again."""
    before = spawned.guest
    larger = replace(before, memory_mib=256, disks=tuple(replace(disk, make=7) for disk in before.disks))
    wanted = Wanted(power=Power.RUNNING, boots=7, generation=7)
    told = {"server_id": before.server_id, "guest": larger, "before": before, "network": spawned.network}
    command = Resize(action_id="resize", do=MAKE, wanted=wanted, **told)
    files = {path.name for path in world.folder(before.server_id).iterdir()}
    assert (await ask(world, command)).power_state is RUNNING
    await lose(world, "runs", before.server_id)
    world.plane.script.failure = HostFailure("No taps.", stage="ports")
    with pytest.raises(HostFailure, match="No taps"):
        await ask(world, command)
    assert world.agent._ledger.guests[before.server_id].memory_mib == before.memory_mib
    assert {path.name for path in world.folder(before.server_id).iterdir()} == files
