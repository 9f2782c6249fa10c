"""Planted bugs in rescues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from floe.agent.guests import GuestBuilder
from floe.conductor import guest_spec
from floe.conductor.failures import Failure
from floe.conductor.flow import Flow, Work
from floe.conductor.rescue_server import RescueServer
from floe.core import server_states
from floe.core.disks import RESCUE, Disk
from floe.core.guests import GuestSpec, PowerState
from floe.core.messages import PowerChanged
from floe.core.server_rescue import Rescue
from floe.core.servers import RESCUED
from floe.simulation.planting import Planted, patched
from floe.store import servers as rows
from floe.store.engine import Connection

_own, _tidy_all = GuestBuilder.own_files, GuestBuilder.tidy
_leave, _state_of = RescueServer.leave, server_states.state_of


def _own_alone(self: GuestBuilder, guest: GuestSpec) -> frozenset[Path]:
    """Take the files that a rescued guest boots from for all that are its own."""
    if guest.rescue is None:
        return _own(self, guest)
    files = self.files(guest)
    return frozenset(found[RESCUE] for found in (files.disks, files.bases) if RESCUE in found)


async def _leave_the_rescue(self: GuestBuilder, guest: GuestSpec) -> None:
    """Leave the files of a rescue where it has ended."""
    if guest.rescue is not None:
        await _tidy_all(self, guest)


def _never_rescued(state: PowerState, *, rescued: bool = False) -> str:
    """Take a rescued server that was booted for one that is in order."""
    return _state_of(state)


def _rescued_all_the_same(self: RescueServer, flow: Flow, failure: Failure) -> Work:
    """Have a server be rescued whose host could not do it."""
    work, server_id = _leave(self, flow, failure), flow.action.subject_id

    def wrong(conn: Connection) -> None:
        work(conn)
        rows.change(conn, server_id, vm_state=RESCUED)

    return wrong


def _settle_by_half(self: RescueServer, flow: Flow) -> Work:
    """Say of a server that it is rescued, and not with what."""
    power_state = flow.result(PowerChanged).power_state
    state = RESCUED if flow.action.kind == "rescue" else server_states.state_of(power_state)
    changes: dict[str, Any] = {"vm_state": state, "task_state": None, "power_state": int(power_state)}
    return lambda conn: rows.change(conn, flow.action.subject_id, **changes)


def _no_rescue_disk(disks: tuple[Disk, ...], rescue: Rescue) -> tuple[Disk, ...]:
    """Have a rescued guest boot from its own disk."""
    return disks


RESCUES = (
    Planted(
        "rescue-drops-what-is-aside",
        "what a guest has as a rule is removed while it is rescued",
        patched((GuestBuilder, "own_files", _own_alone)),
        needs="rescue",
    ),
    Planted(
        "rescue-left-behind",
        "the rescue disk is left where the rescue has ended",
        patched((GuestBuilder, "tidy", _leave_the_rescue)),
        needs="rescue",
    ),
    Planted(
        "rescue-forgotten-by-a-boot",
        "a rescued server that is booted is said to be in order",
        patched((server_states, "state_of", _never_rescued)),
        needs="rescue",
    ),
    Planted(
        "rescue-not-taken-back",
        "a server whose rescue failed is said to be rescued",
        patched((RescueServer, "leave", _rescued_all_the_same)),
        needs="rescue",
    ),
    Planted(
        "rescue-by-half",
        "the row of a rescued server does not say what it is rescued with",
        patched((RescueServer, "settle", _settle_by_half)),
        needs="rescue",
    ),
    Planted(
        "rescue-without-a-disk",
        "a rescued guest has no rescue disk",
        patched((guest_spec, "rescue_disks", _no_rescue_disk)),
        needs="rescue",
    ),
)
