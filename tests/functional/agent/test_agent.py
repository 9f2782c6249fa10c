"""The agent over a local bus, on the fake hypervisor and the fake data plane."""

from __future__ import annotations

import asyncio
import errno
import hashlib
from typing import Any

import pytest
from msgspec.structs import replace

from floe.agent.agent import LEDGER
from floe.agent.image_eviction import backing_file
from floe.core.errors import HostFailure, Unavailable
from floe.core.guest_metadata import fingerprint
from floe.core.guests import PowerState
from floe.core.host_network import HostNetwork
from floe.core.messages import (
    ApplyNetwork,
    ConsoleOutput,
    Destroy,
    Destroyed,
    Done,
    GuestChanged,
    Guests,
    HostDown,
    HostUp,
    ListGuests,
    NetworkApplied,
    Progress,
    ReadConsole,
    Spawn,
    Spawned,
    UpdateMetadata,
)

World = Any
SpawnFactory = Any


def destroy(command: Spawn, *, action: str = "the-delete", final: bool = True) -> Destroy:
    guest = command.guest
    return Destroy(
        action_id=action,
        server_id=guest.server_id,
        guest_name=guest.name,
        port_ids=tuple(nic.port_id for nic in guest.nics),
        generation=command.network.generation + 1,
        final=final,
    )


def nothing_is_left(world: World, command: Spawn) -> bool:
    server_id = command.guest.server_id
    return (
        server_id not in world.machine.guests
        and not world.folder(server_id).exists()
        and not any(port.server_id == server_id for port in world.plane.applied.ports)
    )


async def test_a_spawn_makes_files_ports_and_guest_and_times_its_steps(world: World, spawn: SpawnFactory) -> None:
    await world.start()
    command = spawn()
    result = await world.ask(command)
    assert isinstance(result, Spawned)
    assert result.power_state is PowerState.RUNNING
    steps = {step.name: step for step in result.steps}
    assert set(steps) == {"image", "disk", "ports", "guest"}
    assert result.steps[-1].name == "guest"
    assert steps["image"].remark == "fetched"
    assert [port.port_id for port in world.plane.applied.ports] == [command.guest.nics[0].port_id]
    assert await world.ask(ListGuests()) == Guests(guests=tuple(await world.hypervisor.guests()))
    shown = await world.ask(ReadConsole(server_id=command.guest.server_id, lines=1))
    assert shown == ConsoleOutput(text="vm1 login: ")


async def test_the_start_tells_what_the_host_has_and_the_stop_that_it_goes(world: World, spawn: SpawnFactory) -> None:
    await world.start()
    await world.ask(spawn())
    await world.stop()
    up = await world.until(lambda: [event for event in world.events if isinstance(event, HostUp)])
    assert up[0].host == "h1"
    assert {item.resource_class for item in up[0].inventories} == {"VCPU", "MEMORY_MB", "DISK_GB"}
    await world.until(lambda: HostDown(host="h1") in world.events)


async def test_a_repeated_spawn_is_answered_alike_and_done_once(world: World, spawn: SpawnFactory) -> None:
    await world.start()
    world.machine.recording = True
    first = await world.ask(spawn())
    assert await world.ask(spawn()) == first
    assert [name for name, _ in world.machine.calls].count("start") == 1


async def test_a_spawn_repeated_while_it_runs_waits_for_the_same_answer(world: World, spawn: SpawnFactory) -> None:
    world.images.gate = asyncio.Event()
    await world.start()
    first = asyncio.create_task(world.ask(spawn()))
    await world.until(lambda: world.images.reads)
    second = asyncio.create_task(world.ask(spawn()))
    world.images.gate.set()
    assert await first == await second
    assert world.images.reads == 1


async def test_many_guests_of_one_image_fetch_it_once(world: World, spawn: SpawnFactory) -> None:
    await world.start()
    results = await asyncio.gather(*(world.ask(spawn(number)) for number in range(1, 21)))
    assert all(isinstance(result, Spawned) for result in results)
    assert world.images.reads == 1
    assert len(world.plane.applied.ports) == 20


async def test_a_destroy_removes_everything_and_may_be_repeated(world: World, spawn: SpawnFactory) -> None:
    await world.start()
    command = spawn()
    await world.ask(command)
    for _ in range(2):
        assert isinstance(await world.ask(destroy(command)), Destroyed)
        assert nothing_is_left(world, command)


