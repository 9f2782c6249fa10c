"""The power that a guest should have, and what it takes to get there: pure.

A verb becomes a number. "Reboot" is said as "boot number 4, running": a guest that runs with boot number 4 is as it
should be, however often that is said. Later boots have greater numbers, and that is all that is to be known of them.
"""

from __future__ import annotations

from enum import Enum, StrEnum

import msgspec

from floe.core.guests import PowerState


class Power(StrEnum):
    """What a guest should be doing."""

    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"
    SUSPENDED = "suspended"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a host should have of a guest. The later generation counts, and an earlier one changes nothing."""

    power: Power = Power.RUNNING
    boots: int = 1
    """By which boot it is to run, of which later ones have greater numbers: one of an earlier boot is booted again."""
    generation: int = 0
    interrupt: bool = False
    """Whether it is sent a non-maskable interrupt: with this generation, and never again."""


class Deed(Enum):
    """One thing that a host does to a guest."""

    END = "end"
    START = "start"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    SUSPEND = "suspend"
    RESUME = "resume"


_FROM_RUNNING = {
    Power.RUNNING: (),
    Power.STOPPED: (Deed.END,),
    Power.PAUSED: (Deed.PAUSE,),
    Power.SUSPENDED: (Deed.SUSPEND,),
}
_TO_RUNNING = {
    PowerState.RUNNING: (),
    PowerState.PAUSED: (Deed.UNPAUSE,),
    PowerState.SUSPENDED: (Deed.RESUME,),
}
_ALREADY = {
    PowerState.RUNNING: Power.RUNNING,
    PowerState.PAUSED: Power.PAUSED,
    PowerState.SUSPENDED: Power.SUSPENDED,
}


def deeds(state: PowerState, boots: int, wanted: Wanted, booted: int) -> tuple[Deed, ...] | None:
    """Return what makes a guest as it is wanted that is in a power state since a boot; None where nothing does.

    `booted` is the latest boot that somebody asked for, as far as that was answered: what is off has no memory
    that could go on, and that it was to go on is no reason to boot it.
    """
    if wanted.power is power_of(state) and (state.off or boots >= wanted.boots):
        return ()
    if state.off:
        return (Deed.START,) if wanted.power is Power.RUNNING and wanted.boots > booted else None
    if wanted.power is Power.STOPPED:
        return (Deed.END,)
    if boots < wanted.boots:
        return (Deed.END, Deed.START, *_FROM_RUNNING[wanted.power])
    return (*_TO_RUNNING[state], *_FROM_RUNNING[wanted.power])


def power_of(state: PowerState) -> Power:
    """Return the power that a guest has which is in a power state."""
    return _ALREADY.get(state, Power.STOPPED)
