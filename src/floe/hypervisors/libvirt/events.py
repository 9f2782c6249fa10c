"""libvirt's numbers for what became of a guest, as power states: pure."""

from __future__ import annotations

from floe.core.guests import PowerState

_OF_STATE = {
    0: PowerState.NOSTATE,
    1: PowerState.RUNNING,
    2: PowerState.RUNNING,  # blocked on a resource: it runs
    3: PowerState.PAUSED,
    4: PowerState.RUNNING,  # shutting down, and not down yet
    5: PowerState.SHUTDOWN,
    6: PowerState.CRASHED,
    7: PowerState.SUSPENDED,
}

_OF_EVENT = {
    2: PowerState.RUNNING,  # started
    3: PowerState.PAUSED,  # suspended
    4: PowerState.RUNNING,  # resumed
    5: PowerState.SHUTDOWN,  # stopped, for whatever reason: the same that `state_of` then says
    7: PowerState.SUSPENDED,
    8: PowerState.CRASHED,
}


def state_of(number: int) -> PowerState:
    """Return the power state for a `virDomainState`."""
    return _OF_STATE.get(number, PowerState.NOSTATE)


def state_after(event: int) -> PowerState | None:
    """Return the power state after a `virDomainEventType`; None where the event says nothing of it."""
    return _OF_EVENT.get(event)