async def test_a_destroyed_server_is_never_spawned_again(world: World, spawn: SpawnFactory) -> None:
    await world.start()
    command = spawn()
    await world.ask(destroy(command))
    with pytest.raises(HostFailure, match="deleted"):
        await world.ask(command)
    await world.kill()
    await world.start()
    with pytest.raises(HostFailure, match="deleted"):
        await world.ask(replace(command, action_id="another"))
    assert nothing_is_left(world, command)


async def test_an_undone_build_refuses_its_own_late_spawn_but_not_a_later_action(
    world: World, spawn: SpawnFactory
) -> None:
    await world.start()
    command = spawn(action="first")
    await world.ask(destroy(command, action="first", final=False))
    with pytest.raises(HostFailure, match="called off"):
        await world.ask(command)
    later = replace(command, action_id="second", network=replace(command.network, generation=100))
    assert isinstance(await world.ask(later), Spawned)
    await world.ask(destroy(command, action="first", final=False))
    assert command.guest.server_id in world.machine.guests


@pytest.mark.parametrize("stage", ["image", "guest", "ports"])
async def test_a_destroy_during_a_spawn_wins_and_does_not_wait_for_it(
    world: World, spawn: SpawnFactory, stage: str
) -> None:
    if stage == "image":
        world.images.gate = asyncio.Event()
    if stage == "ports":
        world.plane.script.delay = 3600
        world.plane._sleep = waits_once = OnceSlow()
    await world.start(delay=3600 if stage == "guest" else 0.0)
    command = spawn()
    building = asyncio.create_task(world.ask(command))
    if stage == "image":
        await world.until(lambda: world.images.reads)
    elif stage == "guest":
        await world.until(lambda: world.plane.applied.ports)
    else:
        waits_once.armed = True
        await world.until(lambda: waits_once.waiting)
    ending = asyncio.create_task(world.ask(destroy(command)))
    with pytest.raises(HostFailure, match="deleted while it was being built"):
        await building
    if stage == "ports":
        waits_once.release.set()
    assert isinstance(await ending, Destroyed)
    assert nothing_is_left(world, command)


class OnceSlow:
    """A sleep that holds the first caller after it was armed until it is released."""

    def __init__(self) -> None:
        self.armed = False
        self.waiting = False
        self.release = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        if self.armed and not self.waiting:
            self.waiting = True
            await self.release.wait()
        self.armed = True


async def test_an_image_whose_bytes_do_not_match_fails_the_spawn(world: World, spawn: SpawnFactory) -> None:
    await world.start()
    command = spawn(checksum=hashlib.sha512(b"other").hexdigest())
    with pytest.raises(HostFailure, match="do not match its checksum") as caught:
        await world.ask(command)
    assert caught.value.stage == "image"
    assert nothing_is_left(world, command)
    assert not [file for file in (world.state_dir / "images").iterdir() if not file.name.endswith(".lock")]


async def test_an_image_that_vanished_is_named(world: World, spawn: SpawnFactory) -> None:
    world.images.blobs.clear()
    await world.start()
    with pytest.raises(HostFailure, match="no longer there"):
        await world.ask(spawn())


async def test_a_full_disk_fails_the_spawn_and_leaves_no_part_of_the_image(world: World, spawn: SpawnFactory) -> None:
    world.images.error = OSError(errno.ENOSPC, "No space left on device")
    await world.start()
    command = spawn()
    with pytest.raises(HostFailure, match="No space is left") as caught:
        await world.ask(command)
    assert caught.value.stage == "image"
    assert nothing_is_left(world, command)
    assert not list((world.state_dir / "images").glob("*.part*"))
    world.images.error = None
    assert isinstance(await world.ask(replace(command, action_id="again")), Spawned)


