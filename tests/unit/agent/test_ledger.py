"""What a host remembers over a restart."""

from __future__ import annotations

import dataclasses
import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from floe.agent.ledger import REMEMBERED, Ledger
from floe.agent.ledger_entries import Network
from floe.core.clock import FixedClock
from floe.core.disks import Blank, ConfigDrive, Overlay, local_disks
from floe.core.guests import GuestImage, GuestMetadata, GuestSpec, PowerState
from floe.core.host_network import HostNetwork, HostPort, HostRouter, HostSegment, RouterLeg, RoutersChange
from floe.core.host_network_state import HostNetworkState
from floe.core.messages import ChangeNics, Destroy, Failed, Spawn, Spawned
from floe.core.nics import Tap

DONE = Spawned(power_state=PowerState.RUNNING)
FAILED = Failed(kind="host_failure", message="no")


def spawn(number: int = 1, action: str = "a1", generation: int = 1) -> Spawn:
    port = f"port-{number}"
    return Spawn(
        action_id=action,
        guest=GuestSpec(
            server_id=f"server-{number}",
            name="instance-00000001",
            vcpus=1,
            memory_mib=64,
            disks=local_disks({}, image_id="i", root_mib=1024),
            image=GuestImage(image_id="i", checksum="", size=1, disk_format="raw", virtual_size=1),
            nics=(Tap(port_id=port, mac="fa:16:3e:00:00:01", device="tap1"),),
            metadata=GuestMetadata(hostname="h", name="n", project_id="p", admin_password="s3cret"),
        ),
        network=HostNetwork(
            generation=generation,
            segments=(HostSegment(network_id="net", name="net", tag=1),),
            ports=(HostPort(port_id=port, network_id="net", server_id=f"server-{number}", mac="m", tap="tap1"),),
        ),
    )


def destroy(number: int = 1, action: str = "d1", generation: int = 2, final: bool = True) -> Destroy:
    return Destroy(
        action_id=action,
        server_id=f"server-{number}",
        guest_name="x",
        port_ids=(f"port-{number}",),
        generation=generation,
        final=final,
    )


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def reopened(path: Path, clock: FixedClock) -> Ledger:
    return Ledger(path, clock)


def test_guests_answers_and_network_are_there_again(path: Path, clock: FixedClock) -> None:
    ledger = Ledger(path, clock)
    ledger.begin(spawn(1))
    ledger.settle(spawn(1), DONE)
    ledger.begin(spawn(2, "a2"))
    ledger.drop()
    again = reopened(path, clock)
    assert again.guests == ledger.guests
    assert again.network == ledger.network
    assert again.answer("server-1", "a1") == DONE
    assert again.answer("server-1", "other") is None
    assert again.is_built("server-1")
    assert not again.is_built("server-2")
    again.close()


def test_a_failed_build_leaves_its_answer_and_nothing_else(path: Path, clock: FixedClock) -> None:
    ledger = Ledger(path, clock)
    ledger.begin(spawn())
    ledger.settle(spawn(), FAILED)
    ledger.drop()
    again = reopened(path, clock)
    assert again.answer("server-1", "a1") == FAILED
    assert again.guests == {}
    assert again.network.ports == {}
    again.close()


def test_a_destroyed_server_is_refused_for_good(path: Path, clock: FixedClock) -> None:
    ledger = Ledger(path, clock)
    ledger.begin(spawn())
    ledger.destroyed(destroy())
    ledger.drop()
    again = reopened(path, clock)
    assert again.refusal("server-1", "any") == "The server was deleted."
    assert again.guests == {}
    assert again.network.ports == {}
    again.close()


def test_an_undone_action_is_refused_and_another_is_not(path: Path, clock: FixedClock) -> None:
    ledger = Ledger(path, clock)
    ledger.begin(spawn(action="a1"))
    ledger.destroyed(destroy(action="a1", final=False))
    ledger.drop()
    again = reopened(path, clock)
    assert again.refusal("server-1", "a1") is not None
    assert again.refusal("server-1", "a2") is None
    assert again.is_gone("server-1")
    again.close()


def test_a_late_undo_does_not_touch_a_later_actions_guest(path: Path, clock: FixedClock) -> None:
    ledger = Ledger(path, clock)
    ledger.begin(spawn(action="a2", generation=5))
    ledger.settle(spawn(action="a2"), DONE)
    ledger.destroyed(destroy(action="a1", generation=9, final=False))
    assert "server-1" in ledger.guests
    assert "port-1" in ledger.network.ports
    assert ledger.answer("server-1", "a2") == DONE
    ledger.close()


