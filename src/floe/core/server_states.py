"""What a server may be, what the power state of its guest makes of it, and what it holds meanwhile: said here alone.

A server is *settled* when nothing is being done with it. What a host says of its guest is then what it is, and what it
holds can be told from its state and from whether it is on a host. Audit, simulation, recovery and workflows ask here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from floe.core.guests import PowerState
from floe.core.servers import (
    ACTIVE,
    BUILDING,
    DELETED,
    DELETING,
    ERROR,
    PAUSED,
    RESCUED,
    RESIZED,
    SHELVED,
    SHELVED_OFFLOADED,
    SOFT_DELETED,
    STOPPED,
    SUSPENDED,
)


class Part(Enum):
    """Something that a server may have."""

    GUEST = "guest"
    DISKS = "disks"
    CLAIM = "claim"
    PORTS = "ports"


_ALL, _NOTHING = frozenset(Part), frozenset[Part]()

_HOLDS: Mapping[str, frozenset[Part]] = {
    ACTIVE: _ALL,
    PAUSED: _ALL,
    SUSPENDED: _ALL,
    STOPPED: _ALL,
    RESCUED: _ALL,
    SOFT_DELETED: _ALL,
    SHELVED: _ALL,
    SHELVED_OFFLOADED: frozenset({Part.PORTS}),
    RESIZED: _ALL,
    ERROR: _ALL,
    DELETED: _NOTHING,
}
"""What a settled server holds. An error after the build takes nothing away: the guest may still run."""

_NOWHERE = frozenset({ERROR, DELETED, SHELVED_OFFLOADED})
"""What a server on no host can be: its build failed, and what that began was undone; it is gone; or put away."""

BUILT = frozenset(state for state, parts in _HOLDS.items() if parts == _ALL and state not in _NOWHERE)
"""What a settled server is that was built and is not in ERROR: it is on a host and holds every part there."""

_OF_POWER: Mapping[PowerState, str] = {
    PowerState.NOSTATE: STOPPED,
    PowerState.RUNNING: ACTIVE,
    PowerState.PAUSED: PAUSED,  # whoever paused it, its host for want of disk too: its user may unpause it
    PowerState.SHUTDOWN: STOPPED,
    PowerState.CRASHED: STOPPED,
    PowerState.SUSPENDED: SUSPENDED,
}

_FOLLOWS = frozenset(_OF_POWER.values())
"""States that follow the guest. ERROR does not: whoever set it has said that something is wrong. Nor do RESCUED and
SOFT_DELETED."""

ABSENT = PowerState.SHUTDOWN
"""What the guest of a settled server is doing that its host does not have."""


def settled(vm_state: str, task_state: str | None) -> bool:
    """Whether nothing is being done with a server."""
    return task_state is None and vm_state in _HOLDS and vm_state != DELETED


def state_of(power: PowerState, *, rescued: bool = False) -> str:
    """Return the vm_state of a server in order whose guest is in that power state."""
    return RESCUED if rescued else _OF_POWER[power]


def follow(vm_state: str, power: PowerState) -> str:
    """Return the vm_state of a settled server once its guest is found in a power state."""
    return state_of(power) if vm_state in _FOLLOWS else vm_state


def agrees(vm_state: str, recorded: PowerState, real: PowerState) -> bool:
    """Whether a settled server's row, its vm_state and power state, says what its guest is really doing."""
    return recorded is real and follow(vm_state, real) == vm_state


def died_while_built(vm_state: str, real: PowerState | None) -> bool:
    """Whether a server is being built and its guest, which is there, does not run."""
    return vm_state == BUILDING and real is not None and state_of(real) == STOPPED


def differs_meanwhile(vm_state: str, task_state: str | None, recorded: PowerState, real: PowerState) -> bool:
    """Whether the guest of a server that was built, and that something is being done with, is not what its row says."""
    return vm_state in _HOLDS and vm_state != DELETED and task_state not in {None, DELETING} and recorded is not real


def holds(vm_state: str, host: str | None) -> frozenset[Part]:
    """Return what a settled server must have, on its host if it has one; it may have nothing else anywhere."""
    return _HOLDS.get(vm_state, _NOTHING) if host is not None or vm_state == SHELVED_OFFLOADED else _NOTHING


def may_be_nowhere(vm_state: str) -> bool:
    """Whether a settled server may be on no host."""
    return vm_state in _NOWHERE


def runs(vm_state: str, task_state: str | None) -> bool:
    """Whether a running guest is what its user has, so that nobody may end it."""
    return settled(vm_state, task_state) and vm_state not in {STOPPED, SOFT_DELETED, SHELVED}