@pytest.mark.parametrize("operation", ["adopt_image", "create_overlay", "start"])
async def test_a_hypervisor_that_fails_leaves_nothing_behind(world: World, spawn: SpawnFactory, operation: str) -> None:
    await world.start()
    world.machine.fail(operation, HostFailure("it would not", detail="why"))
    command = spawn()
    with pytest.raises(HostFailure, match="it would not") as caught:
        await world.ask(command)
    assert caught.value.detail == "why"
    assert caught.value.stage == {"adopt_image": "image", "create_overlay": "disk", "start": "guest"}[operation]
    assert nothing_is_left(world, command)
    with pytest.raises(HostFailure, match="it would not"):
        await world.ask(command)
    assert isinstance(await world.ask(replace(command, action_id="again")), Spawned)


async def test_a_port_that_cannot_be_plugged_fails_its_own_spawn_alone(world: World, spawn: SpawnFactory) -> None:
    await world.start()
    bad = spawn(1)
    world.plane.script.faults[bad.guest.nics[0].port_id] = "no such device"
    results = await asyncio.gather(
        world.ask(bad), *(world.ask(spawn(number)) for number in (2, 3, 4)), return_exceptions=True
    )
    assert isinstance(results[0], HostFailure)
    assert results[0].stage == "ports"
    assert "no such device" in results[0].message
    assert all(isinstance(result, Spawned) for result in results[1:])
    world.plane.script.faults.clear()
    await world.ask(ApplyNetwork(network=HostNetwork(generation=0)))
    assert nothing_is_left(world, bad)


async def test_a_restarted_agent_finds_its_guests_and_their_network(world: World, spawn: SpawnFactory) -> None:
    await world.start()
    command = spawn()
    first = await world.ask(command)
    applied = world.plane.applied
    await world.kill()
    world.plane.applied = HostNetwork()
    world.events.clear()
    await world.start()
    up = await world.until(lambda: next((event for event in world.events if isinstance(event, HostUp)), None))
    assert [guest.server_id for guest in up.guests] == [command.guest.server_id]
    assert up.network_generation == applied.generation
    assert world.plane.applied == applied
    assert await world.ask(command) == first
    shown = await world.ask(ReadConsole(server_id=command.guest.server_id))
    assert "fake guest" in shown.text
    assert isinstance(await world.ask(destroy(command)), Destroyed)
    assert nothing_is_left(world, command)


async def test_a_build_cut_short_by_a_crash_is_cleared_away_and_can_be_repeated(
    world: World, spawn: SpawnFactory
) -> None:
    await world.start(delay=3600)
    command = spawn()
    building = asyncio.create_task(world.ask(command))
    await world.until(lambda: world.plane.applied.ports and world.folder(command.guest.server_id).exists())
    await world.kill()
    await asyncio.gather(building, return_exceptions=True)
    assert world.folder(command.guest.server_id).exists()
    await world.start()
    assert not world.folder(command.guest.server_id).exists()
    assert not world.plane.applied.ports
    assert isinstance(await world.ask(command), Spawned)


async def test_a_guest_whose_answer_was_lost_in_a_crash_is_not_made_twice(world: World, spawn: SpawnFactory) -> None:
    await world.start()
    command = spawn()
    await world.ask(command)
    await world.kill()
    ledger = world.state_dir / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(line for line in lines if b'"settled"' not in line))
    world.machine.recording = True
    await world.start()
    assert isinstance(await world.ask(command), Spawned)
    assert ("start", command.guest.server_id) not in world.machine.calls


async def test_a_delete_accepted_before_a_crash_is_finished_at_the_next_start(
    world: World, spawn: SpawnFactory
) -> None:
    await world.start()
    command = spawn()
    await world.ask(command)
    world.machine.fail("destroy")
    with pytest.raises(HostFailure):
        await world.ask(destroy(command))
    await world.kill()
    await world.start()
    assert nothing_is_left(world, command)


async def test_a_running_guest_survives_a_failing_repeat_of_its_spawn(world: World, spawn: SpawnFactory) -> None:
    await world.start()
    command = spawn()
    await world.ask(command)
    world.machine.fail("create_overlay")
    with pytest.raises(HostFailure):
        await world.ask(replace(command, action_id="another"))
    await world.ask(destroy(command, action="another", final=False))
    assert world.machine.guests == {command.guest.server_id: PowerState.RUNNING}
    assert world.plane.applied.ports
    assert isinstance(await world.ask(replace(command, action_id="third")), Spawned)


