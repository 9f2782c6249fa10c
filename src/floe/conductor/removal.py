"""Have a host remove what it has of a server: asked until it has done so, or owed where it is down.

Nothing is lost by giving up: what may be left on a host stands in `holdings`, and is asked for when the host is back.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import msgspec

from floe.conductor.fleet import Asking, ConductorSettings, Fleet
from floe.core.errors import FloeError, HostFailure, Unavailable
from floe.core.guest_passwords import PasswordPosted
from floe.core.messages import Destroy, Destroyed
from floe.core.step_times import StepTime

log = logging.getLogger(__name__)

_GRACE_STEP = 0.1
_LONGEST_WAIT = 30.0


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing is left, unless it is `owed`: then the host is told when it is back."""

    steps: tuple[StepTime, ...] = ()
    owed: bool = False
    posted: PasswordPosted | None = None
    """As of `Destroyed`; no journal has it."""


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds before the first repeat, and after which a host that fails, or does not answer, owes it."""

    first: float = 0.5
    most: float = float("inf")


_WITHOUT_END = Patience()


async def _bear(_error: FloeError, _waited: float) -> None:
    """Say nothing."""


class Removal(msgspec.Struct, frozen=True):
    """Removes what hosts have."""

    fleet: Fleet
    settings: ConductorSettings

    async def __call__(
        self,
        host: str,
        command: Destroy,
        *,
        asking: Asking,
        patience: Patience = _WITHOUT_END,
        trouble: Callable[[FloeError, float], Awaitable[None]] = _bear,
    ) -> Removed:
        """Ask until it is done; `trouble` is told of each failure and of how long it has lasted."""
        waited, wait = 0.0, patience.first
        while True:
            try:
                done = await self.fleet.command(
                    host,
                    command,
                    returns=Destroyed,
                    seconds=self.settings.destroy,
                    asking=asking,
                )
                return Removed(steps=done.steps, posted=done.posted)
            except Unavailable as error:
                if self.fleet.awaited(host) and waited < self.settings.start_grace:
                    await asking.pause(_GRACE_STEP)
                    waited += _GRACE_STEP
                    continue
                if not self.fleet.alive(host):
                    log.warning("server %s goes on without host %s, which is down", command.server_id, host)
                    asking.recovered(f"host {host} is down; it is told to destroy the guest when it is back")
                    self.fleet.owed.add(host)
                    return Removed(owed=True)
                failure: FloeError = error
            except HostFailure as error:
                failure = error
            detail = getattr(failure, "detail", "") or failure
            log.warning("server %s: host %s cannot destroy it yet: %s", command.server_id, host, detail)
            if waited >= patience.most:
                return Removed(owed=True)  # a sweep goes on asking that host
            await trouble(failure, waited)
            await asking.pause(wait)
            waited, wait = waited + wait, min(wait * 2, _LONGEST_WAIT)
