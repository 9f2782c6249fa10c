"""Each number in a message is a quantity, or one of an order that hosts remember: those say how they stay ahead."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from floe.core import ahead
from floe.core.guest_actions import ON_GUEST
from floe.core.guest_questions import DiskUse, NicUse
from floe.core.messages import Message
from floe.core.servers import Server, ServerFlavor

ADR = Path(__file__).parents[2] / "docs/adr/0049-numbers-that-hosts-remember-are-ahead-of-the-clock.md"
ORDERED = {
    "Wanted.generation",
    "Wanted.boots",
    "HostNetwork.generation",
    "RoutersChange.generation",
    "HostNetwork.members_at",
    "Destroy.generation",
    "Destroy.make",
    "Overlay.make",
    "OverlayCd.make",
    "Overlay.base_make",
    "OverlayCd.base_make",
    "Blank.make",
    "BlankCd.make",
    "ConfigDrive.make",
    "NetworkApplied.generation",
    "HostUp.network_generation",
    "HostUp.network_newest",
    "HostUp.members_at",
    "HostUp.members_newest",
    "MembersChange.to",
    "GroupChange.after",
    "MembersChanged.at",
    "Spawn.attempt",
    "Destroy.attempt",
    "Action.attempts",
    "Failed.heard",
    "GuestMetadata.password_turn",
    "PasswordPosted.turn",
}
"""Of those ADR 49 says how they are ahead after an older copy of the database was put back."""
QUANTITIES = {
    "Action.version",
    "Action.writes",  # of a row, by which the row is compared: no host has it
    "ReadConsole.lines",
    "GuestSpec.vcpus",
    "GuestSpec.memory_mib",
    "GuestImage.size",
    "SnapshotTaken.size",
    "GuestImage.virtual_size",
    "GuestMetadata.launch_index",
    "Overlay.boot_index",
    "Overlay.size_mib",
    "OverlayCd.boot_index",
    "OverlayCd.size_mib",
    "Blank.boot_index",
    "Blank.size_mib",
    "BlankCd.boot_index",
    "BlankCd.size_mib",
    "ConfigDrive.boot_index",
    "Tap.mtu",
    "Tap.queues",
    "Rate.average",
    "Rate.peak",
    "Rate.burst",
    "HostSegment.tag",
    "HostSegment.mtu",
    "HostPort.nic",
    "GroupRule.port_min",
    "GroupRule.port_max",
    "HostForwarding.external",
    "HostForwarding.internal",
    "ImageTicket.expires",  # a time
    "Inventory.total",
    "Inventory.reserved",
    "Inventory.min_unit",
    "Inventory.max_unit",
    "Inventory.step_size",
    "HostUp.hypervisor_version",
    *(f"DiskUse.{name}" for name in DiskUse.__struct_fields__ if name != "device"),
    *(f"NicUse.{name}" for name in NicUse.__struct_fields__ if name not in {"device", "mac"}),
    *(f"Diagnostics.{name}" for name in ("cpus", "memory_max", "memory_used", "memory")),
}


def numbers(kind: object, seen: set[object]) -> Iterator[str]:
    """Give the numbers in a kind of message, and in what it consists of."""
    if kind in seen:
        return
    seen.add(kind)
    if isinstance(kind, type) and (dataclasses.is_dataclass(kind) or issubclass(kind, msgspec.Struct)):
        for name, hint in typing.get_type_hints(kind).items():
            if hint is int or int in typing.get_args(hint):
                yield f"{kind.__name__}.{name}"
            yield from numbers(hint, seen)
    for inner in typing.get_args(kind):
        yield from numbers(inner, seen)


def test_each_number_that_travels_is_known_as_a_quantity_or_as_one_of_an_order() -> None:
    assert set(numbers(Message, set())) == QUANTITIES | ORDERED, "how is it ahead after an older database was restored?"


def test_the_adr_tells_of_them() -> None:
    told = ADR.read_text()
    for words in (
        "wishes and boots",
        "network",
        "members_at",
        "attempts",
        "Failed.heard",
        "MembersChanged.at",
        "passwords",
        "makes of disks",
    ):
        assert words in told


START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("asked", ON_GUEST, ids=lambda asked: f"{asked.kind}-{asked.gently}")
@given(
    since=st.lists(st.integers(0, 3_600_000), min_size=1, max_size=40),
    slack=st.integers(1, 1000),
    back=st.integers(-5000, 5000),
)
def test_what_is_asked_for_after_a_restore_is_later_than_all_that_was_asked_for_before(
    asked: typing.Any, since: list[int], slack: int, back: int
) -> None:
    """Whatever was lost, and though some of it was asked for while a clock was a little ahead, or went back."""
    flavor = ServerFlavor(flavor_id="1", name="m1", vcpus=1, memory_mib=64, root_gib=1)
    dump = Server(
        id="s", number=1, project_id="p", user_id="u", name="n", hostname="n", vm_state="active", task_state=None,
        reservation_id="r", flavor=flavor, created_at=START,
    )  # fmt: skip
    server, now, latest = dump, START, START
    told = []
    for number, milliseconds in enumerate(since):
        now = now + timedelta(milliseconds=milliseconds) + timedelta(milliseconds=back if number % 2 else 0)
        latest = max(latest, now)
        wanted = ON_GUEST[number % len(ON_GUEST)].wanted(server, now)
        server = msgspec.structs.replace(server, boots=wanted.boots, guest_generation=wanted.generation)
        told.append(wanted)
    later = asked.wanted(dump, latest + timedelta(milliseconds=len(since) + slack))
    assert all(later.generation > wanted.generation for wanted in told)
    assert not asked.boots or all(later.boots > wanted.boots for wanted in told)
    assert [wanted.generation for wanted in told] == sorted({wanted.generation for wanted in told})
    assert [wanted.boots for wanted in told] == sorted(wanted.boots for wanted in told)
    assert later.generation < ahead.BELIEVABLE