def test_a_destroy_of_an_older_generation_still_removes_the_servers_own_port(path: Path, clock: FixedClock) -> None:
    ledger = Ledger(path, clock)
    ledger.begin(spawn(generation=7))
    ledger.destroyed(destroy(generation=0))
    assert ledger.network.ports == {}
    ledger.close()


def test_a_port_that_has_become_another_servers_stays(path: Path, clock: FixedClock) -> None:
    ledger = Ledger(path, clock)
    ledger.begin(spawn(1, generation=3))
    other = spawn(2, generation=8)
    moved = replace(other.network.ports[0], port_id="port-1")
    ledger.begin(replace(other, network=replace(other.network, ports=(moved,))))
    ledger.destroyed(destroy(1, generation=4))
    assert ledger.network.ports["port-1"].server_id == "server-2"
    ledger.close()


def test_a_line_half_written_is_dropped_and_a_damaged_one_passed_over(path: Path, clock: FixedClock) -> None:
    ledger = Ledger(path, clock)
    ledger.begin(spawn(1))
    ledger.begin(spawn(2))
    ledger.begin(spawn(3))
    ledger.drop()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"{what is this}\n" + lines[1] + lines[2][:-20])
    again = reopened(path, clock)
    assert sorted(again.guests) == ["server-1", "server-2"]
    again.begin(spawn(4))
    again.close()
    third = reopened(path, clock)
    assert sorted(third.guests) == ["server-1", "server-2", "server-4"]
    third.close()


def test_a_compacted_ledger_says_the_same(path: Path, clock: FixedClock) -> None:
    ledger = Ledger(path, clock)
    for number in range(1, 6):
        ledger.begin(spawn(number))
    ledger.settle(spawn(1), DONE)
    ledger.settle(spawn(2), FAILED)
    ledger.destroyed(destroy(3))
    ledger.destroyed(destroy(4, action="a1", final=False))
    before = path.stat().st_size
    ledger.compact()
    assert path.stat().st_size < before
    ledger.tell("server-5", GuestMetadata(hostname="new", name="n", project_id="p"))
    ledger.drop()
    again = reopened(path, clock)
    assert again.guests == ledger.guests
    assert again.network == ledger.network
    assert again.answer("server-1", "a1") == DONE
    assert again.answer("server-2", "a1") == FAILED
    assert again.refusal("server-3", "x") is not None
    assert again.refusal("server-4", "a1") is not None
    assert again.builder("server-1") == "a1"
    again.close()


def test_a_compaction_keeps_all_that_is_known_of_the_network() -> None:
    known = {field.name for field in dataclasses.fields(HostNetworkState) if field.compare}
    assert known == set(Network.__struct_fields__)


def test_nics_that_came_and_went_are_known_after_a_restart(path: Path, clock: FixedClock) -> None:
    ledger = Ledger(path, clock)
    ledger.begin(spawn(1))
    ledger.settle(spawn(1), DONE)
    (nic,) = ledger.guests["server-1"].nics
    gone = ChangeNics(action_id="a2", server_id="server-1", network=HostNetwork(generation=9))
    ledger.rewire(gone, (), gone=(nic.port_id,))
    for compact in (False, True):
        if compact:
            ledger.compact()
        ledger.drop()
        ledger = reopened(path, clock)
        assert ledger.guests["server-1"].nics == ()
        assert nic.port_id not in ledger.network.ports
    late = ChangeNics(action_id="a1", server_id="server-1", network=spawn(1).network)
    ledger.rewire(late, ())
    assert nic.port_id not in ledger.network.ports, "what is told late brings nothing back"
    ledger.close()


def test_tombstones_are_forgotten_after_a_day(path: Path, clock: FixedClock) -> None:
    ledger = Ledger(path, clock)
    ledger.destroyed(destroy())
    clock.advance(REMEMBERED - 1)
    ledger.compact()
    assert ledger.refusal("server-1", "x") is not None
    clock.advance(timedelta(seconds=2).total_seconds())
    ledger.compact()
    assert ledger.refusal("server-1", "x") is None
    ledger.close()


def test_the_file_is_its_owners_alone_and_holds_no_password(path: Path, clock: FixedClock) -> None:
    ledger = Ledger(path, clock)
    ledger.begin(spawn())
    ledger.tell("server-1", spawn().guest.metadata)
    assert ledger.unsynced
    ledger.close()
    assert path.stat().st_mode & 0o077 == 0
    assert b"s3cret" not in path.read_bytes()


