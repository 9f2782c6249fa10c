"""Actions that change one thing about a guest: what it should be. A further one is a row here and a route."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from floe.core import ahead
from floe.core.actions import Begins
from floe.core.given import PowerGiven
from floe.core.power import Power, Wanted, power_of
from floe.core.servers import (
    ACTIVE,
    ERROR,
    PAUSED,
    PAUSING,
    POWERING_OFF,
    POWERING_ON,
    REBOOTING,
    REBOOTING_HARD,
    RESCUED,
    RESIZED,
    RESTORING,
    RESUMING,
    SOFT_DELETED,
    SOFT_DELETING,
    STOPPED,
    SUSPENDED,
    SUSPENDING,
    UNPAUSING,
    Server,
)


class OnGuest(msgspec.Struct, frozen=True, kw_only=True):
    """One such action: in which vm_states it may begin, the task_state meanwhile, and what the guest is to be.

    It `boots` the guest, or has it go on as it is; a guest that is to go off is asked `gently` to do so, before it is
    ended. Afterwards the server is what its guest makes of it, or what the action `settles`. In task_states that it
    `overtakes`, it takes the place of what is under way. One that has no task_state, nor a power that the guest is to
    have, leaves the server's row alone, and others may begin beside it: it `interrupts`.
    """

    kind: str
    allowed: frozenset[str]
    task_state: str | None
    power: Power | None
    boots: bool = False
    gently: bool = False
    interrupts: bool = False
    overtakes: frozenset[str] = frozenset()
    settles: str | None = None

    @property
    def begins(self) -> Begins:
        """How the workflow begins that does it."""
        return Begins(kind=self.kind, version=1, given=PowerGiven, allowed=self.allowed, task_state=self.task_state)

    def wanted(self, server: Server, now: datetime) -> Wanted:
        """Return what the guest of a server should be once it is done that is asked for now.

        A boot has the number of the wish that it came with, which is later than that of any boot before.
        """
        generation = ahead.after(max(server.guest_generation, server.boots), now)
        return Wanted(
            power=self.power or power_of(server.power_state),
            boots=generation if self.boots else server.boots,
            generation=generation,
            interrupt=self.interrupts,
        )


START = OnGuest(kind="start", allowed=frozenset({STOPPED}), task_state=POWERING_ON, power=Power.RUNNING, boots=True)
STOP = OnGuest(
    kind="stop", allowed=frozenset({ACTIVE, ERROR}), task_state=POWERING_OFF, power=Power.STOPPED, gently=True
)
SOFT_REBOOT = OnGuest(
    kind="reboot", allowed=frozenset({ACTIVE}), task_state=REBOOTING, power=Power.RUNNING, boots=True, gently=True
)
HARD_REBOOT = OnGuest(
    kind="reboot",
    allowed=frozenset({ACTIVE, STOPPED, PAUSED, SUSPENDED, ERROR}),
    task_state=REBOOTING_HARD,
    power=Power.RUNNING,
    boots=True,
    overtakes=frozenset({REBOOTING, REBOOTING_HARD, PAUSING, UNPAUSING, SUSPENDING, RESUMING}),
)
PAUSE = OnGuest(kind="pause", allowed=frozenset({ACTIVE}), task_state=PAUSING, power=Power.PAUSED)
UNPAUSE = OnGuest(kind="unpause", allowed=frozenset({PAUSED}), task_state=UNPAUSING, power=Power.RUNNING)
SUSPEND = OnGuest(kind="suspend", allowed=frozenset({ACTIVE}), task_state=SUSPENDING, power=Power.SUSPENDED)
RESUME = OnGuest(kind="resume", allowed=frozenset({SUSPENDED}), task_state=RESUMING, power=Power.RUNNING)
TRIGGER_CRASH_DUMP = OnGuest(
    kind="trigger_crash_dump",
    allowed=frozenset({ACTIVE, PAUSED, RESCUED, RESIZED, ERROR}),
    task_state=None,
    power=None,
    interrupts=True,
)

ON_GUEST = (START, STOP, SOFT_REBOOT, HARD_REBOOT, PAUSE, UNPAUSE, SUSPEND, RESUME, TRIGGER_CRASH_DUMP)

SOFT_DELETE = OnGuest(
    kind="soft_delete",
    allowed=frozenset({ACTIVE, STOPPED, PAUSED, SUSPENDED, RESCUED, ERROR, SOFT_DELETED}),
    task_state=SOFT_DELETING,
    power=Power.STOPPED,
    gently=True,
    overtakes=HARD_REBOOT.overtakes | {POWERING_ON, POWERING_OFF, RESTORING},
    settles=SOFT_DELETED,
)
RESTORE = OnGuest(
    kind="restore", allowed=frozenset({SOFT_DELETED}), task_state=RESTORING, power=Power.RUNNING, boots=True
)
RESTORE_STOPPED = OnGuest(kind="restore", allowed=RESTORE.allowed, task_state=RESTORING, power=Power.STOPPED)

DEFERRED = (SOFT_DELETE, RESTORE, RESTORE_STOPPED)
"""What else a server's row is changed for: see `cloud.soft_deletes`."""

BY_KIND: Mapping[str, OnGuest] = {row.kind: row for row in reversed((*ON_GUEST, *DEFERRED))}
"""One of each kind: the workflow of a kind is the same for all."""