async def test_a_host_with_a_port_it_cannot_plug_still_starts_and_serves_the_rest(
    world: World, spawn: SpawnFactory
) -> None:
    await world.start()
    commands = [spawn(number) for number in (1, 2)]
    for command in commands:
        await world.ask(command)
    await world.kill()
    world.plane.script.faults[commands[0].guest.nics[0].port_id] = "no such device"
    await world.start()
    assert [port.server_id for port in world.plane.applied.ports] == [commands[1].guest.server_id]
    assert isinstance(await world.ask(spawn(3)), Spawned)
    assert isinstance(await world.ask(destroy(commands[0])), Destroyed)
    assert nothing_is_left(world, commands[0])


async def test_an_agent_whose_hypervisor_does_not_open_says_so_and_can_be_stopped(world: World) -> None:
    world.machine.fail("open", HostFailure("libvirt cannot be opened"))
    with pytest.raises(HostFailure, match="cannot be opened"):
        await world.start()
    await world.stop()
    assert world.events == []
    await world.start()


async def test_an_orderly_stop_in_mid_build_leaves_a_build_that_can_be_repeated(
    world: World, spawn: SpawnFactory
) -> None:
    await world.start(delay=3600)
    building = asyncio.create_task(world.ask(spawn()))
    await world.until(lambda: world.plane.applied.ports)
    await world.stop()
    with pytest.raises(Unavailable):
        await building
    await world.start()
    assert isinstance(await world.ask(spawn()), Spawned)


async def test_only_own_files_of_no_guest_are_removed_at_start(world: World, spawn: SpawnFactory) -> None:
    await world.start()
    await world.stop()
    orphan, ran, foreign = (
        world.state_dir / "guests" / name
        for name in ("d" * 8 + "-0000-4000-8000-" + "0" * 12, "e" * 8 + "-0000-4000-8000-" + "0" * 12, "my notes")
    )
    for folder in (orphan, ran, foreign):
        folder.mkdir()
    (ran / "console.log").touch()
    world.events.clear()
    await world.start()
    (up,) = await world.until(lambda: [event for event in world.events if isinstance(event, HostUp)])
    assert up.files == (ran.name,)
    assert not orphan.exists()
    assert ran.exists()
    assert foreign.exists()


async def test_a_foreign_guest_is_not_touched(world: World, spawn: SpawnFactory) -> None:
    await world.start()
    command = spawn()
    world.machine.foreign.add(command.guest.server_id)
    with pytest.raises(HostFailure, match="not made by this cloud"):
        await world.ask(destroy(command))


async def test_a_change_behind_our_back_is_told_once(world: World, spawn: SpawnFactory) -> None:
    await world.start()
    command = spawn()
    await world.ask(command)
    world.hypervisor.change(command.guest.server_id, PowerState.SHUTDOWN)
    world.hypervisor.change(command.guest.server_id, PowerState.SHUTDOWN)
    changed = GuestChanged(host="h1", server_id=command.guest.server_id, power_state=PowerState.SHUTDOWN)
    await world.until(lambda: changed in world.events)
    assert [event for event in world.events if isinstance(event, GuestChanged)] == [changed]


async def test_the_sweep_sees_a_guest_that_vanished_without_an_event(world: World, spawn: SpawnFactory) -> None:
    await world.start(sweep=0.005)
    command = spawn()
    await world.ask(command)
    world.machine.guests.clear()
    gone = GuestChanged(host="h1", server_id=command.guest.server_id, power_state=PowerState.NOSTATE)
    await world.until(lambda: gone in world.events)


async def test_a_slow_step_is_told_while_it_runs(world: World, spawn: SpawnFactory) -> None:
    world.images.gate = asyncio.Event()
    await world.start(patience=0.0)
    building = asyncio.create_task(world.ask(spawn()))
    begun = await world.until(lambda: [event for event in world.events if isinstance(event, Progress)])
    assert (begun[0].step, begun[0].seconds, begun[0].action_id) == ("image", None, "action-1")
    world.images.gate.set()
    await building
    await world.until(
        lambda: any(
            isinstance(event, Progress) and event.step == "guest" and event.seconds is not None
            for event in world.events
        )
    )