BEFORE = Path(__file__).parent / "ledgers" / "before-kinds-of-disks.jsonl"
"""Written by a release whose guests had sizes and ports instead of disks and NICs of kinds."""


def test_a_ledger_of_the_release_before_is_read_and_written_anew_as_it_is_now(path: Path, clock: FixedClock) -> None:
    shutil.copy(BEFORE, path)
    read = Ledger(path, clock)
    names = {guest.metadata.name: guest for guest in read.guests.values()}

    def shape(name: str) -> list[tuple[Any, ...]]:
        return [
            (disk.role, type(disk), disk.device, disk.bus, getattr(disk, "size_mib", None))
            for disk in names[name].disks
        ]

    root = ("root", Overlay, "vda", "virtio")
    assert shape("plain") == [(*root, 1024)]
    assert shape("whole") == [
        (*root, 2048),
        ("ephemeral0", Blank, "vdb", "virtio", 3072),
        ("swap", Blank, "vdc", "virtio", 64),
        ("config", ConfigDrive, "hdd", "ide", None),
    ]
    assert shape("asked") == [
        (*root, 2048),
        ("ephemeral0", Blank, "vdb", "virtio", 1024),
        ("swap", Blank, "vdc", "virtio", 16),
    ]
    assert shape("scsi") == [
        ("root", Overlay, "sda", "scsi", 2048),
        ("ephemeral0", Blank, "sdb", "scsi", 3072),
        ("swap", Blank, "sdc", "scsi", 64),
        ("config", ConfigDrive, "sdd", "sata", None),
    ]
    assert {name: [(nic.device, nic.model, nic.mtu) for nic in guest.nics] for name, guest in names.items()} == {
        "plain": [("tape4503667-ba", "virtio", 1450)],
        "whole": [("tap48a431c1-4e", "virtio", 1450)],
        "asked": [],
        "scsi": [("tap5c240709-83", "e1000", 1450)],
    }
    for guest in names.values():
        assert all(disk.image_id == guest.image.image_id for disk in guest.disks if isinstance(disk, Overlay))
        assert {nic.port_id for nic in guest.nics} <= read.network.ports.keys()
    read.compact()
    read.close()
    assert b'"root_gib"' not in path.read_bytes()
    again = reopened(path, clock)
    assert again.guests == read.guests
    again.close()


def test_what_could_not_be_brought_to_the_disk_is_to_be_brought_there_still(path: Path, clock: FixedClock) -> None:
    ledger = Ledger(path, clock)
    ledger.begin(spawn(1))
    ends = os.pipe()
    os.dup2(ends[1], ledger._file.fileno())  # a pipe cannot be synced
    with pytest.raises(OSError, match="Invalid argument"):
        ledger.sync()
    assert ledger.unsynced
    ledger.drop()
    for end in ends:
        os.close(end)


def routed(generation: int) -> HostNetwork:
    """Return what brings port-1, and a router on its network."""
    leg = RouterLeg(port_id="leg", network_id="net", mac="fa:16:3e:00:00:09", addresses=("10.0.0.1/24",))
    return replace(spawn(generation=generation).network, routers=(HostRouter(router_id="r", interfaces=(leg,)),))


def test_routers_are_known_again_after_the_file_was_written_anew(path: Path, clock: FixedClock) -> None:
    ledger = Ledger(path, clock)
    ledger.replace_network(routed(3))
    (router,) = routed(3).routers
    after = replace(router, up=False)
    ledger.change_routers(RoutersChange(generation=4, segments=routed(4).segments, routers=(after,)))
    ledger.change_routers(RoutersChange(generation=2, routers=(router,)))
    ledger.compact()
    known = ledger.network
    ledger.close()
    again = reopened(path, clock)
    assert again.network == known
    assert again.network.snapshot().routers == (after,)
    again.close()


def test_a_file_that_was_written_anew_without_routers_counts_as_out_of_date(path: Path, clock: FixedClock) -> None:
    ledger = Ledger(path, clock)
    ledger.replace_network(routed(3))
    ledger.compact()
    ledger.close()
    first, *others = path.read_bytes().splitlines(keepends=True)
    said = msgspec.json.decode(first)
    assert said.pop("routers").keys() == {"r"}
    path.write_bytes(b"".join([msgspec.json.encode(said) + b"\n", *others]))
    again = reopened(path, clock)
    assert (again.network.generation, set(again.network.ports)) == (0, {"port-1"})
    again.close()