async def test_a_late_fragment_does_not_bring_back_a_removed_port(world: World, spawn: SpawnFactory) -> None:
    await world.start()
    command = spawn(5)
    await world.ask(command)
    await world.ask(destroy(command))
    other = spawn(6)
    late = replace(other, network=replace(command.network, ports=(*command.network.ports, *other.network.ports)))
    await world.ask(late)
    assert [port.port_id for port in world.plane.applied.ports] == [other.guest.nics[0].port_id]


async def test_a_whole_network_replaces_the_older_state(world: World, spawn: SpawnFactory) -> None:
    await world.start()
    command = spawn(3)
    whole = replace(command.network, generation=9)
    assert await world.ask(ApplyNetwork(network=whole)) == NetworkApplied(generation=9)
    assert await world.ask(ApplyNetwork(network=HostNetwork(generation=4))) == NetworkApplied(generation=9)
    assert len(world.plane.applied.ports) == 1


async def test_an_id_that_is_no_uuid_names_no_file(world: World, spawn: SpawnFactory) -> None:
    await world.start()
    with pytest.raises(HostFailure, match="not the id of a server"):
        await world.ask(ReadConsole(server_id="../../etc"))
    with pytest.raises(HostFailure, match="not the id of a server"):
        await world.ask(Destroy(action_id="a", server_id="../images", guest_name="x"))
    command = spawn()
    with pytest.raises(HostFailure, match="not the id of a server"):
        await world.ask(replace(command, guest=replace(command.guest, server_id="..")))


async def test_new_metadata_is_what_the_guest_reads_even_after_a_restart(world: World, spawn: SpawnFactory) -> None:
    agent = await world.start()
    command = spawn()
    command = replace(
        command, guest=replace(command.guest, metadata=replace(command.guest.metadata, files=(("/etc/motd", "aGk="),)))
    )
    told = replace(command.guest.metadata, metadata={"role": "web"}, files=(), admin_password=None)
    await world.ask(command)
    assert await world.ask(UpdateMetadata(server_id=command.guest.server_id, metadata=told)) == Done()
    await world.kill()
    agent = await world.start()
    assert agent._ledger is not None
    kept = agent._ledger.guests[command.guest.server_id].metadata
    assert kept.metadata == {"role": "web"}
    assert kept.files == (("/etc/motd", "aGk="),), "files are brought by a create alone"
    assert agent._ledger.told() == {command.guest.server_id: fingerprint(told)}
    assert b"s3cret" not in (world.state_dir / "ledger.jsonl").read_bytes()


async def test_a_build_begun_again_after_a_power_loss_uses_no_disk_of_the_first(
    world: World, spawn: SpawnFactory
) -> None:
    await world.start()
    command = spawn()
    await world.ask(command)
    await world.kill()
    ledger = world.state_dir / LEDGER
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:-1]))  # it knows of no success
    world.machine.guests[command.guest.server_id] = PowerState.SHUTDOWN
    disk = world.folder(command.guest.server_id) / "disk.qcow2"
    disk.write_text("half a disk")

    await world.start()
    assert isinstance(await world.ask(command), Spawned)
    assert world.machine.guests == {command.guest.server_id: PowerState.RUNNING}
    assert backing_file(disk) == disk.parent / "images" / "base.img"


async def test_a_spawn_that_is_asked_again_is_answered_with_what_the_guest_does_now(
    world: World, spawn: SpawnFactory
) -> None:
    await world.start()
    command = spawn()
    await world.ask(command)
    assert world.hypervisor is not None
    world.hypervisor.change(command.guest.server_id, PowerState.SHUTDOWN)
    again = await world.ask(command)
    assert isinstance(again, Spawned)
    assert again.power_state is PowerState.SHUTDOWN


async def test_a_host_that_forgot_a_server_after_a_power_loss_tells_of_its_files(
    world: World, spawn: SpawnFactory
) -> None:
    await world.start()
    command = spawn()
    await world.ask(command)
    await world.kill()
    (world.state_dir / LEDGER).unlink()
    world.machine.guests.clear()

    world.events.clear()
    await world.start()
    (up,) = await world.until(lambda: [event for event in world.events if isinstance(event, HostUp)])
    assert up.guests == ()
    assert up.files == (command.guest.server_id,)
    assert await world.ask(ListGuests()) == Guests(files=(command.guest.server_id,))
